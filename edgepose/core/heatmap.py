"""Keypoints to training targets, and network outputs back to keypoints.

One keypoint is a channel of `heatmap` (a Gaussian round the keypoint; the network outputs its logit) and
two channels of `offset`, ordered [dx0, dy0, dx1, dy1, ...]: the way from a cell's centre to the keypoint,
divided by `offset_scale` pixels. The two stay separate tensors because int8 has one scale per tensor: joined,
the logits' range would coarsen the offsets to a pixel or more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

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

    The peak is found on the stored values, which keep the order of the logits; only the 3K numbers that are
    used are dequantized. The score is the sigmoid of the peak's logit.
    """
    heatmap_q, offset_q = quantization.heatmap, quantization.offset
    _, width, count = heatmap.shape
    channels = np.arange(count)
    peak = heatmap.reshape(-1, count).argmax(axis=0)
    logit = (heatmap.reshape(-1, count)[peak, channels].astype(np.float64) - heatmap_q.zero_point) * heatmap_q.scale
    delta = offset.reshape(-1, count, 2)[peak, channels].astype(np.float64)
    delta = (delta - offset_q.zero_point) * (offset_q.scale * offset_scale)
    cells = np.stack([peak % width, peak // width], axis=1).astype(np.float64)
    return cell_to_px(cells, stride) + delta, 1 / (1 + np.exp(-logit))
