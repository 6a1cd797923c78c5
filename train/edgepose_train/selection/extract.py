"""Frames worth labelling, from videos alone: spread over what they show (k-means) or over time (uniform)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.types import F32, U8
from edgepose.video.frames import Video, read_frames, spread
from edgepose_train.selection.thumbnails import Look, look_at, same, stack, worth_labelling

MOST_LOOKED_AT = 2000  # frames of one video; an hour at 30 per second gives one every 1.8 seconds
_ATTEMPTS, _ITERATIONS = 1, 30

Method = Literal["kmeans", "uniform"]


@dataclass(frozen=True)
class Survey:
    """What was seen of a video: frame numbers, rising, and how each looks."""

    video: Video
    indices: list[int]
    looks: list[Look]


def survey(video: Video, tick: Callable[[], None]) -> Survey:
    """Looks at frames at equal distances. tick: called for each."""
    indices, looks = [], []
    for index, image in read_frames(video, spread(video.count, MOST_LOOKED_AT)):
        indices.append(index)
        looks.append(look_at(image))
        tick()
    return Survey(video, indices, looks)


def candidates(found: Survey, known: Collection[bytes] = ()) -> NDArray[np.int64]:
    """Positions in `found` of frames that could be labelled: sharp, lit, not empty, no two the same.

    known: digests of frames that the project already has.
    """
    if not found.looks:
        return np.array([], np.int64)
    good = worth_labelling(found.looks)
    thumbnails = stack(found.looks)
    taken = set(known)
    kept: list[int] = []
    for i in np.flatnonzero(good).tolist():
        # The one before is enough: what is still, is so for many frames.
        if found.looks[i].digest in taken or (kept and same(thumbnails[kept[-1]], thumbnails[i])):
            continue
        kept.append(i)
    return np.array(kept, np.int64)


def shares(available: Sequence[int], total: int) -> list[int]:
    """How many of `total` frames each video gives: equal parts, what one cannot give going to the others.

    With fewer frames than videos, the videos that give one are spread over the list.
    """
    given = [0] * len(available)
    while (left := total - sum(given)) > 0:
        able = [i for i, most in enumerate(available) if given[i] < most]
        if not able:
            break
        if left < len(able):
            able = [able[round((k + 0.5) * len(able) / left - 0.5)] for k in range(left)]
        part = max(1, left // len(able))
        for i in able:
            given[i] += min(part, available[i] - given[i])
    return given


def choose(thumbnails: F32, count: int, method: Method, seed: int) -> NDArray[np.int64]:
    """At most `count` rows of `thumbnails` (N, D), which are in the order of time, N >= count > 0; sorted.

    Fewer where the rest looks the same as those.
    """
    n = len(thumbnails)
    evenly = np.floor((np.arange(count) + 0.5) * n / count).astype(np.int64)
    first = evenly if method == "uniform" or count == n else _kmeans(thumbnails, count, seed)
    chosen: list[int] = []
    for i in first.tolist():
        if not chosen or not same(thumbnails[chosen], thumbnails[i]).any():
            chosen.append(i)
    distance = np.min([np.linalg.norm(thumbnails - thumbnails[i], axis=1) for i in chosen], axis=0)
    while len(chosen) < count:
        i = int(distance.argmax())
        if same(thumbnails[chosen], thumbnails[i]).any():
            break
        chosen.append(i)
        distance = np.minimum(distance, np.linalg.norm(thumbnails - thumbnails[i], axis=1))
    return np.array(sorted(chosen), np.int64)


def _kmeans(thumbnails: F32, count: int, seed: int) -> NDArray[np.int64]:
    """The frame nearest to each centre. DeepLabCut clusters the same pixels and takes a random frame of each."""
    centred = np.ascontiguousarray(thumbnails - thumbnails.mean(axis=0))
    cv2.setRNGSeed(seed)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, _ITERATIONS, 0.1)
    _, labels, centres = cv2.kmeans(centred, count, None, stop, _ATTEMPTS, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    distance = np.linalg.norm(centred - centres[labels[:, 0]], axis=1)
    order = np.lexsort((distance, labels[:, 0]))
    _, first = np.unique(labels[order, 0], return_index=True)
    return np.sort(order[first])


def fetch(found: Survey, positions: Sequence[int], write: Callable[[int, U8], None]) -> list[int]:
    """Calls write(frame number, image) for the frames at `positions` of the survey; returns the numbers written.

    Seeking in a video of changing rate may land elsewhere than the survey did. A frame that does not look as it did
    then is looked for once more the way the survey came.
    """
    wanted = {found.indices[i]: found.looks[i].digest for i in positions}
    written = []
    for indices in (sorted(wanted), found.indices):
        for index, image in read_frames(found.video, indices):
            if index in wanted and look_at(image).digest == wanted[index]:
                write(index, image)
                written.append(index)
                del wanted[index]
            if not wanted:
                return sorted(written)
    return sorted(written)
