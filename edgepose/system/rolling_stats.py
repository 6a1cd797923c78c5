"""Computes rates and percentiles of the latest values."""

from __future__ import annotations

import numpy as np

RECENT = 500  # how many values are kept


class RollingStats:
    """The last `RECENT` values. One thread adds them, every thread may read."""

    def __init__(self) -> None:
        self._ring = np.zeros(RECENT)
        self._count = 0

    def add(self, value: float) -> None:
        self._ring[self._count % RECENT] = value
        self._count += 1

    def percentiles(self) -> tuple[float, float, float]:
        """Returns the median, the 95th and the 99th percentile; zeros while there is no value."""
        if self._count == 0:
            return 0.0, 0.0, 0.0
        p50, p95, p99 = np.percentile(self._ring[: self._count], (50, 95, 99)).round(3).tolist()
        return p50, p95, p99

    def per_second(self, now: float) -> float:
        """Returns the rate of the values, which are instants in seconds. It falls when no more are added."""
        if self._count < 2:
            return 0.0
        oldest = self._ring[0 if self._count <= RECENT else self._count % RECENT]
        return round(min(self._count, RECENT) / max(now - float(oldest), 1e-9), 2)
