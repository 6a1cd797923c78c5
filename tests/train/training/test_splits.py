"""Splits: the parts are disjoint by content, and the same seed gives the same split."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from edgepose.errors import DatasetError, UsageError
from edgepose.types import Skeleton
from edgepose_train.labels.dataset import Dataset, LabelledImage
from edgepose_train.labels.frame_identity import frame_identity
from edgepose_train.training.splits import fold_splits, split_images


def dataset_of(folder, contents, videos=None) -> Dataset:
    """Makes a small picture of each string."""
    images = []
    for i, content in enumerate(contents):
        path = folder / f"{i:03}.png"
        picture = np.random.default_rng(list(content.encode())).integers(0, 256, (4, 4, 3), np.uint8)
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        images.append(LabelledImage(path, np.zeros((1, 2)), videos[i] if videos else "video"))
    return Dataset("frames", Skeleton(("snout",)), tuple(images))


def frames(count: int) -> list[str]:
    return [f"frame {i}" for i in range(count)]


def hashes(part) -> set[str]:
    return {frame_identity(image.path) for image in part}


def videos_of(part) -> set[str]:
    return {image.video for image in part}


def parts(split) -> list[set[str]]:
    return [hashes(part) for part in (split.train, split.validation, split.test)]


def test_split_is_disjoint_by_content_and_keeps_copies_together(tmp_path):
    contents = [f"frame {i // 2}" for i in range(100)]  # each of them twice
    split = split_images(dataset_of(tmp_path, contents), seed=0)
    train, validation, test = parts(split)
    assert (len(train), len(validation), len(test)) == (35, 5, 10)
    assert not (train & validation | train & test | validation & test)
    assert Counter(map(len, (split.train, split.validation, split.test))) == Counter((70, 10, 20))


def test_split_depends_on_seed_and_content_alone(tmp_path):
    dataset = dataset_of(tmp_path, frames(40))
    backwards = Dataset(dataset.name, dataset.skeleton, dataset.images[::-1])
    assert parts(split_images(dataset, 3)) == parts(split_images(backwards, 3))
    assert parts(split_images(dataset, 3)) != parts(split_images(dataset, 4))


@pytest.mark.parametrize("count", [5, 6, 9])
def test_few_frames_still_fill_every_part(tmp_path, count):
    assert all(parts(split_images(dataset_of(tmp_path, frames(count)), 0)))


def test_too_few_frames_count_by_content(tmp_path):
    with pytest.raises(DatasetError, match=r"frames: 4 labelled frames are too few .* label 20 or more"):
        split_images(dataset_of(tmp_path, [f"frame {i % 4}" for i in range(30)]), 0)


# --- whole videos ------------------------------------------------------------------------------------------


def test_whole_videos_are_tested_on(tmp_path):
    dataset = dataset_of(tmp_path, frames(60), [f"cage {i % 6}" for i in range(60)])
    split = split_images(dataset, 0, by_video=True)
    train, validation, test = map(videos_of, (split.train, split.validation, split.test))
    assert not (train & validation | train & test | validation & test)
    assert len(train | validation | test) == 6
    assert (len(split.test), len(split.validation), len(split.train)) == (10, 10, 40)


def test_with_two_videos_one_trains_and_validates(tmp_path):
    split = split_images(dataset_of(tmp_path, frames(40), ["a"] * 20 + ["b"] * 20), 0, by_video=True)
    assert len(videos_of(split.test)) == 1
    assert videos_of(split.train) == videos_of(split.validation) != videos_of(split.test)
    assert not hashes(split.train) & hashes(split.validation)


def test_a_frame_of_two_videos_keeps_both_copies_on_one_side(tmp_path):
    contents = [*frames(20), "frame 0"]
    videos = ["a"] * 10 + ["b"] * 10 + ["b"]
    for seed in range(5):
        train, validation, test = parts(split_images(dataset_of(tmp_path, contents, videos), seed, by_video=True))
        assert not (train | validation) & test


def test_a_single_video_cannot_be_held_back(tmp_path):
    with pytest.raises(DatasetError, match="all frames are of one video, so none can be held back; leave out --split"):
        split_images(dataset_of(tmp_path, frames(20)), 0, by_video=True)


# --- frames that an earlier model has learnt from ----------------------------------------------------------


def test_learnt_frames_are_never_tested_on(tmp_path):
    dataset = dataset_of(tmp_path, frames(40))
    learnt = hashes(dataset.images[:25])
    for seed in range(5):
        split = split_images(dataset, seed, learnt=learnt)
        assert len(split.test) == 8
        assert not hashes(split.test) & learnt
        assert learnt <= hashes(split.train) | hashes(split.validation)


def test_only_frames_that_the_earlier_model_does_not_know_are_tested_on(tmp_path):
    dataset = dataset_of(tmp_path, frames(40))
    split = split_images(dataset, 0, learnt=hashes(dataset.images[1:]))
    assert hashes(split.test) == hashes(dataset.images[:1])
    with pytest.raises(DatasetError, match="the earlier model was trained on every frame; label new ones"):
        split_images(dataset, 0, learnt=hashes(dataset.images))


# --- folds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_every_image_is_tested_in_exactly_one_fold(tmp_path, folds):
    dataset = dataset_of(tmp_path, [f"frame {i // 2}" for i in range(50)])
    splits = fold_splits(dataset, 1, folds)
    tested = [image.path for split in splits for image in split.test]
    assert sorted(tested) == sorted(image.path for image in dataset.images)
    for split in splits:
        train, validation, test = parts(split)
        assert train
        assert validation
        assert not (train & validation | train & test | validation & test)


def test_folds_of_whole_videos(tmp_path):
    dataset = dataset_of(tmp_path, frames(30), [f"cage {i % 3}" for i in range(30)])
    for split in fold_splits(dataset, 0, 3, by_video=True):
        assert len(videos_of(split.test)) == 1
        assert not videos_of(split.test) & (videos_of(split.train) | videos_of(split.validation))


@pytest.mark.parametrize(("folds", "by_video", "message"), [(1, False, "2 to 9"), (10, False, "9 labelled frames")])
def test_more_folds_than_frames_are_refused(tmp_path, folds, by_video, message):
    with pytest.raises(UsageError, match=message):
        fold_splits(dataset_of(tmp_path, frames(9)), 0, folds, by_video)


def test_frames_that_an_earlier_model_learnt_are_not_tested_in_another_file(tmp_path):
    first = dataset_of(tmp_path, frames(40))
    learnt = {frame_identity(image.path) for image in first.images[:30]}
    for image in first.images:
        image.path.write_bytes(cv2.imencode(".png", cv2.imread(str(image.path)), [cv2.IMWRITE_PNG_COMPRESSION, 0])[1])
    split = split_images(first, 0, learnt=learnt)
    assert not {frame_identity(image.path) for image in split.test} & learnt
