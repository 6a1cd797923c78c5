"""Gives frames their rhythm, on the monotonic clock, which has no steps."""

from __future__ import annotations

import threading
import time


class Pacer:
    """Gives a tick every 1 / rate_hz seconds; with an infinite rate it never waits.

    A late caller gets its tick at once, and no burst of ticks afterwards.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period_s = 1 / rate_hz
        self._due_s: float | None = None
        self._stopped = threading.Event()

    def wait(self) -> bool:
        """Sleeps until the next tick. Returns False once `stop` was called, which also ends a sleep."""
        now = time.monotonic()
        due = now if self._due_s is None else self._due_s
        if due > now:
            self._stopped.wait(due - now)
        elif now - due > self._period_s:
            due = now
        self._due_s = due + self._period_s
        return not self._stopped.is_set()

    def stop(self) -> None:
        self._stopped.set()
