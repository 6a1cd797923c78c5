"""From a blank system to a service, by the commands of docs/service.md; the boot; other versions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time

from camera import ROOT
from rig import FOLDER, Rig, Row


def documented_commands() -> list[str]:
    """The first commands of the page about the service, which install it."""
    text = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    block = re.search(r"(?:^    sudo .*\n)+", text, re.MULTILINE)
    assert block is not None
    return [line.strip() for line in block[0].splitlines()]


def step_walk(rig: Rig) -> list[Row]:
    """Installs the service as the documentation says. picamera2 comes from PyPI, and packages come from a folder,
    because the machine has no network."""
    rig.machine.boot()
    rig.run(
        "rig-camera /host/pictures; "
        "printf '[global]\\nno-index = true\\nfind-links = /host/wheels\\n' > /etc/pip.conf; timedatectl set-ntp false"
    )
    commands = documented_commands()
    begin = time.monotonic()
    for command in commands:
        rig.run(f"cd /host/edgepose; {command.replace(' python3-picamera2', '')}", 900)
    rig.listener.live(240)
    seconds = time.monotonic() - begin
    rig.run(
        "d=/etc/systemd/system/edgepose.service.d; cp /host/rig_faults.py /opt/edgepose/; mkdir -p $d; "
        "printf '[Service]\\nExecStart=\\nExecStart=/opt/edgepose/bin/python /opt/edgepose/rig_faults.py run "
        "-c /etc/edgepose/edgepose.yaml\\nReadWritePaths=/host\\n' > $d/faults.conf; "
        "systemctl daemon-reload; systemctl restart edgepose"
    )
    rig.listener.live(240)
    security = rig.run("systemd-analyze security edgepose.service --no-pager | tail -1")
    exposure = float(re.search(r"(\d+\.\d)", security)[1])  # type: ignore[index]
    verified = rig.run("systemd-analyze verify edgepose.service edgepose@x.service 2>&1 | grep -i edgepose || true")
    again = rig.run("cd /host/edgepose; /opt/edgepose/bin/edgepose install --config edgepose.yaml")
    return [
        (
            "a newcomer's walk, by docs/service.md alone, to the first pose",
            f"{len(commands)} commands, {seconds:.0f} s",
            len(commands) <= 5,
        ),
        ("`systemd-analyze security`, the camera at work", f"exposure {exposure}", exposure <= 1.5),
        ("`systemd-analyze verify`", verified.strip() or "clean", not verified.strip()),
        ("`install` again", "changes nothing" if "write" not in again else again, "write" not in again),
    ]


def step_boot(rig: Rig) -> list[Row]:
    rig.machine.stop()
    begin = time.monotonic()
    rig.machine.boot()
    first = rig.listener.live(240, begin)
    return [("cold boot to the first pose on the broker, no hands", f"{first.arrived_s - begin:.0f} s", True)]


def make_wheel(version: str, *, broken: bool) -> str:
    """A later edgepose; a broken one fails before its first pose."""
    sources = FOLDER / "later"
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(FOLDER / "edgepose", sources)
    (sources / "edgepose" / "__init__.py").write_text(
        f'"""edgepose."""\n\n__version__ = "{version}"\n', encoding="utf-8"
    )
    if broken:
        with (sources / "edgepose" / "daemon" / "assembly.py").open("a", encoding="utf-8") as file:
            file.write("\n\nDaemon.run = None\n")
    code = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    words = [sys.executable, "-c", code, str(FOLDER)]
    return subprocess.run(words, cwd=sources, check=True, capture_output=True, text=True).stdout.split()[-1]


def step_upgrade(rig: Rig) -> list[Row]:
    rows = []
    good, broken = make_wheel("0.9.1", broken=False), make_wheel("0.9.2", broken=True)
    begin = time.monotonic()
    out = rig.run(f"/opt/edgepose/bin/edgepose upgrade /host/{good}", 900)
    gap = rig.listener.gap_s(begin, time.monotonic())
    rows.append(
        ("upgrade to a good version", f"{out.splitlines()[-1]}; {gap:.0f} s without a pose", "0.9.1 is running" in out)
    )
    begin = time.monotonic()
    out = rig.run(f"/opt/edgepose/bin/edgepose upgrade /host/{broken} 2>&1", 900, check=False)
    rig.listener.live(120)
    gap = rig.listener.gap_s(begin, time.monotonic())
    met = "0.9.1 is running again" in out
    rows.append(
        (
            "upgrade to one that makes no poses",
            f"back by itself, {gap:.0f} s without a pose" if met else out[-300:],
            met,
        )
    )
    rig.run(
        f"(/opt/edgepose/bin/edgepose upgrade /host/{broken} >/var/log/upgrade.log 2>&1 &); "
        "until [ -e /var/lib/edgepose-upgrade/pending.json ]; do sleep 0.2; done; sleep 4",
        600,
    )
    cut = time.monotonic()
    rig.machine.cut()
    rig.machine.boot()
    rig.listener.live(400, cut)
    told = rig.run("/opt/edgepose/bin/edgepose --version", check=False).strip()
    seconds = rig.listener.gap_s(cut, time.monotonic())
    rows.append(
        (
            "power cut in an upgrade that makes no poses",
            f"{told} is at work, pose after {seconds:.0f} s",
            "0.9.1" in told,
        )
    )
    return rows
