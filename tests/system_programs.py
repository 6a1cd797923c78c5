"""The system's own programs that an administrator's commands call, as scripts that note how they were called."""

from __future__ import annotations

from pathlib import Path

NAMES = ("systemctl", "systemd-sysusers", "systemd-tmpfiles", "udevadm", "userdel", "dpkg")

SYSTEMCTL = """
if [ "$1" = list-units ]; then echo "edgepose.service loaded active running"; fi
if [ "$1" = show ]; then
    head -n 1 {states} | tr ";" "\\n"
    if [ "$(wc -l < {states})" -gt 1 ]; then sed -i 1d {states}; fi
fi
"""


class SystemPrograms:
    """The scripts, in a folder that belongs on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._log, self._states = folder / "bin", folder / "calls", folder / "states"
        self.folder.mkdir()
        self._log.touch()
        for name in NAMES:
            more = SYSTEMCTL.format(states=self._states) if name == "systemctl" else ""
            if name == "dpkg":
                more = "exit 1\n"  # it has installed nothing
            text = f'#!/bin/sh\necho {name} "$@" >> {self._log}\n{more}'
            (self.folder / name).write_text(text, encoding="utf-8")
            (self.folder / name).chmod(0o755)

    def calls(self) -> list[str]:
        return self._log.read_text(encoding="utf-8").splitlines()

    def show(self, *states: dict[str, str]) -> None:
        """What `systemctl show` says from here on, one state after the other; the last one stays."""
        lines = (";".join(f"{key}={value}" for key, value in state.items()) for state in states)
        self._states.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
