"""Reads and writes the files that describe the scene: the calibration of the lens, the ground and the zones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepose.config.schema import GeometryConfig
from edgepose.errors import ConfigError, UsageError
from edgepose.geometry.ground import Ground, ground_by_length, ground_by_points
from edgepose.geometry.lens import Lens, format_lens, parse_lens, scaled
from edgepose.geometry.zones import parse_zones
from edgepose.system.strict import read_text
from edgepose.types import F64


def read_lens(path: Path) -> Lens:
    """Returns the lens that a calibration file describes. Raises ConfigError with one line."""
    return parse_lens(read_text(path, ConfigError, "give a file that `edgepose calibrate` wrote"), str(path))


def write_lens(path: Path, lens: Lens, rms_px: float) -> None:
    """Writes a calibration file as OpenCV's own programs do. `rms_px` is the reprojection error. Raises OSError."""
    path.write_text(format_lens(lens, rms_px), encoding="ascii")


def read_zones(path: Path) -> dict[str, F64]:
    """Returns the corners (P, 2) of each zone in a YAML file, in pixels of the frame. Raises UsageError."""
    return parse_zones(read_text(path, UsageError, "give a YAML file with zones"), str(path))


def read_ground(geometry: GeometryConfig, size_wh: tuple[int, int]) -> Ground:
    """Returns the ground that the `geometry` section describes, for frames of `size_wh`. Raises ConfigError."""
    lens = None
    if geometry.calibration is not None:
        try:
            lens = scaled(read_lens(Path(geometry.calibration)), size_wh)
        except ConfigError as exc:
            raise ConfigError(f"geometry.calibration: {exc}") from None
    if geometry.length is not None:
        return ground_by_length(lens, np.array(geometry.length.between), geometry.length.mm, size_wh)
    px, mm = ([getattr(place, key) for place in geometry.points] for key in ("px", "mm"))
    return ground_by_points(lens, np.array(px), np.array(mm), size_wh)
