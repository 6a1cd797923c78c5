"""Which rows of the disk the broker has acknowledged, and when: few runs, however many rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

GRAIN_S = 1.0  # a run covers no more time


@dataclass(slots=True, eq=False)
class AckedRange:
    """Rows first to last, acknowledged between first_s and last_s (boot clock). poses: in them."""

    first: int
    last: int
    poses: int
    first_s: float
    last_s: float


class AckedRows:
    """poses: in all of them. runs: by their rows, in order."""

    def __init__(self) -> None:
        self.poses = 0
        self.runs: list[AckedRange] = []

    def add(self, row: int, poses: int, now_s: float) -> None:
        """None that is there already."""
        self.poses += poses
        at = bisect_right(self.runs, row, key=_first)
        if at:
            before = self.runs[at - 1]
            if before.last == row - 1 and now_s - before.first_s < GRAIN_S:
                before.last, before.poses, before.last_s = row, before.poses + poses, now_s
                return
        self.runs.insert(at, AckedRange(row, row, poses, now_s, now_s))

    def __contains__(self, row: int) -> bool:
        at = bisect_right(self.runs, row, key=_first)
        return at > 0 and row <= self.runs[at - 1].last

    def remove(self, runs: Iterable[AckedRange]) -> None:
        for run in runs:
            if run in self.runs:
                self.runs.remove(run)
                self.poses -= run.poses


def _first(run: AckedRange) -> int:
    return run.first
