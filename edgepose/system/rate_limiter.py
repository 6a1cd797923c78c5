"""Limits how often something happens."""

from __future__ import annotations

_MOST = 3.0  # At most so many chances are saved: the next one may come nearly a period late, and must not be lost.


class RateLimiter:
    """Allows a number of events a second on average, at whatever moments the chances come."""

    def __init__(self) -> None:
        self._saved = 1.0
        self._at_s = 0.0

    def take(self, rate_hz: float, now_s: float) -> bool:
        """Returns True when one may happen now. The rate may change at any time. now_s: of the monotonic clock."""
        self._saved = min(_MOST, self._saved + (now_s - self._at_s) * rate_hz)
        self._at_s = now_s
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
