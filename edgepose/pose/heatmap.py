"""From keypoints to training targets, and from the network's outputs back to keypoints.

Each keypoint has one channel of `heatmap` and two of `offset`. The heatmap is a Gaussian round the keypoint, of which
the network outputs the logit. The offsets, ordered [dx0, dy0, dx1, dy1, ...], lead from a cell's centre to the keypoint
and are divided by `offset_scale` pixels. Both are tensors of their own because int8 has one scale for each tensor: in
one tensor, the range of the logits would make the steps of the offsets a pixel or more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edgepose.geometry.coordinates import cell_to_px
from edgepose.types import F32, F64, I8


@dataclass(frozen=True, slots=True)
class Targets:
    """What the network should output for one picture.

    Attributes:
        heatmap: (h, w, K) in 0..1.
        offset: (h, w, 2K).
        offset_mask: (h, w, K), 1 where the offset is to be learnt.
        known: (K,), 0 for keypoints that nobody labelled, which must not be trained as absent.
    """

    heatmap: F32
    offset: F32
    offset_mask: F32
    known: F32


def render(xy_px: ArrayLike, map_hw: tuple[int, int], stride: int, offset_scale: float, sigma_px: float) -> Targets:
    """Makes the targets of one picture.

    Offsets are learnt within `offset_scale` pixels of the keypoint, so that they stay within -1..1, and at least at the
    nearest cell. A labelled keypoint outside the map leaves its channel empty: it is known to be absent.

    Args:
        xy_px: (K, 2), keypoints in model-input pixels; NaN where nobody labelled one.
    """
    xy = np.asarray(xy_px, np.float64)
    known = np.isfinite(xy[:, 0]) & np.isfinite(xy[:, 1])
    x, y = np.where(known, xy[:, 0], -1e6), np.where(known, xy[:, 1], -1e6)
    dx = x - cell_to_px(np.arange(map_hw[1], dtype=np.float64), stride)[:, None]  # (w, K)
    dy = y - cell_to_px(np.arange(map_hw[0], dtype=np.float64), stride)[:, None]  # (h, K)
    squared = dx[None] ** 2 + dy[:, None] ** 2
    near = squared <= max(offset_scale, stride * 0.75) ** 2
    offset = np.empty((*map_hw, len(xy), 2), np.float32)
    offset[..., 0] = np.where(near, dx[None], 0) / offset_scale
    offset[..., 1] = np.where(near, dy[:, None], 0) / offset_scale
    heatmap: F32 = np.exp(-squared / (2 * sigma_px**2)).astype(np.float32)
    return Targets(
        heatmap,
        offset.reshape(*map_hw, -1),
        near.astype(np.float32),
        known.astype(np.float32),
    )


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a tensor stores numbers: real = (stored - zero_point) * scale. Floats have scale 1 and zero point 0."""

    scale: float = 1.0
    zero_point: int = 0


@dataclass(frozen=True, slots=True)
class OutputQuantization:
    """How the two outputs store numbers."""

    heatmap: Quantization = Quantization()
    offset: Quantization = Quantization()


FLOAT = OutputQuantization()


def decode(
    heatmap: I8 | F32, offset: I8 | F32, stride: int, offset_scale: float, quantization: OutputQuantization
) -> tuple[F64, F64]:
    """Reads the keypoints from one picture's outputs.

    The peak is searched in the stored values, which have the order of the logits; only the nine logits round each peak
    are dequantized. The logarithm of a Gaussian is a parabola, so a parabola through these nine has its top at the
    keypoint, and averages the noise of nine cells (DARK, Zhang et al., CVPR 2020, uses a Taylor expansion). A peak at
    the map's edge, or one without a top, cannot be fitted; there the offset is used. The score is the sigmoid of the
    peak's logit.

    Args:
        heatmap: (h, w, K).
        offset: (h, w, 2K).

    Returns:
        Model-input pixels (K, 2) and scores (K,).
    """
    # Plain numbers instead of arrays: after `invoke` the caches are cold, and fifteen NumPy calls took 0.6 ms here.
    rows, columns, count = heatmap.shape
    xy, scores = np.empty((count, 2)), np.empty(count)
    for k, peak in enumerate(heatmap.reshape(-1, count).argmax(axis=0).tolist()):
        row, column = divmod(peak, columns)
        scores[k] = math.exp(_log_p(heatmap[row, column, k].item(), quantization.heatmap))
        shift = None
        if 0 < row < rows - 1 and 0 < column < columns - 1:
            near = heatmap[row - 1 : row + 2, column - 1 : column + 2, k].tolist()
            shift = _parabola_top([[_log_p(stored, quantization.heatmap) for stored in line] for line in near])
        if shift is None:
            zero, scale = quantization.offset.zero_point, quantization.offset.scale * offset_scale / stride
            dx, dy = offset[row, column, 2 * k : 2 * k + 2].tolist()
            shift = (dx - zero) * scale, (dy - zero) * scale
        xy[k] = cell_to_px(column + shift[0], stride), cell_to_px(row + shift[1], stride)
    return xy, scores


def _log_p(stored: float, quantization: Quantization) -> float:
    """Returns the logarithm of the sigmoid of a stored logit."""
    logit = (stored - quantization.zero_point) * quantization.scale
    return min(logit, 0.0) - math.log1p(math.exp(-abs(logit)))


_FLAT = -0.05  # a Gaussian with a sigma of one cell has the curvature -1


def _parabola_top(log_p: list[list[float]]) -> tuple[float, float] | None:
    """Returns the top (x, y) of the least-squares parabola through 3 x 3 values, in cells from the middle; None where
    it has no top within a cell."""
    left, middle, right = (sum(column) / 3 for column in zip(*log_p, strict=True))
    above, centre, below = (sum(row) / 3 for row in log_p)
    bend_x, bend_y = right + left - 2 * middle, below + above - 2 * centre
    if bend_x >= _FLAT or bend_y >= _FLAT:
        return None
    x, y = (left - right) / (2 * bend_x), (above - below) / (2 * bend_y)
    return (x, y) if abs(x) <= 1 and abs(y) <= 1 else None
