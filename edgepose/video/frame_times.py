"""A frame of a video has its own number and its own time: here they are found, for a file that is read from its start.

The time comes from the rate that somebody gives, from the table beside a recording of ours, or from the container. It
is counted only where nothing else says it.
"""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from edgepose.types import F64

log = logging.getLogger(__name__)

TIMES_HEADER = ["video_frame", "frame", "t_us", "mono_ns", "synced"]
"""The columns of the table beside a recording."""
_RESTARTED_S = 1.0  # a container whose times go back so far begins to count anew, as joined files do


@dataclass(frozen=True, slots=True)
class RecordedTimes:
    """The true times of the frames of a recording.

    Attributes:
        time_s: (N,) since the first frame.
        begin_us: wall clock of the first frame, epoch microseconds.
    """

    time_s: F64
    begin_us: int


def times_table(video: Path) -> Path | None:
    """Returns the table that the recorder has written beside the video; None where there is none."""
    path = video.with_suffix(".csv")
    try:
        with path.open("rb") as file:
            head = file.readline(1000)
    except OSError:
        return None
    return path if head.decode("latin-1").strip().split(",") == TIMES_HEADER else None


def read_recorded_times(video: Path, frame_count: int) -> RecordedTimes | None:
    """Reads the table beside a recording; None where there is none.

    frame_count: number of frames of the video. A table that has another number of them, or that cannot be read, is not
    used, and a warning says so.
    """
    if (path := times_table(video)) is None:
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = islice(csv.reader(file), 1, frame_count + 2)
            table = np.array([[int(row[3]), int(row[2])] for row in rows], np.int64).reshape(-1, 2)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, IndexError, OverflowError):
        table = np.zeros((0, 2), np.int64)
    if len(table) != max(1, frame_count) or not (np.diff(table[:, 0]) > 0).all():
        log.warning("%s: has no time for each of the %d frames, so it is not used", path, frame_count)
        return None
    return RecordedTimes((table[:, 0] - table[0, 0]) / 1e9, int(table[0, 1]))


class FrameTimes:
    """Gives each frame its number and its time, from what OpenCV reports while it reads the file from its start.

    OpenCV's times begin with 0 at the first frame, also where the container's own begin elsewhere, below zero, or where
    an edit list has cut the beginning.

    Attributes:
        index: number of the last frame; frames that cannot be decoded count too.
        time_s: time of the last frame since the beginning of the file.
        container_s: the same as the container has it.
        stated: True once the container has stated a time.
    """

    def __init__(self, fps: float, rate_hz: float | None = None, recorded: RecordedTimes | None = None) -> None:
        """fps: rate by which frames are counted where nothing says their times. rate_hz: replaces all other times."""
        self.index, self.time_s, self.stated = -1, 0.0, False
        self._period_s = self._step_s = 1 / fps
        self._rate_hz, self._recorded = rate_hz, recorded
        self.container_s = self._stated_s = -self._period_s
        self._shift_s, self._counted, self._failed = 0.0, False, 0

    def add(self, stated_s: float, failed: int = 0) -> None:
        """Adds a frame.

        Args:
            stated_s: its time as OpenCV reports it: 0 where the container has none.
            failed: how many frames could not be decoded since the frame before.
        """
        if self.index < 0 and not failed:  # in AVI the first of frames that are reordered has a later time
            self._shift_s = -stated_s
        self._failed += failed
        if stated_s > self._stated_s:
            self.stated |= self.index >= 0
            if self._counted:  # goes on from the frames that had no times
                self._shift_s, self._counted = self.container_s + self._period_s - stated_s, False
            now_s = stated_s + self._shift_s
            lost = round((now_s - self.container_s) / self._step_s) - 1
        else:
            self._counted, lost = True, self._failed
            now_s = self.container_s + (1 + lost) * self._period_s
        # A decoder that reorders frames reports a damaged one some frames before its turn.
        lost = max(0, min(lost, self._failed))
        if not lost:
            self._step_s = now_s - self.container_s
        if not -_RESTARTED_S <= stated_s - self._stated_s <= 0:
            self._stated_s = stated_s
        self.container_s = now_s
        self._failed -= lost
        self.index += 1 + lost
        self.time_s = self._time_s()

    def _time_s(self) -> float:
        if self._rate_hz is not None:
            return self.index / self._rate_hz
        if self._recorded is not None:
            return float(self._recorded.time_s[min(self.index, len(self._recorded.time_s) - 1)])
        return self.container_s
