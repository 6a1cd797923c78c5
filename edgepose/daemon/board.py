"""Reads the state of the board from files of Linux: temperature, throttling, memory, disk, clock."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from edgepose.protocol.messages import Board
from edgepose.system.clock import SyncFlag, boot_us
from edgepose.system.reporter import Reporter

ROOT = Path("/")
# Bits of the firmware's `get_throttled`; the bit that is 16 higher says the same since boot (Raspberry Pi
# documentation, vcgencmd).
_BITS = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
_SINCE_BOOT = 16
HOT_C = 80.0  # a Pi begins to throttle at this temperature
LOW_MEMORY_MB, LOW_DISK_MB = 40.0, 200.0
_MOST_DIGITS = 16  # a longer text is no number of the kernel's
_TEXTS = {
    "under_voltage": "too little voltage; use the board's own power supply and a short cable",
    "frequency_capped": "the processor's frequency is capped; check the power supply and the cooling",
    "throttled": "the firmware has slowed the processor down; give the board air or a heat sink",
    "soft_temperature_limit": "the firmware's soft temperature limit is reached; give the board air or a heat sink",
}


class BoardSensors:
    """Reads the state of the board.

    Args:
        disk: a folder on the disk whose free space counts. It need not exist yet.
        root: the folder that holds `sys` and `proc`.
        sample_s: time between two readings for `latest`, seconds.
    """

    def __init__(self, disk: Path, root: Path = ROOT, sample_s: float = 5.0) -> None:
        self._disk, self._root, self._sample_s = disk, root, sample_s
        self._sync = SyncFlag()
        self._latest, self._read_s = self.read(), time.monotonic()

    def latest(self) -> Board:
        """Returns the last reading, or a new one when it is older than `sample_s`."""
        if time.monotonic() - self._read_s >= self._sample_s:
            self._latest, self._read_s = self.read(), time.monotonic()
        return self._latest

    def read(self) -> Board:
        """Returns the state now, with None for what the board does not say. Never raises."""
        bits = _number(self._root / _THROTTLED, 16) or 0
        free_mb = None
        with contextlib.suppress(OSError):
            free_mb = round(shutil.disk_usage(_existing(self._disk)).free / 1e6)
        milli_c = _number(self._root / "sys/class/thermal/thermal_zone0/temp", 10)
        return Board(
            temperature_c=None if milli_c is None else round(milli_c / 1e3, 1),
            throttled={name: bool(bits >> bit & 1) for bit, name in enumerate(_BITS)},
            throttled_since_boot={name: bool(bits >> (bit + _SINCE_BOOT) & 1) for bit, name in enumerate(_BITS)},
            memory_free_mb=_memory_mb(self._root),
            disk_free_mb=free_mb,
            load=round(os.getloadavg()[0], 2),
            clock_synced=self._sync.synced(),
            up_s=round(boot_us() / 1e6, 1),
        )


def board_alerts(board: Board) -> dict[str, str]:
    """Returns what is wrong with the board now: a text by what it is about."""
    alerts = {name: _TEXTS[name] for name, now in board.throttled.items() if now}
    if board.temperature_c is not None and board.temperature_c >= HOT_C:
        alerts["temperature"] = f"{board.temperature_c:.0f} °C; give the board air or a heat sink"
    if board.memory_free_mb is not None and board.memory_free_mb < LOW_MEMORY_MB:
        alerts["free_memory"] = f"{board.memory_free_mb:.0f} MB free; stop what else runs on this board"
    if board.disk_free_mb is not None and board.disk_free_mb < LOW_DISK_MB:
        alerts["disk"] = f"{board.disk_free_mb:.0f} MB free; make room, or lower the limits of spool and recordings"
    return alerts


def report_board(board: Board, reporter: Reporter) -> None:
    """Begins and ends the alerts of the board."""
    alerts = board_alerts(board)
    for about in (*_TEXTS, "temperature", "free_memory", "disk"):
        reporter.alert(about, alerts.get(about))


def _memory_mb(root: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return round(int(line.split()[1]) / 1e3)
    return None


def _number(path: Path, base: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        text = path.read_text(encoding="ascii").strip()
        return int(text, base) if len(text) <= _MOST_DIGITS else None
    return None


def _existing(folder: Path) -> Path:
    return next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
