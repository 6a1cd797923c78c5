"""Frames worth labelling next: where a model is unsure, jumps or mixes left and right, and poses unlike the others.

Pure numpy on what the model said about frames; `watch` alone runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.inference.estimator import Estimator
from edgepose.pose.drawing import SURE
from edgepose.pose.pose_quality import PoseQuality, animal_length, judge_poses
from edgepose.types import F64, Frame, Skeleton
from edgepose.video.frames import Video, read_frames, spread
from edgepose_train.selection.extract import Survey
from edgepose_train.selection.thumbnails import WIDTH, look_at, worth_labelling

MOST_WATCHED = 3000  # frames of one video: all of a shorter one, else threes of neighbours at equal distances
_TROUBLE_SHARE = 2 / 3  # of the chosen frames; the others are the ones most unlike all chosen before


@dataclass(frozen=True)
class PosedVideo(Survey):
    """What the model said about N frames of a video: xy_px (N, K, 2), score (N, K)."""

    xy_px: F64
    score: F64

    @property
    def time_s(self) -> F64:
        return np.asarray(np.array(self.indices) / self.video.fps)


def frames_to_watch(count: int) -> list[int]:
    """Rising frame numbers."""
    if count <= MOST_WATCHED:
        return list(range(count))
    middles = spread(count, MOST_WATCHED // 3)
    return [i for middle in middles for i in (middle - 1, middle, middle + 1) if 0 <= i < count]


def watch(estimator: Estimator, video: Video, tick: Callable[[], None]) -> PosedVideo:
    """Runs the model over the video. tick: called for each frame."""
    indices, xy, score, looks = [], [], [], []
    for index, image in read_frames(video, frames_to_watch(video.count)):
        pose = estimator.estimate(Frame(image, "bgr", index, 0, 0))
        indices.append(index)
        xy.append(pose.xy_px)
        score.append(pose.score)
        looks.append(look_at(image))
        tick()
    k = len(estimator.card.skeleton.keypoints)
    return PosedVideo(
        video, indices, looks, np.array(xy, float).reshape(-1, k, 2), np.array(score, float).reshape(-1, k)
    )


def find_trouble(watched: PosedVideo, skeleton: Skeleton) -> PoseQuality:
    return judge_poses(watched.xy_px, watched.score, watched.time_s, skeleton, body_length(watched))


def body_length(watched: PosedVideo) -> float:
    """Pixels."""
    return animal_length(watched.xy_px, watched.score, watched.video.size_wh)


def features(every: Sequence[PosedVideo]) -> F64:
    """(N, D) of all videos' frames: pose and appearance, each spread by 1 about its mean. Distances mean unlikeness."""
    lengths = [body_length(watched) for watched in every]
    pose = np.vstack([w.xy_px.reshape(len(w.xy_px), -1) / length for w, length in zip(every, lengths, strict=True)])
    size_wh = (WIDTH, round(WIDTH * 3 / 4))  # whatever shape the videos have
    small = np.array([cv2.resize(look.thumbnail, size_wh).ravel() for w in every for look in w.looks], float)
    return np.hstack([_unit_spread(pose), _unit_spread(small)])


def _unit_spread(values: F64) -> F64:
    centred = values - values.mean(axis=0)
    return np.asarray(centred / max(1e-9, np.sqrt((centred**2).sum(axis=1).mean())))


@dataclass(frozen=True)
class Pool:
    """All N frames of all videos. video: (N,) which one. time_s: (N,) within it. troubled: (N,) something is wrong.
    allowed: (N,) can be labelled, and nothing near it in time is known."""

    severity: F64
    troubled: NDArray[np.bool_]
    features: F64
    video: NDArray[np.int64]
    time_s: F64
    allowed: NDArray[np.bool_]


def make_pool(every: Sequence[PosedVideo], troubles: Sequence[PoseQuality], known: set[bytes], apart_s: float) -> Pool:
    """known: digests of frames that are in the project already."""
    unsure = np.concatenate([(watched.score < SURE).any(axis=1) for watched in every])
    wrong = np.concatenate([t.moves for t in troubles])
    return Pool(
        np.concatenate([trouble.severity for trouble in troubles]),
        unsure | wrong,
        features(every),
        np.concatenate([np.full(len(watched.indices), i) for i, watched in enumerate(every)]),
        np.concatenate([watched.time_s for watched in every]),
        np.concatenate([_allowed(watched, known, apart_s) for watched in every]),
    )


def _allowed(watched: PosedVideo, known: set[bytes], apart_s: float) -> NDArray[np.bool_]:
    allowed = worth_labelling(watched.looks)
    for i, look in enumerate(watched.looks):
        if look.digest in known:
            allowed &= np.abs(watched.time_s - watched.time_s[i]) > apart_s
    return allowed


def choose(pool: Pool, count: int, apart_s: float) -> tuple[list[int], list[int]]:
    """Positions of at most `count` frames, no two of a video within `apart_s`: the troubled ones, most severe first
    but none like another, and then those least like all before, rather unsure ones."""
    open_ = pool.allowed.copy()
    distance = np.full(len(open_), np.inf)

    def take(value: F64, which: NDArray[np.bool_]) -> int | None:
        if not which.any():
            return None
        i = int(np.where(which, value, -np.inf).argmax())
        open_[(pool.video == pool.video[i]) & (np.abs(pool.time_s - pool.time_s[i]) <= apart_s)] = False
        np.minimum(distance, np.linalg.norm(pool.features - pool.features[i], axis=1), out=distance)
        return i

    troubled: list[int] = []
    while len(troubled) < round(count * _TROUBLE_SHARE):
        i = take(pool.severity * np.minimum(distance, 1.0), open_ & pool.troubled)
        if i is None:
            break
        troubled.append(i)
    new: list[int] = []
    while len(troubled) + len(new) < count:
        unlike = np.minimum(distance, np.linalg.norm(pool.features, axis=1).max())
        i = take(unlike * (0.5 + pool.severity), open_)
        if i is None:
            break
        new.append(i)
    return troubled, new


def reasons(watched: PosedVideo, trouble: PoseQuality, i: int, skeleton: Skeleton) -> list[str]:
    """Why frame i was chosen, worst first; empty when nothing is wrong with it."""
    found = []
    if trouble.swap[i] >= 0:
        found.append(f"left/right swap of {' and '.join(skeleton.flip_pairs[trouble.swap[i]])}")
    if (worst := int(trouble.jump[i].argmax())) >= 0 and trouble.jump[i, worst] > 0:
        found.append(f"{skeleton.keypoints[worst]} jumps {trouble.jump[i, worst] * body_length(watched):.0f} px")
    unsure = [int(k) for k in watched.score[i].argsort() if watched.score[i, k] < SURE]
    if unsure:
        named = ", ".join(f"{skeleton.keypoints[k]} {watched.score[i, k]:.2f}" for k in unsure[:3])
        found.append(f"unsure: {named}" + (" ..." if len(unsure) > 3 else ""))
    return found
