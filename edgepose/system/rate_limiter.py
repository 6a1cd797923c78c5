"""How often something may happen."""

from __future__ import annotations

_MOST = 3.0  # one to take, and what came while a chance was awaited that was nearly one period late


class RateLimiter:
    """So many a second on average, however the chances fall, as long as there are enough of them."""

    def __init__(self) -> None:
        self._saved = 1.0
        self._at_s = 0.0

    def take(self, rate_hz: float, now_s: float) -> bool:
        """Whether one may be taken now; the rate may change at any time. now_s: of a clock that cannot jump."""
        self._saved = min(_MOST, self._saved + (now_s - self._at_s) * rate_hz)
        self._at_s = now_s
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
