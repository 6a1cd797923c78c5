"""Certificates made while the tests run, by the `openssl` program: of any authority, name and time."""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
import subprocess
from pathlib import Path

OPENSSL = shutil.which("openssl")
_NUMBERS = itertools.count()
_CONFIG = """
[ca]
default_ca = this
[this]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""


def openssl(folder: Path, *words: str) -> None:
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *words], cwd=folder, check=True, capture_output=True)


class Authority:
    """Signs certificates. path: its own, for whoever trusts it."""

    def __init__(self, folder: Path, name: str = "lab") -> None:
        self._folder = folder / f"{name}-{next(_NUMBERS)}"
        self._folder.mkdir()
        self.path = self._folder / "ca.pem"
        (self._folder / "index.txt").touch()
        (self._folder / "ca.conf").write_text(_CONFIG, encoding="utf-8")
        request = ["req", "-x509", "-days", "3650", "-subj", f"/CN={name}", "-out", "ca.pem"]
        openssl(self._folder, *request, *_key("ca.key"), "-addext", "keyUsage=critical,keyCertSign")

    def issue(self, *names: str, first_day: int = -1, last_day: int = 1) -> tuple[Path, Path]:
        """Certificate and key for these names, valid between these days from today."""
        stem = f"certificate-{next(_NUMBERS)}"
        kinds = {name: "IP" if name[0].isdecimal() else "DNS" for name in names}
        alternatives = ",".join(f"{kind}:{name}" for name, kind in kinds.items())
        request = ["req", "-new", "-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={alternatives}"]
        openssl(self._folder, *request, *_key(f"{stem}.key"), "-out", f"{stem}.csr")
        times = ["-startdate", _day(first_day), "-enddate", _day(last_day)]
        signing = ["ca", "-batch", "-notext", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "ca.key"]
        openssl(self._folder, *signing, *times, "-in", f"{stem}.csr", "-out", f"{stem}.pem")
        return self._folder / f"{stem}.pem", self._folder / f"{stem}.key"


def _key(name: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name]


def _day(days: int) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(days)).strftime("%Y%m%d%H%M%SZ")
