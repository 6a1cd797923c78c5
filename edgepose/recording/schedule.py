"""Decides whether frames are to be recorded now."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Literal

from edgepose.config.schema import BetweenConfig, minute_of


class RecordingSchedule:
    """When the config wants frames to be recorded.

    Attributes:
        by_clock: the schedule follows the clock.
    """

    def __init__(self, when: Literal["always", "marked"] | BetweenConfig, marker: Path) -> None:
        """marker: a file that exists while an experiment is marked, so that a power cut does not end its recording."""
        self._when, self._marker = when, marker
        self._marked = when == "marked" and marker.exists()
        self.by_clock = isinstance(when, BetweenConfig)
        if isinstance(when, BetweenConfig):
            self._begin, self._end = (minute_of(text) for text in when.between)

    def wants(self, t_us: int) -> bool:
        """Returns whether a frame is to be recorded. t_us: its wall clock, epoch microseconds."""
        if not self.by_clock:
            return self._marked or self._when == "always"
        local = time.localtime(t_us / 1e6)
        minute = local.tm_hour * 60 + local.tm_min
        if self._begin <= self._end:
            return self._begin <= minute < self._end
        return minute >= self._begin or minute < self._end

    def mark(self, phase: str) -> None:
        """Takes the mark of an experiment. phase: `start` or `stop`; other phases change nothing."""
        if self._when != "marked" or phase not in {"start", "stop"}:
            return
        self._marked = phase == "start"
        with contextlib.suppress(OSError):  # the recorder reports what is wrong with the folder
            self._marker.parent.mkdir(parents=True, exist_ok=True)
            if self._marked:
                self._marker.touch()
            else:
                self._marker.unlink(missing_ok=True)
