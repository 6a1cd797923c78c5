"""Clocks: the boot id, the time since boot, the wall clock, and whether it is synchronised.

Timeouts and rates use `time.monotonic`; only `t_us` of a message is wall time.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_ERROR = 5  # adjtimex(2): "the system clock is not synchronized"
ASK_S = 30.0
_TIMEDATECTL = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
_TIMEX_BYTES = 512  # more than struct timex has on any platform; its first field, modes = 0, means read only


def wall_us() -> int:
    """Returns the wall clock in epoch microseconds."""
    return time.time_ns() // 1000


@functools.cache
def boot_id(path: Path = _BOOT_ID) -> str:
    """Returns the kernel's id of this boot. Where there is none (not Linux), this process gets a new one."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid.uuid4())


def boot_us() -> int:
    """Returns microseconds since boot. On Linux they include suspended time, and never go back within one boot id."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return time.monotonic_ns() // 1000


class SyncFlag:
    """Asks the kernel whether a time service (NTP, PTP, GPS) has set the wall clock, which takes about 1 us.

    Only Linux has such a question; elsewhere the answer is no. A hardened service must not ask, because the same system
    call sets the clock. Then timedatectl is asked.
    """

    def __init__(self, adjtimex: Callable[[Any], int] | None = None) -> None:
        if adjtimex is None and sys.platform == "linux":  # CDLL(None) is an error on Windows
            adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
        self._adjtimex = adjtimex
        self._timex = ctypes.create_string_buffer(_TIMEX_BYTES)

    def synced(self) -> bool:
        if self._adjtimex is None:
            return False
        state = int(self._adjtimex(self._timex))
        return 0 <= state < _TIME_ERROR if state >= 0 else timedatectl().synced


class Timedatectl:
    """Asks timedatectl every `ASK_S`, in a thread of its own, because one answer takes longer than a pose."""

    def __init__(self) -> None:
        self.synced = False
        threading.Thread(target=self._ask, name="clock", daemon=True).start()

    def _ask(self) -> None:
        while True:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                done = subprocess.run(_TIMEDATECTL, capture_output=True, text=True, check=False, timeout=20)
                self.synced = done.stdout.strip() == "yes"
            time.sleep(ASK_S)


@functools.cache
def timedatectl() -> Timedatectl:
    """Returns the one of this process."""
    return Timedatectl()
