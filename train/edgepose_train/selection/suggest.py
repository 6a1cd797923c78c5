"""Picks frames to label next: where a model is unsure, jumps or mixes left and right, and poses unlike the others.

All functions but `pose_video` only compute with the poses that the model has found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.inference.estimator import Estimator
from edgepose.pose.animal_size import animal_diagonal_px
from edgepose.pose.drawing import SURE
from edgepose.pose.pose_quality import PoseQuality, judge_poses
from edgepose.types import F64, Frame, Skeleton
from edgepose.video.frames import Video, read_frames
from edgepose_train.selection.extract import SampledVideo, evenly_spaced
from edgepose_train.selection.thumbnails import WIDTH, can_be_labelled, make_thumbnail

MOST_POSED = 3000  # frames of one video; of a longer video, groups of three neighbours at equal distances
_FAILING_SHARE = 2 / 3  # of the chosen frames; the others are those that are most unlike all chosen before


@dataclass(frozen=True)
class PosedVideo(SampledVideo):
    """The poses that the model found in N frames of a video: xy_px (N, K, 2), score (N, K)."""

    xy_px: F64
    score: F64

    @property
    def time_s(self) -> F64:
        return np.asarray(np.array(self.indices) / self.video.fps)

    @property
    def body_length_px(self) -> float:
        return animal_diagonal_px(self.xy_px, self.score, self.video.size_wh)


def frames_to_pose(count: int) -> list[int]:
    """Returns the numbers, rising, of the frames that the model is to see in a video of `count` frames."""
    if count <= MOST_POSED:
        return list(range(count))
    middles = evenly_spaced(count, MOST_POSED // 3)
    return [i for middle in middles for i in (middle - 1, middle, middle + 1) if 0 <= i < count]


def pose_video(estimator: Estimator, video: Video, on_frame: Callable[[], None]) -> PosedVideo:
    """Runs the model over the video. `on_frame` is called for each frame."""
    indices, xy_px, score, thumbnails = [], [], [], []
    for index, image in read_frames(video, frames_to_pose(video.count)):
        pose = estimator.estimate(Frame(image, "bgr", index, 0, 0))
        indices.append(index)
        xy_px.append(pose.xy_px)
        score.append(pose.score)
        thumbnails.append(make_thumbnail(image))
        on_frame()
    k = len(estimator.card.skeleton.keypoints)
    return PosedVideo(
        video, indices, thumbnails, np.array(xy_px, float).reshape(-1, k, 2), np.array(score, float).reshape(-1, k)
    )


def quality_of(posed: PosedVideo, skeleton: Skeleton) -> PoseQuality:
    """Returns what is wrong with each pose of the video."""
    return judge_poses(posed.xy_px, posed.score, posed.time_s, skeleton, posed.body_length_px)


def features(videos: Sequence[PosedVideo]) -> F64:
    """Returns (N, D) for all frames of all videos; the farther apart two rows are, the less alike are the frames.

    Pose and appearance count the same: each has a standard deviation of 1 about its mean.
    """
    pose = np.vstack([posed.xy_px.reshape(len(posed.xy_px), -1) / posed.body_length_px for posed in videos])
    size_wh = (WIDTH, round(WIDTH * 3 / 4))  # one size for all, although the videos may have several shapes
    small = np.array([cv2.resize(t.grey, size_wh).ravel() for posed in videos for t in posed.thumbnails], float)
    return np.hstack([_standardized(pose), _standardized(small)])


def _standardized(values: F64) -> F64:
    centred = values - values.mean(axis=0)
    return np.asarray(centred / max(1e-9, np.sqrt((centred**2).sum(axis=1).mean())))


@dataclass(frozen=True)
class Pool:
    """The N frames of all videos from which frames are chosen.

    Attributes:
        severity: (N,) how badly the model fails.
        failing: (N,) True where the model is unsure of a keypoint, or the pose moves as no animal does.
        features: (N, D), see `features`.
        video: (N,) number of the video.
        time_s: (N,) time in the video.
        allowed: (N,) True where the frame can be labelled and no frame near it in time is in the project already.
    """

    severity: F64
    failing: NDArray[np.bool_]
    features: F64
    video: NDArray[np.int64]
    time_s: F64
    allowed: NDArray[np.bool_]


def make_pool(
    videos: Sequence[PosedVideo], qualities: Sequence[PoseQuality], known: set[str], min_gap_s: float
) -> Pool:
    """Collects the frames of all videos.

    Args:
        videos: the posed videos.
        qualities: what is wrong with the poses of each.
        known: identities of the frames that the project has already.
        min_gap_s: how far in time the other frames must be from these.
    """
    unsure = np.concatenate([(posed.score < SURE).any(axis=1) for posed in videos])
    implausible = np.concatenate([quality.moves for quality in qualities])
    return Pool(
        np.concatenate([quality.severity for quality in qualities]),
        unsure | implausible,
        features(videos),
        np.concatenate([np.full(len(posed.indices), i) for i, posed in enumerate(videos)]),
        np.concatenate([posed.time_s for posed in videos]),
        np.concatenate([_allowed(posed, known, min_gap_s) for posed in videos]),
    )


def _allowed(posed: PosedVideo, known: set[str], min_gap_s: float) -> NDArray[np.bool_]:
    allowed = can_be_labelled(posed.thumbnails)
    for i, thumbnail in enumerate(posed.thumbnails):
        if thumbnail.identity in known:
            allowed &= np.abs(posed.time_s - posed.time_s[i]) > min_gap_s
    return allowed


def choose(pool: Pool, count: int, min_gap_s: float) -> tuple[list[int], list[int]]:
    """Chooses at most `count` frames, no two of a video within `min_gap_s`.

    Returns:
        Positions of frames in which the model fails, the most severe first but none like another; and positions of
        the frames that are least like all chosen before, where unsure ones are preferred.
    """
    is_open = pool.allowed.copy()
    distance = np.full(len(is_open), np.inf)

    def take(value: F64, which: NDArray[np.bool_]) -> int | None:
        if not which.any():
            return None
        i = int(np.where(which, value, -np.inf).argmax())
        is_open[(pool.video == pool.video[i]) & (np.abs(pool.time_s - pool.time_s[i]) <= min_gap_s)] = False
        np.minimum(distance, np.linalg.norm(pool.features - pool.features[i], axis=1), out=distance)
        return i

    failing: list[int] = []
    while len(failing) < round(count * _FAILING_SHARE):
        i = take(pool.severity * np.minimum(distance, 1.0), is_open & pool.failing)
        if i is None:
            break
        failing.append(i)
    new: list[int] = []
    while len(failing) + len(new) < count:
        novelty = np.minimum(distance, np.linalg.norm(pool.features, axis=1).max())
        i = take(novelty * (0.5 + pool.severity), is_open)
        if i is None:
            break
        new.append(i)
    return failing, new


def reasons(posed: PosedVideo, quality: PoseQuality, i: int, skeleton: Skeleton) -> list[str]:
    """Returns why frame i was chosen, the worst reason first; nothing where the pose has no fault."""
    found = []
    if quality.swap[i] >= 0:
        found.append(f"left/right swap of {' and '.join(skeleton.flip_pairs[quality.swap[i]])}")
    if (worst := int(quality.jump[i].argmax())) >= 0 and quality.jump[i, worst] > 0:
        found.append(f"{skeleton.keypoints[worst]} jumps {quality.jump[i, worst] * posed.body_length_px:.0f} px")
    unsure = [int(k) for k in posed.score[i].argsort() if posed.score[i, k] < SURE]
    if unsure:
        named = ", ".join(f"{skeleton.keypoints[k]} {posed.score[i, k]:.2f}" for k in unsure[:3])
        found.append(f"unsure: {named}" + (" ..." if len(unsure) > 3 else ""))
    return found
