"""Clocks: which boot this is, how long since it, and whether the wall clock can be trusted.

Timeouts and rates use `time.monotonic`; only `t_us` of a message is wall time.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import time
import uuid
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_ERROR = 5  # adjtimex(2): "the system clock is not synchronized"
_TIMEX_BYTES = 512  # more than any platform's struct timex; its first field, modes = 0, only reads


def wall_us() -> int:
    """Wall clock, epoch microseconds."""
    return time.time_ns() // 1000


@functools.cache
def boot_id() -> str:
    """The kernel's id of this boot; where there is none (not Linux), a new one for this process."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid.uuid4())


def boot_us() -> int:
    """Microseconds since boot, on Linux with suspended time: it never goes back while the boot id stays."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return time.monotonic_ns() // 1000


class SyncFlag:
    """Asks the kernel whether any time service (NTP, PTP, GPS) has set the wall clock. Costs about 1 us.

    Only Linux can be asked; elsewhere the answer is no."""

    def __init__(self) -> None:
        linux = sys.platform == "linux"  # CDLL(None) is an error on Windows
        self._adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None) if linux else None
        self._timex = ctypes.create_string_buffer(_TIMEX_BYTES)

    def synced(self) -> bool:
        if self._adjtimex is None:
            return False
        state = int(self._adjtimex(self._timex))
        return 0 <= state < _TIME_ERROR
