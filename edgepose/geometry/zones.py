"""Zones of the picture: polygons in the frame's pixels, from a YAML file such as

nest: [[20, 30], [200, 30], [200, 180], [20, 180]]
feeder: [[500, 400], [600, 400], [550, 470]]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.errors import ConfigError, UsageError
from edgepose.system.strict import convert, read_yaml
from edgepose.types import F64

_ON_BORDER_PX = 1e-6
_BEYOND = 0.1  # of the frame's side: so far a polygon may reach beyond the frame, to cover its border


def parse_zones(text: str, where: str) -> dict[str, F64]:
    """Returns the corners (P, 2) of each zone by its name, x and y in pixels of the frame.

    Args:
        text: content of the YAML file.
        where: the file's name, for messages.

    Raises:
        UsageError: the file describes no zones.
    """
    data = read_yaml(text, where, UsageError)
    if not isinstance(data, dict) or not data:
        raise UsageError(f"{where}: holds no zones; give lines such as `nest: [[20, 30], [200, 30], [200, 180]]`")
    return {str(name): _polygon(corners, f"{where}: {name}") for name, corners in data.items()}


def _polygon(data: Any, where: str) -> F64:
    corners = np.array(convert(data, list[tuple[float, float]], where, UsageError), np.float64).reshape(-1, 2)
    if len(corners) < 3:
        raise UsageError(f"{where}: {len(corners)} corners are no area; give three or more [x, y]")
    if not np.isfinite(corners).all():
        raise UsageError(f"{where}: a corner is not finite; give pixels of the frame")
    return corners


def require_within(polygons: Mapping[str, ArrayLike], size_wh: tuple[int, int], section: str) -> None:
    """Raises ConfigError where a polygon was drawn for a frame of another size: it reaches far beyond the frame.

    polygons: corners (P, 2) by name. section: of the config.
    """
    for name, corners in polygons.items():
        xy = np.asarray(corners, np.float64)
        if not (np.maximum(-xy, xy - size_wh) <= _BEYOND * np.array(size_wh)).all():
            w, h = size_wh
            raise ConfigError(f"{section}.{name}: reaches beyond the frame, which is {w}x{h}; draw it for this size")


def inside(xy: F64, corners: F64) -> NDArray[np.bool_]:
    """Returns for each point (N, 2) whether it lies in the polygon (P, 2) or on its border. NaN lies nowhere.

    It counts the edges that a ray from the point to the right crosses (Shimrat, CACM 5(8), 1962).
    """
    x, y = xy[:, 0], xy[:, 1]
    odd, on_border = np.zeros(len(xy), bool), np.zeros(len(xy), bool)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (start[1] > y) != (end[1] > y)
        rise = end[1] - start[1] if end[1] != start[1] else 1.0
        odd ^= crosses & (x < start[0] + (y - start[1]) / rise * (end[0] - start[0]))
        along = end - start
        part = np.clip(((xy - start) @ along) / max(float(along @ along), 1e-12), 0, 1)
        on_border |= np.linalg.norm(xy - (start + part[:, None] * along), axis=1) <= _ON_BORDER_PX
    return (odd | on_border) & np.isfinite(xy).all(axis=1)
