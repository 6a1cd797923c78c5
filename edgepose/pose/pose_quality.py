"""Judges poses by their scores and by the poses before and after: on the desktop for whole videos, on the device for
the middle one of the last three."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepose.types import F64, Skeleton

NEIGHBOUR_S = 0.2  # only frames that are closer in time show which movement is plausible
_JUMP = 0.25  # body lengths; a keypoint that is farther from the line between its neighbours in time has jumped
_SWAP = 0.15  # body lengths; left and right are exchanged where that saves so much movement


@dataclass(frozen=True)
class PoseQuality:
    """The quality of the poses of N frames with K keypoints.

    Attributes:
        doubt: (N,) from 0, where the model is sure of every keypoint, to 1.
        jump: (N, K) how far a keypoint jumped, body lengths; 0 where its movement is plausible.
        swap: (N,) the number of the left/right pair that seems exchanged; -1 where none does.
    """

    doubt: F64
    jump: F64
    swap: NDArray[np.int64]

    @property
    def severity(self) -> F64:
        """(N,) how much a frame is worth a label: the higher, the worse its pose."""
        return np.asarray(self.doubt + np.minimum(self.jump.max(axis=1), 1.0) + 0.5 * (self.swap >= 0))

    @property
    def moves(self) -> NDArray[np.bool_]:
        """(N,) True where a keypoint moves as no animal moves."""
        return np.asarray((self.jump > 0).any(axis=1) | (self.swap >= 0))


def judge_poses(xy: F64, score: F64, time_s: F64, skeleton: Skeleton, length_px: float) -> PoseQuality:
    """Judges the poses of consecutive frames.

    Args:
        xy: (N, K, 2) pixels.
        score: (N, K).
        time_s: (N,) time of each frame, seconds.
        skeleton: its flip pairs are those that may be exchanged.
        length_px: length of the animal.
    """
    # One half is for all keypoints, the other for the worst one: a single lost keypoint is worth a label too.
    doubt = 1 - (score.mean(axis=1) + score.min(axis=1)) / 2
    jump = _jumps(xy, time_s) / length_px
    return PoseQuality(doubt, np.where(jump >= _JUMP, jump, 0.0), _swaps(xy, time_s, skeleton, length_px))


def _jumps(xy: F64, time_s: F64) -> F64:
    """Returns the distance (N, K) in pixels of each keypoint from the line between the frames before and after.

    It is 0 where a neighbour is too far in time, and where the keypoint is farther off in a neighbouring frame: then
    that frame is the one with the jump.
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
    """Returns the number (N,) of the pair that moves much less when it is exchanged, from the frame before or to the
    frame after; -1 where no pair does."""
    swap = np.full(len(xy), -1)
    for p, (left, right) in enumerate(skeleton.flip_pairs):
        a, b = xy[:, skeleton.keypoints.index(left)], xy[:, skeleton.keypoints.index(right)]
        kept = np.linalg.norm(a[1:] - a[:-1], axis=1) + np.linalg.norm(b[1:] - b[:-1], axis=1)
        exchanged = np.linalg.norm(a[1:] - b[:-1], axis=1) + np.linalg.norm(b[1:] - a[:-1], axis=1)
        found = (kept - exchanged > _SWAP * length_px) & (exchanged < kept / 2) & (np.diff(time_s) <= NEIGHBOUR_S)
        swap[1:][found] = p
        swap[:-1][found] = p
    return swap
