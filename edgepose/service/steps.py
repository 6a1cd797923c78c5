"""Changes the system in steps. Each prints one line, and does nothing where it is done already."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from edgepose.errors import EdgeposeError
from edgepose.system.atomic_files import write_durably


class Steps:
    """Changes a system.

    Attributes:
        root: the root folder of the system: `/`, or where a card is mounted.
        dry: True prints the steps and does nothing.
        changed: True when a step has changed something, or would have.
    """

    def __init__(self, root: Path = Path("/"), *, dry: bool = False) -> None:
        self.root, self.dry, self.changed = root, dry, False

    def place(self, path: str) -> Path:
        """Returns where an absolute path of that system lies here."""
        return self.root / path.lstrip("/")

    def write(self, path: str, data: bytes, mode: int = 0o644, group: str = "") -> None:
        """Writes a file. group: the group that may read it too. Raises EdgeposeError."""
        place = self.place(path)
        try:
            if place.is_file() and place.read_bytes() == data and place.stat().st_mode & 0o777 == mode:
                print(f"  as it is  {path}")
                return
            self._print("write", path)
            if not self.dry:
                place.parent.mkdir(parents=True, exist_ok=True)
                write_durably(place, data, mode)
                if group:
                    shutil.chown(place, group=group)
        except (OSError, LookupError) as exc:
            raise EdgeposeError(f"{path}: cannot write ({getattr(exc, 'strerror', None) or exc})") from None

    def folder(self, path: str, owner: str) -> None:
        """Makes a folder for a user of that system. Raises EdgeposeError."""
        place = self.place(path)
        if place.is_dir():
            return
        self._print("make", f"{path} for {owner}")
        if not self.dry:
            try:
                place.mkdir(parents=True)
                os.chown(place, *self._ids(owner))
            except (OSError, LookupError) as exc:
                raise EdgeposeError(f"{path}: cannot be made ({exc})") from None

    def remove(self, path: str) -> None:
        """Removes a file or a folder with all that is in it."""
        place = self.place(path)
        if not (place.exists() or place.is_symlink()):
            return
        self._print("remove", path)
        if not self.dry:
            shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()

    def run(self, *words: str, needed: bool = True) -> None:
        """Runs a program, but not for a system that is not running.

        needed: False ignores a program that fails; True raises EdgeposeError.
        """
        if self.root != Path("/") and not any(word.startswith("--root") for word in words):
            return
        print(f"  run       {' '.join(words)}")
        if self.dry:
            return
        try:
            call(*words)
        except EdgeposeError:
            if needed:
                raise

    def root_option(self) -> list[str]:
        """Returns the option that names the system for systemd's tools; nothing for the running system."""
        return [] if self.root == Path("/") else [f"--root={self.root}"]

    def _ids(self, user: str) -> tuple[int, int]:
        """Returns the ids that a user has on that system: on a card they may differ from this computer's."""
        for line in self.place("/etc/passwd").read_text(encoding="utf-8").splitlines():
            fields = line.split(":")
            if fields[0] == user:
                return int(fields[2]), int(fields[3])
        raise LookupError(f"there is no user {user}")

    def _print(self, what: str, path: str) -> None:
        self.changed = True
        print(f"  {what:<9} {path}")


def need_root(command: str) -> None:
    """Raises EdgeposeError where this process is not root's."""
    if os.geteuid() != 0:
        raise EdgeposeError(f"needs root: sudo {command}")


def call(*words: str) -> str:
    """Runs a program and returns what it prints. Raises EdgeposeError where it cannot be run, or fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    except OSError as exc:
        raise EdgeposeError(f"{words[0]}: cannot be run ({exc.strerror}); this system needs it") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["it gave no reason"]
        raise EdgeposeError(f"`{' '.join(words)}` failed ({done.returncode}): {said[-1]}")
    return done.stdout
