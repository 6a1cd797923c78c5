"""The distortion of a lens, read from an OpenCV calibration file, and how it is removed.

`edgepose calibrate` writes such files, and so do OpenCV's own programs and ROS. Undistorted points are in pixels too:
they lie where a lens of the same focal length without distortion would put them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike

from edgepose.errors import ConfigError
from edgepose.system.strict import Loader, read_yaml
from edgepose.types import F64

_COUNTS = (4, 5, 8, 12, 14)  # how many coefficients OpenCV's model may have
_ASPECT_PX = 2  # rounding a size may cost so many rows
_STEPS = 20
_EXACT_PX = 1e-6
_AT_ONCE = 10_000  # points
_NOWHERE = np.zeros(3)


@dataclass(frozen=True, slots=True)
class Lens:
    """A pinhole camera with OpenCV's distortion model.

    Attributes:
        matrix: (3, 3), focal lengths and centre in pixels of pictures of `size_wh`.
        distortion: (4, 5, 8, 12 or 14,) coefficients in OpenCV's order.
    """

    matrix: F64
    distortion: F64
    size_wh: tuple[int, int]


class _OpenCVLoader(Loader):
    """Reads the matrices that OpenCV tags as plain mappings."""


_OpenCVLoader.add_multi_constructor(
    "tag:yaml.org,2002:opencv-", lambda loader, _suffix, node: loader.construct_mapping(node, deep=True)
)


def parse_lens(text: str, where: str) -> Lens:
    """Reads the content of a calibration file. where: its name, for messages. Raises ConfigError."""
    # The first line of OpenCV's files, %YAML:1.0, is not valid YAML.
    data = read_yaml(text.partition("\n")[2] if text.startswith("%YAML:") else text, where, ConfigError, _OpenCVLoader)
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: no calibration; give the YAML file that `edgepose calibrate` wrote")
    needed = ("image_width", "image_height", "camera_matrix", "distortion_coefficients")
    if missing := [key for key in needed if key not in data]:
        raise ConfigError(f"{where}: lacks {', '.join(missing)}; give a calibration file as OpenCV writes it")
    if data.get("fisheye_model") or data.get("distortion_model", "plumb_bob") not in {
        "plumb_bob",
        "rational_polynomial",
    }:
        raise ConfigError(
            f"{where}: is of a fisheye model, which edgepose cannot undo; calibrate with `edgepose calibrate`"
        )
    matrix, distortion = (_numbers(data[key], f"{where}: {key}") for key in needed[2:])
    return _checked(matrix, distortion, (data["image_width"], data["image_height"]), where)


def format_lens(lens: Lens, rms_px: float) -> str:
    """Returns the content of a calibration file, as OpenCV's own programs write it. rms_px: the reprojection error."""
    lines = ["%YAML:1.0", "---", f"image_width: {lens.size_wh[0]}", f"image_height: {lens.size_wh[1]}"]
    for key, values in (("camera_matrix", lens.matrix), ("distortion_coefficients", lens.distortion[None])):
        numbers = ", ".join(f"{value:.16e}" for value in values.ravel())
        rows, cols = values.shape
        lines += [
            f"{key}: !!opencv-matrix",
            f"   rows: {rows}",
            f"   cols: {cols}",
            "   dt: d",
            f"   data: [ {numbers} ]",
        ]
    return "\n".join([*lines, f"avg_reprojection_error: {rms_px:.16e}", ""])


def _numbers(entry: Any, where: str) -> F64:
    """Reads a matrix (rows, cols)."""
    try:
        rows, cols = int(entry["rows"]), int(entry["cols"])
        values = np.array(entry["data"], np.float64).reshape(rows, cols)
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{where}: not a matrix with rows, cols and so many numbers for data") from None
    if not np.isfinite(values).all():
        raise ConfigError(f"{where}: holds a number that is not finite; calibrate again")
    return values


