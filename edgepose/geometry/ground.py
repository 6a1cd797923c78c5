"""From pixels to millimetres on the ground: first without the lens' distortion, then by a length or a homography."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from edgepose.errors import ConfigError
from edgepose.geometry.lens import Lens, undistorted
from edgepose.types import F64

_WORST_SHARE = 0.05  # a point may lie so far from where the others put it, as a share of their extent


@dataclass(frozen=True, slots=True)
class Ground:
    """How pixels map to the ground.

    Attributes:
        lens: None where its distortion is not known.
        to_plane: (3, 3), the homography from pixels without distortion to mm.
        worst_mm: the largest error at the points that the ground was found by; 0 where there is nothing to compare.
    """

    lens: Lens | None
    to_plane: F64
    worst_mm: float

    def to_mm(self, xy_px: ArrayLike) -> F64:
        """Maps pixels (..., 2) to mm (..., 2); NaN beyond the horizon, and where the lens has no inverse."""
        xy = np.asarray(xy_px, np.float64)
        return _to_plane(self.to_plane, undistorted(self.lens, xy) if self.lens else xy)


def ground_by_length(lens: Lens | None, between_px: F64, mm: float, size_wh: tuple[int, int]) -> Ground:
    """Finds the ground, seen from straight above, by one known length on it.

    Args:
        between_px: (2, 2), the two ends in pixels of frames of `size_wh`.
        mm: the distance between them.

    Raises:
        ConfigError: the ends are the same, or outside the frame.
    """
    where = "geometry.length.between"
    straight = _undistorted(lens, between_px, size_wh, where)
    length_px = float(np.linalg.norm(straight[1] - straight[0]))
    if length_px < 1:
        raise ConfigError(f"{where}: both points are the same; give the two ends of what is {mm:g} mm long")
    scale = mm / length_px
    return Ground(lens, np.diag([scale, scale, 1.0]), 0.0)


def ground_by_points(lens: Lens | None, px: F64, mm: F64, size_wh: tuple[int, int]) -> Ground:
    """Finds the ground, seen from anywhere, by four or more points on it.

    Args:
        px: (N, 2), in pixels of frames of `size_wh`.
        mm: (N, 2), where the same points are on the ground.

    Raises:
        ConfigError: the points do not give a plane.
    """
    return _by_points(lens, _undistorted(lens, px, size_wh, "geometry.points"), mm)


def _undistorted(lens: Lens | None, px: F64, size_wh: tuple[int, int], where: str) -> F64:
    if not ((px >= -0.5) & (px <= np.array(size_wh) - 0.5)).all():
        w, h = size_wh
        raise ConfigError(f"{where}: a point lies outside the frame, which is {w}x{h}; read them off one of its frames")
    straight = undistorted(lens, px) if lens else px
    if not np.isfinite(straight).all():
        raise ConfigError(
            f"{where}: the calibration does not reach to all of them; calibrate with boards in the corners"
        )
    return straight


def _by_points(lens: Lens | None, straight: F64, mm: F64) -> Ground:
    if not np.isfinite(mm).all():
        raise ConfigError("geometry.points: a place in mm is not finite; measure it again")
    if not (_decide(straight) and _decide(mm)):
        raise ConfigError(
            "geometry.points: all of them, or three of only four, lie on a line; give the corners of a rectangle"
        )
    found, _ = cv2.findHomography(straight, mm)
    if found is None or not np.isfinite(found).all():
        raise ConfigError("geometry.points: no plane fits them; is a pair of px and mm wrong?")
    plane = np.asarray(found, np.float64)
    plane *= np.sign((plane[2] @ np.column_stack([straight, np.ones(len(straight))]).T).sum())
    off_mm = np.linalg.norm(_to_plane(plane, straight) - mm, axis=1)
    worst = int(np.argmax(np.nan_to_num(off_mm, nan=np.inf)))
    if not off_mm[worst] <= _WORST_SHARE * np.ptp(mm, axis=0).max():
        off = f"{off_mm[worst]:.1f} mm" if np.isfinite(off_mm[worst]) else "beyond the horizon"
        raise ConfigError(
            f"geometry.points: no. {worst + 1} lies {off} from where the others put it; is its px or its mm wrong?"
        )
    return Ground(lens, plane, float(off_mm[worst]))


def _to_plane(plane: F64, xy: F64) -> F64:
    """Maps points (..., 2); NaN beyond the horizon."""
    there = xy @ plane[:, :2].T + plane[:, 2]
    depth = there[..., 2:]
    return np.where(depth > 0, there[..., :2] / np.where(depth > 0, depth, 1.0), np.nan)


def _decide(points: F64) -> bool:
    """Returns True when the points allow one homography only (Hartley & Zisserman 2004, section 4.1): of four points
    no three may lie on a line."""
    x, y = (points - points.mean(axis=0)).T / max(float(points.std()), 1e-9)
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = [[x, y, one, zero, zero, zero, -x * x, -x * y, -x], [zero, zero, zero, x, y, one, -y * x, -y * y, -y]]
    sizes = np.linalg.svd(np.concatenate([np.stack(part, axis=1) for part in rows]), compute_uv=False)
    return bool(sizes[7] > 1e-3 * sizes[0])
