"""A set of sequence numbers that needs little memory: it holds ranges, not numbers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class SeqRanges:
    """A set of integers, kept as ranges that do not touch. Numbers may be added in any order."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, seq: int) -> bool:
        """Adds a number. Returns False when it was there already."""
        return self.add_range(seq, seq) > 0

    def add_range(self, first: int, last: int) -> int:
        """Adds the numbers `first` to `last`. Returns how many of them are new."""
        begin = bisect_left(self._lasts, first - 1)  # the ranges that overlap it or touch it
        end = bisect_right(self._firsts, last + 1, begin)
        firsts, lasts = self._firsts[begin:end], self._lasts[begin:end]
        known = sum(min(b, last) - max(a, first) + 1 for a, b in zip(firsts, lasts, strict=True))
        self._firsts[begin:end] = [min(first, *firsts)] if firsts else [first]
        self._lasts[begin:end] = [max(last, *lasts)] if lasts else [last]
        return last - first + 1 - known

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._firsts, seq)
        return at > 0 and seq <= self._lasts[at - 1]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges())

    def ranges(self) -> list[tuple[int, int]]:
        """Returns (first, last) of each range, in order."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def gaps(self) -> list[tuple[int, int]]:
        """Returns (first, last) of each range that is missing between the least and the greatest number."""
        return [(last + 1, first - 1) for last, first in zip(self._lasts, self._firsts[1:], strict=False)]

    def missing(self) -> int:
        """Returns how many numbers are missing between the least and the greatest."""
        return sum(last - first + 1 for first, last in self.gaps())