def _checked(matrix: F64, distortion: F64, size_wh: tuple[Any, Any], where: str) -> Lens:
    if not all(type(side) is int and side > 0 for side in size_wh):
        raise ConfigError(f"{where}: image_width and image_height are no size in pixels")
    if matrix.shape != (3, 3) or min(matrix[0, 0], matrix[1, 1]) <= 0 or not np.array_equal(matrix[2], [0, 0, 1]):
        raise ConfigError(f"{where}: camera_matrix is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    if distortion.size not in _COUNTS:
        raise ConfigError(f"{where}: {distortion.size} distortion_coefficients; OpenCV's model has 4, 5, 8, 12 or 14")
    return Lens(matrix, distortion.ravel(), size_wh)


def scaled(lens: Lens, size_wh: tuple[int, int]) -> Lens:
    """The lens of a camera that gives the same picture in another size. Raises ConfigError for another shape."""
    (w, h), (old_w, old_h) = size_wh, lens.size_wh
    if abs(w * old_h / old_w - h) > _ASPECT_PX:
        raise ConfigError(
            f"the calibration is of pictures of {old_w}x{old_h}, but the frames are {w}x{h}, which is another shape; "
            "calibrate with pictures from the same camera mode"
        )
    matrix = lens.matrix.copy()
    for axis, scale in enumerate((w / old_w, h / old_h)):
        matrix[axis] *= scale
        matrix[axis, 2] += (scale - 1) / 2  # pixel centres, see `coordinates`
    return Lens(matrix, lens.distortion, size_wh)


def distorted(lens: Lens, xy_px: ArrayLike) -> F64:
    """Where the lens puts undistorted points (..., 2)."""
    xy = np.asarray(xy_px, np.float64)
    straight = (xy.reshape(-1, 2) - lens.matrix[:2, 2]) / lens.matrix[[0, 1], [0, 1]]
    return _project(lens, straight)[0].reshape(xy.shape)


def undistorted(lens: Lens, xy_px: ArrayLike) -> F64:
    """The inverse of `distorted`, by Newton's method; (..., 2).

    NaN where the lens' polynomial has no inverse, which may be so in corners that the calibration has not seen.
    """
    xy = np.asarray(xy_px, np.float64)
    points = xy.reshape(-1, 2)
    # A video has many keypoints, and the derivatives of each take 200 bytes.
    parts = [_undistorted(lens, points[i : i + _AT_ONCE]) for i in range(0, len(points), _AT_ONCE)]
    return np.concatenate([np.empty((0, 2)), *parts]).reshape(xy.shape)


def _undistorted(lens: Lens, target: F64) -> F64:
    focal, middle = lens.matrix[[0, 1], [0, 1]], lens.matrix[:2, 2]
    known = np.asarray(np.isfinite(target).all(axis=1))
    found = np.where(known[:, None], (target - middle) / focal, 0.0)
    off, slope, area = _missed(lens, found, target)
    for _ in range(_STEPS):
        known &= area > 0  # beyond that the polynomial folds back
        if not (known & (np.abs(off) > _EXACT_PX).any(axis=1)).any():
            break
        step = np.stack([slope[:, 1, 1], slope[:, 0, 0]], axis=1) * off
        step -= np.stack([slope[:, 0, 1], slope[:, 1, 0]], axis=1) * off[:, ::-1]
        found[known] += step[known] / area[known, None]
        off, slope, area = _missed(lens, found, target)
    known &= (area > 0) & (np.abs(off) < 1e3 * _EXACT_PX).all(axis=1)
    return np.where(known[:, None], found * focal + middle, np.nan)


def _missed(lens: Lens, straight: F64, target: F64) -> tuple[F64, F64, F64]:
    """Compares the picture of directions x / z, y / z (N, 2) with the target.

    Returns:
        The distance to the target (N, 2), its derivatives (N, 2, 2), and their determinant (N,), which is negative
        where the picture is folded over.
    """
    there, slope = _project(lens, straight)
    return target - there, slope, slope[:, 0, 0] * slope[:, 1, 1] - slope[:, 0, 1] * slope[:, 1, 0]


def _project(lens: Lens, straight: F64) -> tuple[F64, F64]:
    """Returns the pixels (N, 2) of directions (N, 2), and their derivatives (N, 2, 2)."""
    points = np.ones((len(straight), 3))
    points[:, :2] = straight
    there, slopes = cv2.projectPoints(points, _NOWHERE, _NOWHERE, lens.matrix, lens.distortion)
    # Columns 3 and 4 are the derivatives along the translation in x and y.
    return np.asarray(there, np.float64).reshape(-1, 2), np.asarray(slopes[:, 3:5], np.float64).reshape(-1, 2, 2)
