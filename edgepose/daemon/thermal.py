"""Fewer poses before the firmware slows the whole board down: heat comes from the model, and frames can wait."""

from __future__ import annotations

STEP_S = 20.0  # between two steps: a board's temperature follows within about a minute
COOLER_C = 3.0  # below the limit before it may warm up again
LEAST_HZ = 1.0
_DOWN, _UP = 0.8, 1.25


class ThermalLimit:
    """limit_c: soft limit of the board's temperature. hz: poses a second that it leaves room for now; None: any."""

    def __init__(self, limit_c: float) -> None:
        self.hz: float | None = None
        self._limit_c = limit_c
        self._before = 0.0  # poses a second before it became hot
        self._step_s = -STEP_S

    def judge(self, temperature_c: float | None, fps: float, now_s: float) -> None:
        """To be called now and then. fps: poses a second lately. now_s: monotonic clock. A board that does not tell its
        temperature has no limit."""
        if temperature_c is None or now_s - self._step_s < STEP_S:
            return
        if temperature_c >= self._limit_c:
            self._step_s = now_s
            if self.hz is None:
                self._before = fps
            self.hz = max(LEAST_HZ, (fps if self.hz is None else self.hz) * _DOWN)
        elif self.hz is not None and temperature_c <= self._limit_c - COOLER_C:
            self._step_s = now_s
            self.hz = self.hz * _UP if self.hz * _UP < self._before else None
