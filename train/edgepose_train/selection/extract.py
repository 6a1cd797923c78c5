"""Picks frames worth labelling: as different as possible (k-means), or at equal distances in time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.types import F32, U8
from edgepose.video.frames import Video, read_frames
from edgepose_train.selection.thumbnails import Thumbnail, are_duplicates, as_rows, can_be_labelled, make_thumbnail

MOST_SAMPLED = 2000  # frames of one video; of an hour at 30 frames a second, one in 1.8 seconds
_ATTEMPTS, _ITERATIONS = 1, 30

Method = Literal["kmeans", "uniform"]


@dataclass(frozen=True)
class SampledVideo:
    """Thumbnails of some frames of a video. `indices` are their frame numbers, rising."""

    video: Video
    indices: list[int]
    thumbnails: list[Thumbnail]


def evenly_spaced(count: int, most: int) -> list[int]:
    """Returns at most `most` of the numbers 0..count-1, at equal distances."""
    step = max(1, -(-count // most))
    return list(range(step // 2 if step > 1 else 0, count, step))


def frames_to_sample(count: int) -> list[int]:
    """Returns the numbers, rising, of the frames that are sampled of a video of `count` frames."""
    return evenly_spaced(count, MOST_SAMPLED)


def sample_video(video: Video, on_frame: Callable[[], None]) -> SampledVideo:
    """Reads frames at equal distances. `on_frame` is called for each."""
    indices, thumbnails = [], []
    for index, image in read_frames(video, frames_to_sample(video.count)):
        indices.append(index)
        thumbnails.append(make_thumbnail(image))
        on_frame()
    return SampledVideo(video, indices, thumbnails)


def candidates(sample: SampledVideo, known: Collection[str] = ()) -> NDArray[np.int64]:
    """Returns the positions in the sample of frames that can be labelled, without duplicates.

    known: identities of the frames that the project has already.
    """
    if not sample.thumbnails:
        return np.array([], np.int64)
    good = can_be_labelled(sample.thumbnails)
    rows = as_rows(sample.thumbnails)
    kept: list[int] = []
    for i in np.flatnonzero(good).tolist():
        # It is enough to compare with the frame before: an animal that is still stays so for many frames.
        if sample.thumbnails[i].identity in known or (kept and are_duplicates(rows[kept[-1]], rows[i])):
            continue
        kept.append(i)
    return np.array(kept, np.int64)


def shares(available: Sequence[int], total: int) -> list[int]:
    """Returns how many of `total` frames each video gives: equal parts, and what one video lacks the others give.

    Where there are fewer frames than videos, the videos that give one are spread over the list.
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


def choose(rows: F32, count: int, method: Method, seed: int) -> NDArray[np.int64]:
    """Returns at most `count` row numbers, rising. There are fewer where the other rows are duplicates of these.

    rows: thumbnails (N, D) in the order of time, N >= count > 0.
    """
    n = len(rows)
    evenly = np.floor((np.arange(count) + 0.5) * n / count).astype(np.int64)
    first = evenly if method == "uniform" or count == n else _kmeans(rows, count, seed)
    chosen: list[int] = []
    for i in first.tolist():
        if not chosen or not are_duplicates(rows[chosen], rows[i]).any():
            chosen.append(i)
    distance = np.min([np.linalg.norm(rows - rows[i], axis=1) for i in chosen], axis=0)
    while len(chosen) < count:
        i = int(distance.argmax())
        if are_duplicates(rows[chosen], rows[i]).any():
            break
        chosen.append(i)
        distance = np.minimum(distance, np.linalg.norm(rows - rows[i], axis=1))
    return np.array(sorted(chosen), np.int64)


def _kmeans(rows: F32, count: int, seed: int) -> NDArray[np.int64]:
    """Returns the row nearest to each centre. DeepLabCut clusters the same pixels and takes a random row of each."""
    centred = np.ascontiguousarray(rows - rows.mean(axis=0))
    cv2.setRNGSeed(seed)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, _ITERATIONS, 0.1)
    _, labels, centres = cv2.kmeans(centred, count, None, stop, _ATTEMPTS, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    distance = np.linalg.norm(centred - centres[labels[:, 0]], axis=1)
    order = np.lexsort((distance, labels[:, 0]))
    _, first = np.unique(labels[order, 0], return_index=True)
    return np.sort(order[first])


def write_frames(sample: SampledVideo, positions: Sequence[int], write: Callable[[int, U8], None]) -> list[int]:
    """Calls write(frame number, image) for the frames at these positions of the sample; returns their numbers."""
    written = []
    for index, image in read_frames(sample.video, [sample.indices[i] for i in positions]):
        write(index, image)
        written.append(index)
    return written
