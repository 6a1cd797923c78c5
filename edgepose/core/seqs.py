"""Which sequence numbers have come: few ranges, however many the numbers and in whatever order they come."""

from __future__ import annotations

from bisect import bisect_right


class SeqSet:
    """A set of integers, kept as ranges that do not touch."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, seq: int) -> bool:
        """False when it was there already."""
        at = bisect_right(self._firsts, seq)  # the range that may hold it is the one before
        if at and seq <= self._lasts[at - 1]:
            return False
        joins_before = at > 0 and self._lasts[at - 1] == seq - 1
        joins_after = at < len(self._firsts) and self._firsts[at] == seq + 1
        if joins_before and joins_after:
            self._lasts[at - 1] = self._lasts.pop(at)
            del self._firsts[at]
        elif joins_before:
            self._lasts[at - 1] = seq
        elif joins_after:
            self._firsts[at] = seq
        else:
            self._firsts.insert(at, seq)
            self._lasts.insert(at, seq)
        return True

    def add_range(self, first: int, last: int) -> None:
        """None of which is there yet."""
        self.add(first)
        at = bisect_right(self._firsts, first) - 1
        self._lasts[at] = last
        if at + 1 < len(self._firsts) and self._firsts[at + 1] == last + 1:
            self._lasts[at] = self._lasts.pop(at + 1)
            del self._firsts[at + 1]

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._firsts, seq)
        return at > 0 and seq <= self._lasts[at - 1]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges())

    def ranges(self) -> list[tuple[int, int]]:
        """(first, last) of each, in order."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def gaps(self) -> list[tuple[int, int]]:
        """(first, last) of what is missing between the least and the greatest."""
        return [(last + 1, first - 1) for last, first in zip(self._lasts, self._firsts[1:], strict=False)]

    def missing(self) -> int:
        return sum(last - first + 1 for first, last in self.gaps())
