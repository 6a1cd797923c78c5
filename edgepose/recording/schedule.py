"""Whether frames are to be recorded now."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Literal

from edgepose.config.schema import BetweenConfig


class RecordingSchedule:
    """marker: a file that is there while an experiment is marked, so that a power cut does not end its recording."""

    def __init__(self, when: Literal["always", "marked"] | BetweenConfig, marker: Path) -> None:
        self._when, self._marker = when, marker
        self._marked = when == "marked" and marker.exists()
        self.by_clock = isinstance(when, BetweenConfig)
        if isinstance(when, BetweenConfig):
            self._begin, self._end = (minute_of(text) for text in when.between)

    def wants(self, t_us: int) -> bool:
        """t_us: wall clock of a frame, epoch microseconds."""
        if not self.by_clock:
            return self._marked or self._when == "always"
        local = time.localtime(t_us / 1e6)
        minute = local.tm_hour * 60 + local.tm_min
        if self._begin <= self._end:
            return self._begin <= minute < self._end
        return minute >= self._begin or minute < self._end

    def mark(self, phase: str) -> None:
        """phase: `start` or `stop` of an experiment; others change nothing."""
        if self._when != "marked" or phase not in {"start", "stop"}:
            return
        self._marked = phase == "start"
        with contextlib.suppress(OSError):  # the recording itself will say what is wrong with the folder
            self._marker.parent.mkdir(parents=True, exist_ok=True)
            if self._marked:
                self._marker.touch()
            else:
                self._marker.unlink(missing_ok=True)


def minute_of(text: int | str) -> int:
    """Of the day. A number is one already."""
    if isinstance(text, int):
        return text
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
