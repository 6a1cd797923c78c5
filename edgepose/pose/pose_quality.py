"""What is wrong with poses, told by their scores and by the poses before and after: at the desk for whole videos, on
the device for the middle one of the last three."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepose.pose.drawing import SURE
from edgepose.types import F64, Skeleton

NEIGHBOUR_S = 0.2  # frames that are closer in time tell what movement is plausible
_JUMP = 0.25  # body lengths by which a keypoint leaves the line between its neighbours in time
_SWAP = 0.15  # body lengths of movement that exchanging left and right must save


@dataclass(frozen=True)
class PoseQuality:
    """Of N frames and K keypoints. jump: (N, K) body lengths, 0 where plausible. swap: (N,) index of the left/right
    pair that seems exchanged, -1 for none. doubt: (N,) 0 where the model is sure of everything, to 1."""

    doubt: F64
    jump: F64
    swap: NDArray[np.int64]

    @property
    def severity(self) -> F64:
        """(N,) what to choose by."""
        return np.asarray(self.doubt + np.minimum(self.jump.max(axis=1), 1.0) + 0.5 * (self.swap >= 0))

    @property
    def moves(self) -> NDArray[np.bool_]:
        """(N,) something moves as no animal does."""
        return np.asarray((self.jump > 0).any(axis=1) | (self.swap >= 0))


def judge_poses(xy: F64, score: F64, time_s: F64, skeleton: Skeleton, length_px: float) -> PoseQuality:
    """xy: (N, K, 2), score: (N, K), time_s: (N,) of neighbouring frames. length_px: of the animal."""
    # Half for all keypoints and half for the worst one: a single lost keypoint is worth a label too.
    doubt = 1 - (score.mean(axis=1) + score.min(axis=1)) / 2
    jump = _jumps(xy, time_s) / length_px
    return PoseQuality(doubt, np.where(jump >= _JUMP, jump, 0.0), _swaps(xy, time_s, skeleton, length_px))


def animal_length(xy: F64, score: F64, size_wh: tuple[int, int]) -> float:
    """Median diagonal of the box round the sure keypoints, px; a tenth of the frame's where that says nothing."""
    sure = np.where(score[..., None] >= SURE, xy, np.nan)
    sure = sure[np.isfinite(sure).all(axis=2).sum(axis=1) >= 2]
    if len(sure):
        length = float(np.median(np.linalg.norm(np.nanmax(sure, axis=1) - np.nanmin(sure, axis=1), axis=1)))
        if length > 1:
            return length
    return float(np.hypot(*size_wh)) / 10


def _jumps(xy: F64, time_s: F64) -> F64:
    """(N, K) distance in pixels of each keypoint from the line between the frames before and after, at its time.

    0 where a neighbour is too far in time, and where a neighbour is farther off: that is the frame to look at.
    """
    jump = np.zeros(xy.shape[:2])
    if len(xy) < 3:
        return jump
    before, after = np.diff(time_s)[:-1], np.diff(time_s)[1:]
    part = (before / (before + after))[:, None, None]
    expected = xy[:-2] + part * (xy[2:] - xy[:-2])
    near = (np.maximum(before, after) <= NEIGHBOUR_S)[:, None]
    jump[1:-1] = np.where(near, np.linalg.norm(xy[1:-1] - expected, axis=2), 0.0)
    highest = jump.copy()
    highest[1:] = np.maximum(highest[1:], jump[:-1])
    highest[:-1] = np.maximum(highest[:-1], jump[1:])
    return np.asarray(np.where(jump >= highest, jump, 0.0))


def _swaps(xy: F64, time_s: F64, skeleton: Skeleton, length_px: float) -> NDArray[np.int64]:
    """(N,) index of the pair that moves much less from the frame before, or to the frame after, when exchanged."""
    swap = np.full(len(xy), -1)
    for p, (left, right) in enumerate(skeleton.flip_pairs):
        a, b = xy[:, skeleton.keypoints.index(left)], xy[:, skeleton.keypoints.index(right)]
        kept = np.linalg.norm(a[1:] - a[:-1], axis=1) + np.linalg.norm(b[1:] - b[:-1], axis=1)
        exchanged = np.linalg.norm(a[1:] - b[:-1], axis=1) + np.linalg.norm(b[1:] - a[:-1], axis=1)
        found = (kept - exchanged > _SWAP * length_px) & (exchanged < kept / 2) & (np.diff(time_s) <= NEIGHBOUR_S)
        swap[1:][found] = p
        swap[:-1][found] = p
    return swap
