"""Computes rates and percentiles of the latest values."""

from __future__ import annotations

from collections import deque

import numpy as np

RECENT = 500  # how many values are kept


class RollingStats:
    """The last `RECENT` values. One thread adds them, every thread may read."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=RECENT)

    def add(self, value: float) -> None:
        self._values.append(value)

    def percentiles(self) -> tuple[float, float, float]:
        """Returns the median, the 95th and the 99th percentile; zeros while there is no value."""
        if not self._values:
            return 0.0, 0.0, 0.0
        p50, p95, p99 = np.percentile(tuple(self._values), (50, 95, 99)).round(3).tolist()
        return p50, p95, p99

    def per_second(self, now: float) -> float:
        """Returns the rate of the values, which are instants in seconds. It falls when no more are added."""
        instants = tuple(self._values)
        if len(instants) < 2:
            return 0.0
        return round(len(instants) / max(now - instants[0], 1e-9), 2)
