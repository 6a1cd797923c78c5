"""What has come of one boot of one device, and what is missing."""

from __future__ import annotations

from edgepose.core.seqs import SeqSet

_PRUNE_AT = 10_000


class Stream:
    """Poses by `seq`, each with the number of its frame.

    Another run of the daemon begins far above the last seq, which is no gap. Within a run every pose has a frame of
    its own, so seq never grows by more than frame does; from one run to the next it does."""

    def __init__(self) -> None:
        self._seqs = SeqSet()
        self._frames: dict[int, int] = {}  # of the ends of ranges, and of some more

    def add(self, seq: int, frame: int) -> bool:
        """False when it was there already."""
        if not self._seqs.add(seq):
            return False
        self._frames[seq] = frame
        if len(self._frames) > _PRUNE_AT + 2 * len(self._seqs.ranges()):
            ends = {seq for ends in self._seqs.ranges() for seq in ends}
            self._frames = {seq: self._frames[seq] for seq in ends}
        return True

    def add_range(self, first: int, last: int, first_frame: int, last_frame: int) -> None:
        """A range of an earlier `ranges`."""
        self._seqs.add_range(first, last)
        self._frames[first], self._frames[last] = first_frame, last_frame

    def __len__(self) -> int:
        return len(self._seqs)

    def ranges(self) -> list[tuple[int, int, int, int]]:
        """First and last seq of each range without a gap, and their frames."""
        return [(first, last, self._frames[first], self._frames[last]) for first, last in self._seqs.ranges()]

    def gaps(self) -> list[tuple[int, int]]:
        """(first, last) seq of what never came."""
        return [
            (first, last)
            for first, last in self._seqs.gaps()
            if last + 1 - (first - 1) <= self._frames[last + 1] - self._frames[first - 1]
        ]
