"""Remembers which rows of the disk the broker has acknowledged, and when: few ranges, however many rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class AckedRange:
    """Rows `first` to `last`, acknowledged between `first_s` and `last_s` (boot clock), with `poses` poses in them."""

    first: int
    last: int
    poses: int
    first_s: float
    last_s: float


class AckedRows:
    """The acknowledged rows.

    Attributes:
        poses: number of poses in all of them.
        ranges: by their rows, in order.
    """

    def __init__(self, grain_s: float = 1.0) -> None:
        """grain_s: no range covers more time than this."""
        self.poses = 0
        self.ranges: list[AckedRange] = []
        self._grain_s = grain_s

    def add(self, row: int, poses: int, now_s: float) -> None:
        """Adds a row with its number of poses. The row must not be among them already."""
        self.poses += poses
        at = bisect_right(self.ranges, row, key=_first)
        if at:
            before = self.ranges[at - 1]
            if before.last == row - 1 and now_s - before.first_s < self._grain_s:
                before.last, before.poses, before.last_s = row, before.poses + poses, now_s
                return
        self.ranges.insert(at, AckedRange(row, row, poses, now_s, now_s))

    def __contains__(self, row: int) -> bool:
        at = bisect_right(self.ranges, row, key=_first)
        return at > 0 and row <= self.ranges[at - 1].last

    def remove(self, ranges: Iterable[AckedRange]) -> None:
        """Removes ranges; those that are not among them are ignored."""
        for one in ranges:
            if one in self.ranges:
                self.ranges.remove(one)
                self.poses -= one.poses


def _first(one: AckedRange) -> int:
    return one.first
