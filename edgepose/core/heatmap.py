"""Keypoints to training targets, and network outputs back to keypoints.

One keypoint is a channel of `heatmap` (a Gaussian round the keypoint; the network outputs its logit) and
two channels of `offset`, ordered [dx0, dy0, dx1, dy1, ...]: the way from a cell's centre to the keypoint,
divided by `offset_scale` pixels. The two stay separate tensors because int8 has one scale per tensor: joined,
the logits' range would coarsen the offsets to a pixel or more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.core.geometry import cell_to_px
from edgepose.core.types import F32, F64, I8


@dataclass(frozen=True, slots=True)
class Targets:
    """heatmap (h, w, K) in 0..1; offset (h, w, 2K); offset_mask (h, w, K) 1 where the offset is to be learnt;
    known (K,) 0 for keypoints nobody labelled, which must not be trained as absent."""

    heatmap: F32
    offset: F32
    offset_mask: F32
    known: F32


def render(xy_px: ArrayLike, map_hw: tuple[int, int], stride: int, offset_scale: float, sigma_px: float) -> Targets:
    """Targets of one picture whose K keypoints lie at `xy_px` (K, 2) of the model input; NaN = not labelled.

    Offsets are learnt within `offset_scale` pixels of the keypoint, so they stay within -1..1, and at least
    at the nearest cell. A labelled keypoint outside the map leaves an empty channel: it is known absent.
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
    """real = (stored - zero_point) * scale; a float tensor has scale 1 and zero point 0."""

    scale: float = 1.0
    zero_point: int = 0


@dataclass(frozen=True, slots=True)
class OutputQuantization:
    heatmap: Quantization = Quantization()
    offset: Quantization = Quantization()


FLOAT = OutputQuantization()


def decode(
    heatmap: I8 | F32, offset: I8 | F32, stride: int, offset_scale: float, quantization: OutputQuantization
) -> tuple[F64, F64]:
    """Model-input pixels (K, 2) and scores (K,) from one picture's outputs (h, w, K) and (h, w, 2K).

    The peak is found on the stored values, which keep the order of the logits; only the nine logits round each
    peak are dequantized. The logarithm of a Gaussian is a parabola, so the parabola through those nine has its
    top at the keypoint, and averages the noise of nine cells (DARK, Zhang et al. 2020, does it by Taylor
    expansion). A peak at the map's edge, or one without a top, has no such fit: there the offset leads on.
    The score is the sigmoid of the peak's logit.
    """
    rows, columns, count = heatmap.shape
    channels = np.arange(count)
    peak = heatmap.reshape(-1, count).argmax(axis=0)
    row, column = peak // columns, peak % columns
    near_row = np.clip(row, 1, max(1, rows - 2))[:, None, None] + _STEPS[:, None]
    near_column = np.clip(column, 1, max(1, columns - 2))[:, None, None] + _STEPS
    stored = heatmap[near_row % rows, near_column % columns, channels[:, None, None]].astype(np.float64)
    logits = (stored - quantization.heatmap.zero_point) * quantization.heatmap.scale  # (K, 3, 3)
    shift, fitted = _parabola_top(-np.logaddexp(0, -logits))
    fitted &= (row > 0) & (row < rows - 1) & (column > 0) & (column < columns - 1)

    lookup = offset.reshape(-1, count, 2)[peak, channels].astype(np.float64)
    lookup = (lookup - quantization.offset.zero_point) * (quantization.offset.scale * offset_scale)
    centre = cell_to_px(np.stack([column, row], axis=1).astype(np.float64), stride)
    score = 1 / (1 + np.exp(-logits[channels, row - near_row[:, 1, 0] + 1, column - near_column[:, 0, 1] + 1]))
    return centre + np.where(fitted[:, None], shift * stride, lookup), score


_STEPS = np.array([-1, 0, 1])
_FLAT = -0.05  # a true Gaussian of one cell's sigma has curvature -1


def _parabola_top(log_p: F64) -> tuple[F64, NDArray[np.bool_]]:
    """Top (K, 2) of the least-squares parabola through (K, 3, 3) values, in cells from the middle; whether it
    has one within a cell."""
    across, along = log_p.mean(axis=1), log_p.mean(axis=2)  # (K, 3) each: over the rows, over the columns
    profile = np.stack([across, along], axis=1)  # (K, 2, 3)
    slope = (profile[..., 2] - profile[..., 0]) / 2
    bend = profile[..., 2] + profile[..., 0] - 2 * profile[..., 1]
    shift = -slope / np.minimum(bend, _FLAT)
    return shift, ((bend < _FLAT) & (np.abs(shift) <= 1)).all(axis=1)
