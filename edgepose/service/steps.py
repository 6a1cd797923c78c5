"""What an administrator's command does to the system, one printed line each; the same again changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from edgepose.errors import EdgeposeError
from edgepose.system.atomic_files import write_durably


class Steps:
    """root: of the system, `/` or a mounted card. dry: only say it. changed: whether something was, or would be."""

    def __init__(self, root: Path = Path("/"), *, dry: bool = False) -> None:
        self.root, self.dry, self.changed = root, dry, False

    def place(self, path: str) -> Path:
        """An absolute path of the system."""
        return self.root / path.lstrip("/")

    def write(self, path: str, data: bytes, mode: int = 0o644, group: str = "") -> None:
        """group: who else may read it. Raises EdgeposeError."""
        place = self.place(path)
        try:
            if place.is_file() and place.read_bytes() == data and place.stat().st_mode & 0o777 == mode:
                return print(f"  as it is  {path}")
            self._say("write", path)
            if not self.dry:
                place.parent.mkdir(parents=True, exist_ok=True)
                write_durably(place, data, mode)
                if group:
                    shutil.chown(place, group=group)
        except (OSError, LookupError) as exc:
            raise EdgeposeError(f"{path}: cannot write ({getattr(exc, 'strerror', None) or exc})") from None
        return None

    def folder(self, path: str, owner: str) -> None:
        """Raises EdgeposeError."""
        place = self.place(path)
        if place.is_dir():
            return
        self._say("make", f"{path} for {owner}")
        if not self.dry:
            try:
                place.mkdir(parents=True)
                os.chown(place, *self._ids(owner))
            except (OSError, LookupError) as exc:
                raise EdgeposeError(f"{path}: cannot be made ({exc})") from None

    def remove(self, path: str) -> None:
        place = self.place(path)
        if not (place.exists() or place.is_symlink()):
            return
        self._say("remove", path)
        if not self.dry:
            shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()

    def run(self, *words: str, needed: bool = True) -> bool:
        """needed: raises EdgeposeError where it fails. Not for a system that does not run."""
        if self.root != Path("/") and not any(word.startswith("--root") for word in words):
            return True
        print(f"  run       {' '.join(words)}")
        if self.dry:
            return True
        try:
            done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        except OSError as exc:
            if needed:
                raise EdgeposeError(f"{words[0]}: cannot be run ({exc.strerror}); has this system systemd?") from None
            return False
        if done.returncode and needed:
            told = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-1:])
            raise EdgeposeError(f"`{' '.join(words)}` failed ({done.returncode}): {told}")
        return done.returncode == 0

    def root_option(self) -> list[str]:
        """Of systemd's tools."""
        return [] if self.root == Path("/") else [f"--root={self.root}"]

    def _ids(self, user: str) -> tuple[int, int]:
        """Of the system's own user: a card has others than this computer."""
        for line in self.place("/etc/passwd").read_text(encoding="utf-8").splitlines():
            fields = line.split(":")
            if fields[0] == user:
                return int(fields[2]), int(fields[3])
        raise LookupError(f"there is no user {user}")

    def _say(self, what: str, path: str) -> None:
        self.changed = True
        print(f"  {what:<9} {path}")


def need_root(command: str) -> None:
    """Raises EdgeposeError."""
    if os.geteuid() != 0:
        raise EdgeposeError(f"needs root: sudo {command}")
