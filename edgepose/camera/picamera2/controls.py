"""Checks what the config asks of a Camera Module against what that camera offers.

libcamera would clip some of the values in silence, and fail at a later frame because of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from edgepose.config.camera import ControlValue, Picamera2Config
from edgepose.errors import ConfigError
from edgepose.system.wording import did_you_mean

Offered: TypeAlias = Mapping[str, tuple[Any, Any, Any]]
"""(least, most, default) of each control by its name, as `Picamera2.camera_controls` has them."""

_DURATION = "FrameDurationLimits"
_RATES = {_DURATION, "FrameRate"}
_AUTO_AT_ZERO = {"ExposureTime", "AnalogueGain"}
_RATE_SLACK = 1.02  # a sensor that is said to give 30 frames a second may give 29.9


def controls_for(camera: Picamera2Config, offered: Offered) -> dict[str, Any]:
    """Returns the controls to set. Raises ConfigError where this camera has no such control, or not with that value."""
    if _DURATION in offered:
        duration_us = _duration_us(camera.rate_hz, offered)
        controls: dict[str, Any] = {_DURATION: (duration_us, duration_us)}
        if _exposure_us(camera) > duration_us:
            raise ConfigError(
                f"camera.controls.ExposureTime: {_exposure_us(camera):g} us is longer than a frame at "
                f"camera.rate_hz {camera.rate_hz:g} ({duration_us} us); change one of them"
            )
    else:
        controls = {}
    for name, value in camera.controls.items():
        controls[name] = _checked(name, value, offered)
    if "ScalerCrop" in controls and "ScalerCrops" in offered:
        # On a Pi 5 picamera2 sets a crop for each stream, which overrides this one.
        controls["ScalerCrops"] = [controls["ScalerCrop"]] * 2
    return controls


def _duration_us(rate_hz: float, offered: Offered) -> int:
    least, most, _ = offered[_DURATION]
    duration_us = round(1e6 / rate_hz)
    if duration_us * _RATE_SLACK < least:
        raise ConfigError(
            f"camera.rate_hz: {rate_hz:g} is more than the sensor gives in this mode, {1e6 / least:.2f}; lower it, or "
            "choose a smaller mode with camera.sensor_wh"
        )
    if most and duration_us > most * _RATE_SLACK:
        raise ConfigError(f"camera.rate_hz: {rate_hz:g} is less than the sensor gives, {1e6 / most:.3g}; raise it")
    return max(duration_us, int(least))


def _exposure_us(camera: Picamera2Config) -> float:
    value = camera.controls.get("ExposureTime", 0)
    return value if isinstance(value, int | float) else 0


def _checked(name: str, value: ControlValue, offered: Offered) -> Any:
    where = f"camera.controls.{name}"
    if name in _RATES:
        raise ConfigError(f"{where}: set camera.rate_hz instead")
    if name not in offered:
        raise ConfigError(f"{where}: this camera has no such control{did_you_mean(name, set(offered) - _RATES)}")
    least, most, _ = offered[name]
    if isinstance(least, tuple):
        return _checked_rectangle(where, value, least, most)
    if isinstance(value, tuple):
        return tuple(_checked_number(where, part, least, most) for part in value)
    if name in _AUTO_AT_ZERO and value == 0:
        return _as_type_of(where, value, least)
    return _checked_number(where, value, least, most)


def _checked_number(where: str, value: bool | float, least: Any, most: Any) -> Any:
    number = _as_type_of(where, value, least)
    if None not in {least, most} and least < most and not least <= number <= most:
        raise ConfigError(f"{where}: {value} is not within what this camera offers, {least:g} to {most:g}")
    return number


def _as_type_of(where: str, value: bool | float, like: Any) -> bool | int | float:
    """Converts a number to the type of `like`.

    libcamera accepts neither 1.0 for an integer nor 1 for true, and says so only when a frame is due.
    """
    if isinstance(like, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: {value} is neither true nor false")
        return value
    if isinstance(value, bool):
        raise ConfigError(f"{where}: a number is wanted, not {str(value).lower()}")
    if isinstance(like, int):
        if value != int(value):
            raise ConfigError(f"{where}: {value} is not a whole number")
        return int(value)
    return float(value)


def _checked_rectangle(where: str, value: ControlValue, least: Any, most: Any) -> tuple[int, ...]:
    """Returns (x, y, w, h) in pixels of the sensor. Raises ConfigError."""
    if not isinstance(value, tuple) or len(value) != 4:
        raise ConfigError(f"{where}: four numbers are wanted, [x, y, width, height]")
    x, y, w, h = rectangle = tuple(int(part) for part in value)
    inside = x >= most[0] and y >= most[1] and x + w <= most[0] + most[2] and y + h <= most[1] + most[3]
    if not inside or w < max(1, least[2]) or h < max(1, least[3]):
        raise ConfigError(f"{where}: {list(rectangle)} does not lie within what this camera sees, {list(most)}")
    return rectangle
