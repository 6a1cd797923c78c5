"""The distortion of a lens: how OpenCV's calibration files describe it, and how to undo it.

`edgepose calibrate`, OpenCV's own programs and ROS write such files. Points are in pixels. An undistorted point lies
where a lens of the same focal length without distortion would put it. The model is OpenCV's:
https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html
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

_COEFFICIENT_COUNTS = (4, 5, 8, 12, 14)  # that OpenCV's model may have
_ASPECT_PX = 2  # rows by which two sizes of one shape may differ because of rounding
_NEWTON_STEPS = 20
_TOLERANCE_PX = 1e-6
_POINTS_AT_ONCE = 10_000
_ZERO = np.zeros(3)


@dataclass(frozen=True, slots=True)
class Lens:
    """A lens, as OpenCV describes it.

    Attributes:
        matrix: (3, 3), focal lengths and centre in pixels.
        distortion: (4,), (5,), (8,), (12,) or (14,) coefficients, in OpenCV's order.
        size_wh: size of the pictures whose pixels these are.
    """

    matrix: F64
    distortion: F64
    size_wh: tuple[int, int]


class _OpenCVLoader(Loader):
    """Reads OpenCV's matrices, which have tags of their own, as plain mappings."""


_OpenCVLoader.add_multi_constructor(
    "tag:yaml.org,2002:opencv-", lambda loader, _suffix, node: loader.construct_mapping(node, deep=True)
)


def parse_lens(text: str, where: str) -> Lens:
    """Returns the lens that a calibration file describes.

    Args:
        text: content of the YAML file.
        where: the file's name, for messages.

    Raises:
        ConfigError: the file describes no lens that edgepose can undo.
    """
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
            f"{where}: describes a fisheye lens, which edgepose cannot undo; calibrate with `edgepose calibrate`"
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
    """Returns the matrix (rows, cols) of an entry of the file."""
    try:
        rows, cols = int(entry["rows"]), int(entry["cols"])
        values = np.array(entry["data"], np.float64).reshape(rows, cols)
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{where}: not a matrix with rows, cols and rows * cols numbers as data") from None
    if not np.isfinite(values).all():
        raise ConfigError(f"{where}: holds a number that is not finite; calibrate again")
    return values


def _checked(matrix: F64, distortion: F64, size_wh: tuple[Any, Any], where: str) -> Lens:
    if not all(type(side) is int and side > 0 for side in size_wh):
        raise ConfigError(f"{where}: image_width and image_height are not a size in pixels; calibrate again")
    if matrix.shape != (3, 3) or min(matrix[0, 0], matrix[1, 1]) <= 0 or not np.array_equal(matrix[2], [0, 0, 1]):
        raise ConfigError(f"{where}: camera_matrix is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; calibrate again")
    if distortion.size not in _COEFFICIENT_COUNTS:
        raise ConfigError(f"{where}: {distortion.size} distortion_coefficients; OpenCV's model has 4, 5, 8, 12 or 14")
    return Lens(matrix, distortion.ravel(), size_wh)


def scaled(lens: Lens, size_wh: tuple[int, int]) -> Lens:
    """Returns the lens for the same picture in another size. Raises ConfigError where the shapes differ."""
    (w, h), (old_w, old_h) = size_wh, lens.size_wh
    if abs(w * old_h / old_w - h) > _ASPECT_PX:
        raise ConfigError(
            f"the calibration was made with pictures of {old_w}x{old_h}, but the frames are {w}x{h}, another shape; "
            "calibrate with pictures from the same camera mode"
        )
    matrix = lens.matrix.copy()
    for axis, scale in enumerate((w / old_w, h / old_h)):
        matrix[axis] *= scale
        matrix[axis, 2] += (scale - 1) / 2  # (0, 0) is a pixel's centre, see coordinates.py
    return Lens(matrix, lens.distortion, size_wh)


def distorted(lens: Lens, xy_px: ArrayLike) -> F64:
    """Returns where the lens puts undistorted points (..., 2)."""
    xy = np.asarray(xy_px, np.float64)
    straight = (xy.reshape(-1, 2) - lens.matrix[:2, 2]) / lens.matrix[[0, 1], [0, 1]]
    return _project(lens, straight)[0].reshape(xy.shape)


def undistorted(lens: Lens, xy_px: ArrayLike) -> F64:
    """Inverse of `distorted`, (..., 2), by Newton's method.

    NaN where the lens' polynomial has no inverse, which happens in corners of the picture without calibration boards.
    """
    xy = np.asarray(xy_px, np.float64)
    points = xy.reshape(-1, 2)
    # A video has many keypoints, and the derivatives of one take 200 bytes.
    parts = [_undistorted(lens, points[i : i + _POINTS_AT_ONCE]) for i in range(0, len(points), _POINTS_AT_ONCE)]
    return np.concatenate([np.empty((0, 2)), *parts]).reshape(xy.shape)


def _undistorted(lens: Lens, target: F64) -> F64:
    focal, middle = lens.matrix[[0, 1], [0, 1]], lens.matrix[:2, 2]
    known = np.asarray(np.isfinite(target).all(axis=1))
    found = np.where(known[:, None], (target - middle) / focal, 0.0)
    error, slope, area = _residual(lens, found, target)
    for _ in range(_NEWTON_STEPS):
        known &= area > 0  # where it is negative, the polynomial folds the picture back
        if not (known & (np.abs(error) > _TOLERANCE_PX).any(axis=1)).any():
            break
        step = np.stack([slope[:, 1, 1], slope[:, 0, 0]], axis=1) * error
        step -= np.stack([slope[:, 0, 1], slope[:, 1, 0]], axis=1) * error[:, ::-1]
        found[known] += step[known] / area[known, None]
        error, slope, area = _residual(lens, found, target)
    known &= (area > 0) & (np.abs(error) < 1e3 * _TOLERANCE_PX).all(axis=1)
    return np.where(known[:, None], found * focal + middle, np.nan)


def _residual(lens: Lens, straight: F64, target: F64) -> tuple[F64, F64, F64]:
    """Returns how far the lens puts directions x / z, y / z (N, 2) from the target, (N, 2); the derivatives, (N, 2, 2);
    and the factor by which a small area grows, (N,), negative where the picture is folded over."""
    xy_px, slope = _project(lens, straight)
    return target - xy_px, slope, slope[:, 0, 0] * slope[:, 1, 1] - slope[:, 0, 1] * slope[:, 1, 0]


def _project(lens: Lens, straight: F64) -> tuple[F64, F64]:
    """Returns the pixels (N, 2) of directions x / z, y / z (N, 2), and their derivatives, (N, 2, 2)."""
    points = np.ones((len(straight), 3))
    points[:, :2] = straight
    xy_px, slopes = cv2.projectPoints(points, _ZERO, _ZERO, lens.matrix, lens.distortion)
    # Columns 3 and 4 are the derivatives by a shift of the points along x and along y.
    return np.asarray(xy_px, np.float64).reshape(-1, 2), np.asarray(slopes[:, 3:5], np.float64).reshape(-1, 2, 2)
