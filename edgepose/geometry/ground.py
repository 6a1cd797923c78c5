"""Converts pixels to millimetres on the ground: undoes the lens' distortion, then applies a scale or a homography."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from edgepose.errors import ConfigError
from edgepose.geometry.lens import Lens, undistorted
from edgepose.types import F64

_WORST_SHARE = 0.05  # of the points' extent: how far a point may lie from where the other points put it


@dataclass(frozen=True, slots=True)
class Ground:
    """The ground that the animal walks on.

    Attributes:
        lens: the camera's lens; None where its distortion is not known.
        to_plane: (3, 3) homography from undistorted pixels to mm.
        worst_mm: the largest distance of a given point from where the homography puts it; 0 without such points.
    """

    lens: Lens | None
    to_plane: F64
    worst_mm: float

    @property
    def is_scale(self) -> bool:
        """Returns True when a pixel has the same length everywhere, and (0, 0) in mm is the middle of the first one."""
        plane = self.to_plane
        return self.lens is None and plane[0, 0] == plane[1, 1] and np.array_equal(plane, np.diag(np.diag(plane)))

    def to_mm(self, xy_px: ArrayLike) -> F64:
        """Converts pixels (..., 2) to mm (..., 2). NaN beyond the horizon, and where the lens has no inverse."""
        xy = np.asarray(xy_px, np.float64)
        return _to_plane(self.to_plane, undistorted(self.lens, xy) if self.lens else xy)


def ground_by_length(lens: Lens | None, between_px: F64, mm: float, size_wh: tuple[int, int]) -> Ground:
    """Returns the ground as seen from straight above, by one known length on it.

    Args:
        lens: the camera's lens, or None.
        between_px: (2, 2), the two ends of the length, in pixels.
        mm: the length.
        size_wh: size of the frames.

    Raises:
        ConfigError: the length is not usable.
    """
    where = "geometry.length.between"
    straight = _undistorted(lens, between_px, size_wh, where)
    length_px = float(np.linalg.norm(straight[1] - straight[0]))
    if length_px < 1:
        raise ConfigError(f"{where}: both points are the same; give the two ends of a length of {mm:g} mm")
    scale = mm / length_px
    return Ground(lens, np.diag([scale, scale, 1.0]), 0.0)


def ground_by_points(lens: Lens | None, px: F64, mm: F64, size_wh: tuple[int, int]) -> Ground:
    """Returns the ground as seen from anywhere, by four or more points on it.

    Args:
        lens: the camera's lens, or None.
        px: (N, 2), the points in pixels.
        mm: (N, 2), the same points on the ground.
        size_wh: size of the frames.

    Raises:
        ConfigError: the points do not determine a plane.
    """
    return _by_points(lens, _undistorted(lens, px, size_wh, "geometry.points"), mm)


def _undistorted(lens: Lens | None, px: F64, size_wh: tuple[int, int], where: str) -> F64:
    if not ((px >= -0.5) & (px <= np.array(size_wh) - 0.5)).all():
        w, h = size_wh
        raise ConfigError(f"{where}: a point lies outside the frame, which is {w}x{h}; read them off one of its frames")
    straight = undistorted(lens, px) if lens else px
    if not np.isfinite(straight).all():
        raise ConfigError(
            f"{where}: a point lies where the calibration is not known; calibrate with boards in the corners"
        )
    return straight


def _by_points(lens: Lens | None, straight: F64, mm: F64) -> Ground:
    if not np.isfinite(mm).all():
        raise ConfigError("geometry.points: a value in mm is not finite; measure it again")
    if not (_determine_homography(straight) and _determine_homography(mm)):
        raise ConfigError(
            "geometry.points: all of them, or three of only four, lie on a line; give the corners of a rectangle"
        )
    found, _ = cv2.findHomography(straight, mm)
    if found is None or not np.isfinite(found).all():
        raise ConfigError("geometry.points: no plane fits them; is a pair of px and mm wrong?")
    plane = np.asarray(found, np.float64)
    plane *= np.sign((plane[2] @ np.column_stack([straight, np.ones(len(straight))]).T).sum())
    error_mm = np.linalg.norm(_to_plane(plane, straight) - mm, axis=1)
    worst = int(np.argmax(np.nan_to_num(error_mm, nan=np.inf)))
    if not error_mm[worst] <= _WORST_SHARE * np.ptp(mm, axis=0).max():
        error = f"{error_mm[worst]:.1f} mm from" if np.isfinite(error_mm[worst]) else "beyond the horizon of"
        raise ConfigError(
            f"geometry.points: no. {worst + 1} lies {error} where the others put it; is its px or its mm wrong?"
        )
    return Ground(lens, plane, float(error_mm[worst]))


def _to_plane(plane: F64, xy: F64) -> F64:
    """Applies a homography to points (..., 2); NaN beyond the horizon."""
    projected = xy @ plane[:, :2].T + plane[:, 2]
    depth = projected[..., 2:]
    return np.where(depth > 0, projected[..., :2] / np.where(depth > 0, depth, 1.0), np.nan)


def _determine_homography(points: F64) -> bool:
    """Returns True where points (N, 2) leave no more than one homography: of four, no three may lie on a line.

    The rank of the system of the direct linear transformation decides (Hartley & Zisserman 2004, section 4.1).
    """
    x, y = (points - points.mean(axis=0)).T / max(float(points.std()), 1e-9)
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = [[x, y, one, zero, zero, zero, -x * x, -x * y, -x], [zero, zero, zero, x, y, one, -y * x, -y * y, -y]]
    sizes = np.linalg.svd(np.concatenate([np.stack(part, axis=1) for part in rows]), compute_uv=False)
    return bool(sizes[7] > 1e-3 * sizes[0])
