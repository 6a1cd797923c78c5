"""Splits the images into those to train on, to choose the model by and to test with; their pixels identify them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from edgepose.errors import DatasetError, UsageError
from edgepose.system.wording import count
from edgepose_train.labels.dataset import FEWEST_IMAGES, Dataset, LabelledImage
from edgepose_train.labels.frame_identity import frame_identity, is_learnt

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1


@dataclass(frozen=True, slots=True)
class Split:
    """Images by purpose.

    Attributes:
        train: images to train on.
        validation: images that choose the model and end the training.
        test: images that only measure the finished model.
    """

    train: list[LabelledImage]
    validation: list[LabelledImage]
    test: list[LabelledImage]


_Frame = list[LabelledImage]  # an image and its copies
_Group = list[_Frame]  # frames that must stay together


def split_images(dataset: Dataset, seed: int, by_video: bool = False, learnt: Collection[str] = frozenset()) -> Split:
    """Splits a data set by frames: copies of a frame stay together, and the order of the label file does not matter.

    Args:
        dataset: the labelled images.
        seed: the same seed gives the same split.
        by_video: test on whole videos, because neighbouring frames of a video are nearly copies. Validation uses whole
            videos too where there are enough.
        learnt: identities of frames that an earlier model was trained on; they are never tested on.

    Raises:
        DatasetError: there are too few frames or videos to split.
    """
    groups = _shuffled(dataset, seed, by_video)
    new = [group for group in groups if not _overlap(group, learnt)]
    if not new:
        what = "video" if by_video else "frame"
        raise DatasetError(f"{dataset.name}: the earlier model was trained on every {what}; label new ones")
    test, _ = _take(new, TEST_SHARE * _size(groups)) if len(new) > 1 else (new, [])
    rest = [group for group in groups if group not in test]
    train, validation = _hold_back(rest, VALIDATION_SHARE * _size(groups), seed)
    return Split(train, validation, _images(test))


def fold_splits(dataset: Dataset, seed: int, folds: int, by_video: bool = False) -> list[Split]:
    """Returns splits of which exactly one tests each image; raises UsageError when there are fewer parts than folds."""
    groups = _shuffled(dataset, seed, by_video)
    if not 2 <= folds <= len(groups):
        what = "labelled video" if by_video else "labelled frame"
        raise UsageError(f"--folds {folds}: give 2 to {len(groups)}, as there are {count(len(groups), what)}")
    splits = []
    for fold in range(folds):
        rest = [group for i, group in enumerate(groups) if i % folds != fold]
        train, validation = _hold_back(rest, VALIDATION_SHARE * _size(groups), seed)
        splits.append(Split(train, validation, _images(groups[fold::folds])))
    return splits


def _shuffled(dataset: Dataset, seed: int, by_video: bool) -> list[_Group]:
    frames: dict[str, _Frame] = {}
    for image in dataset.images:
        frames.setdefault(frame_identity(image.path), []).append(image)
    if len(frames) < FEWEST_IMAGES:
        found = count(len(frames), "labelled frame")
        raise DatasetError(f"{dataset.name}: {found} are too few to train on; label 20 or more")
    groups: dict[str, _Group] = {}
    for key in sorted(frames):
        # A frame that is in two videos belongs to the first of them, and so does its copy.
        groups.setdefault(min(image.video for image in frames[key]) if by_video else key, []).append(frames[key])
    if len(groups) < 2:
        raise DatasetError(f"{dataset.name}: all frames are of one video, so none can be held back; leave out --split")
    return [groups[key] for key in np.random.default_rng(seed).permutation(sorted(groups))]


def _hold_back(groups: list[_Group], wanted: float, seed: int) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Returns training and validation images; where there is a single video, some of its frames validate."""
    if len(groups) == 1:
        groups = [[groups[0][i]] for i in np.random.default_rng(seed).permutation(len(groups[0]))]
    validation, train = _take(groups, wanted)
    return _images(train), _images(validation)


def _take(groups: list[_Group], wanted: float) -> tuple[list[_Group], list[_Group]]:
    """Returns the first groups, which have about `wanted` frames, and the others; both have at least one group."""
    sizes = np.cumsum([len(group) for group in groups])[:-1]
    taken = 1 + int(np.argmin(np.abs(sizes - round(wanted))))
    return groups[:taken], groups[taken:]


def _overlap(group: _Group, learnt: Collection[str]) -> bool:
    return any(is_learnt(frame[0].path, learnt) for frame in group)


def _size(groups: list[_Group]) -> int:
    return sum(map(len, groups))


def _images(groups: list[_Group]) -> list[LabelledImage]:
    return [image for group in groups for frame in group for image in frame]
