"""Keeps track of which poses of one boot of one device have come, and which are missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from edgepose.protocol.messages import PoseMessage
from edgepose.protocol.seq_ranges import SeqRanges

_FRAMES = 64  # numbers of frames that a stream remembers before it drops those that it does not need


class SeqRun(NamedTuple):
    """Poses of one boot without a gap: their first and last `seq`, and the frames of these two."""

    boot: str
    first: int
    last: int
    first_frame: int
    last_frame: int


def runs_of(poses: Iterable[PoseMessage]) -> Iterator[SeqRun]:
    """Yields the runs of poses in the order of a message; few, however many the poses."""
    rest = iter(poses)
    begin = end = next(rest, None)
    if begin is None or end is None:
        return
    for pose in rest:
        if pose.seq != end.seq + 1 or pose.boot != end.boot:
            yield SeqRun(begin.boot, begin.seq, end.seq, begin.frame, end.frame)
            begin = pose
        end = pose
    yield SeqRun(begin.boot, begin.seq, end.seq, begin.frame, end.frame)


class Stream:
    """The poses of one boot that have come.

    A new start of the daemon begins far above the last `seq`, which is no gap. Within one start every pose has a frame
    of its own, so `seq` never grows by more than `frame` does; from one start to the next it does.
    """

    __slots__ = ("_frames", "_most", "_seqs")

    def __init__(self) -> None:
        self._seqs = SeqRanges()
        self._frames: dict[int, int] = {}  # by seq; those of the ends of ranges, and some more
        self._most = _FRAMES

    def add(self, first: int, last: int, first_frame: int, last_frame: int) -> int:
        """Adds poses without a gap. Returns how many of them are new."""
        new = self._seqs.add_range(first, last)
        if new:
            self._frames[first], self._frames[last] = first_frame, last_frame
            if len(self._frames) > self._most:
                self._frames = {seq: self._frames[seq] for ends in self._seqs.ranges() for seq in ends}
                self._most = _FRAMES + 2 * len(self._frames)
        return new

    def __len__(self) -> int:
        return len(self._seqs)

    def gaps(self) -> list[tuple[int, int]]:
        """Returns (first, last) `seq` of each run of poses that is missing."""
        return [
            (first, last)
            for first, last in self._seqs.gaps()
            if last + 1 - (first - 1) <= self._frames[last + 1] - self._frames[first - 1]
        ]
