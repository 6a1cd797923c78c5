"""The soft limit of the board's temperature, on a board that is simulated: each pose a second warms it."""

from __future__ import annotations

from edgepose.daemon.temperature_limit import HYSTERESIS_C, LOWEST_HZ, STEP_S, TemperatureLimit


def simulate(limit_c: float, *, ambient_c: float, c_per_hz: float, hours: float) -> list[tuple[float, float]]:
    """Returns (temperature, poses a second) for each second. The board nears its temperature within two minutes."""
    limit, temperature_c, rows = TemperatureLimit(limit_c), ambient_c, []
    for second in range(int(hours * 3600)):
        hz = min(30.0, limit.rate_hz or 30.0)
        temperature_c += (ambient_c + c_per_hz * hz - temperature_c) / 60
        limit.update(temperature_c, hz, float(second))
        rows.append((temperature_c, hz))
    return rows


def test_a_hot_board_settles_near_the_limit_and_keeps_its_poses() -> None:
    """At 30 poses a second the board would have 90 °C."""
    rows = simulate(75, ambient_c=45, c_per_hz=1.5, hours=2)
    settled = rows[len(rows) // 2 :]
    assert max(c for c, _ in settled) < 79
    assert min(c for c, _ in settled) > 75 - 3 * HYSTERESIS_C
    assert min(hz for _, hz in settled) > 10


def test_a_cool_board_is_left_alone() -> None:
    assert {hz for _, hz in simulate(75, ambient_c=25, c_per_hz=1.0, hours=1)} == {30.0}


def test_a_board_in_the_sun_keeps_the_least_rate() -> None:
    assert simulate(75, ambient_c=80, c_per_hz=0.5, hours=1)[-1][1] == LOWEST_HZ


def test_cooler_again_the_limit_goes_step_by_step() -> None:
    limit = TemperatureLimit(75)
    limit.update(76, 20.0, 0)
    assert limit.rate_hz == 16.0
    limit.update(76, 16.0, STEP_S - 1)
    assert limit.rate_hz == 16.0
    limit.update(74, 16.0, STEP_S)
    assert limit.rate_hz == 16.0
    limit.update(75 - HYSTERESIS_C, 16.0, 2 * STEP_S)
    assert limit.rate_hz is None


def test_a_board_without_a_temperature_has_no_limit() -> None:
    limit = TemperatureLimit(75)
    limit.update(None, 30.0, 0)
    assert limit.rate_hz is None
