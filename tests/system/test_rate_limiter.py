"""How many frames `rate_hz` lets through."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.system.rate_limiter import RateLimiter


def taken(rate_hz: float, instants_s: np.ndarray, allowance: RateLimiter | None = None) -> int:
    allowance = allowance or RateLimiter()
    return sum(allowance.take(rate_hz, now_s) for now_s in instants_s.tolist())


@pytest.mark.parametrize("camera_hz", [7.0, 29.97, 30.0, 120.0])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.66, 0.9, 0.999])
@pytest.mark.parametrize("jitter", [0.0, 0.4])
def test_on_average_there_are_as_many_as_asked_for(camera_hz: float, share: float, jitter: float) -> None:
    frames = 20_000
    late = np.random.default_rng(1).uniform(-jitter, jitter, frames)
    count = taken(camera_hz * share, 1000 + (np.arange(frames) + late) / camera_hz)
    assert count == pytest.approx(frames * share, abs=3, rel=1e-3)


def test_more_than_there_are_chances_takes_them_all() -> None:
    assert taken(50, 1000 + np.arange(1000) / 30) == 1000


def test_they_are_spread_and_a_pause_is_not_caught_up() -> None:
    allowance = RateLimiter()
    assert taken(10, np.linspace(1000, 1001, 1000), allowance) <= 13
    assert taken(10, np.linspace(1100, 1100.01, 100), allowance) == 3


def test_a_new_rate_counts_at_once() -> None:
    allowance = RateLimiter()
    assert taken(0.001, np.linspace(1000, 1010, 300), allowance) <= 2
    assert taken(30, np.linspace(1010, 1011, 31), allowance) >= 29
