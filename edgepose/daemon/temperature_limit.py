"""Makes fewer poses before the firmware slows the whole board down: the heat comes from the model."""

from __future__ import annotations

STEP_S = 20.0  # between two changes of the rate: a board's temperature takes about a minute to follow
HYSTERESIS_C = 3.0  # the rate rises again only when the board is this much below the limit
LOWEST_HZ = 1.0
_DOWN, _UP = 0.8, 1.25


class TemperatureLimit:
    """Lowers the rate of poses step by step while the board is too hot, and raises it again.

    Args:
        limit_c: the soft limit of the board's temperature.
        step_s: time between two steps, seconds.

    Attributes:
        rate_hz: poses a second that the temperature leaves room for now; None is no limit.
    """

    def __init__(self, limit_c: float, step_s: float = STEP_S) -> None:
        self.rate_hz: float | None = None
        self._limit_c, self._step_s = limit_c, step_s
        self._cool_hz = 0.0  # poses a second before the board became hot
        self._stepped_s = -step_s

    def update(self, temperature_c: float | None, fps: float, now_s: float) -> None:
        """Takes a step where one is due. Call it often.

        Args:
            temperature_c: None where the board does not say; then there is no limit.
            fps: poses a second, lately.
            now_s: monotonic clock, seconds.
        """
        if temperature_c is None or now_s - self._stepped_s < self._step_s:
            return
        if temperature_c >= self._limit_c:
            self._stepped_s = now_s
            if self.rate_hz is None:
                self._cool_hz = fps
            self.rate_hz = max(LOWEST_HZ, (fps if self.rate_hz is None else self.rate_hz) * _DOWN)
        elif self.rate_hz is not None and temperature_c <= self._limit_c - HYSTERESIS_C:
            self._stepped_s = now_s
            self.rate_hz = self.rate_hz * _UP if self.rate_hz * _UP < self._cool_hz else None
