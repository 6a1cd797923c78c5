"""Pseudo-labels: a teacher's poses with high scores, on frames of a video that nobody labelled."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from clips import write_clip

from edgepose.errors import DatasetError, UsageError
from edgepose.inference.estimator import Estimator
from edgepose.types import Frame, Skeleton
from edgepose_train.labels.dataset import Dataset, LabelledImage
from edgepose_train.labels.images import read_image
from edgepose_train.training.distill import LEAST_SCORE, prepare_distillation

NAMES = ("snout", "leftear", "rightear", "tailbase")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "mouse.avi", 20)


def dataset_of(*images: LabelledImage, names=NAMES) -> Dataset:
    return Dataset("mice", Skeleton(names), images)


def labelled(folder, image) -> LabelledImage:
    path = folder / "img001.png"
    cv2.imwrite(str(path), image)
    return LabelledImage(path, np.full((4, 2), 50.0), "mouse")


def elsewhere(folder) -> Dataset:
    return dataset_of(labelled(folder, np.zeros((240, 320, 3), np.uint8)))


def test_labels_are_the_poses_with_a_high_score(demo_model, clip, tmp_path):
    distillation = prepare_distillation(demo_model, [clip], elsewhere(tmp_path))
    estimator = Estimator(demo_model)
    assert distillation.teacher == estimator.card
    assert 10 < len(distillation.images) <= 20
    for image in distillation.images:
        pose = estimator.estimate(Frame(read_image(image.path), "bgr", 0, 0, 0))
        sure = pose.score >= LEAST_SCORE
        assert sure.any()
        np.testing.assert_array_equal(np.isfinite(image.xy_px).all(axis=1), sure)
        np.testing.assert_allclose(image.xy_px[sure], pose.xy_px[sure])
        assert image.video == "mouse"


def test_frames_that_are_labelled_are_left_out(demo_model, clip, tmp_path):
    """Their pixels identify them. One of them may be a test frame."""
    everything = prepare_distillation(demo_model, [clip], elsewhere(tmp_path)).images
    known = read_image(everything[3].path)
    rest = prepare_distillation(demo_model, [clip], dataset_of(labelled(tmp_path, known))).images
    assert [image.path for image in rest] == [image.path for image in everything if image is not everything[3]]


def test_several_videos_give_equal_numbers_of_frames(demo_model, clip, tmp_path):
    second = write_clip(tmp_path / "second.avi", 40)
    found = prepare_distillation(demo_model, [clip, second], elsewhere(tmp_path), frames=8, least_score=0.0)
    videos = [image.video for image in found.images]
    assert (videos.count("mouse"), videos.count("second")) == (4, 4)


def test_a_teacher_of_other_keypoints_is_refused(demo_model, clip, tmp_path):
    other = dataset_of(*elsewhere(tmp_path).images, names=("snout", "leftear", "rightear", "tail"))
    with pytest.raises(UsageError, match=r"finds snout, leftear, rightear, tailbase, but the labels are of .*, tail;"):
        prepare_distillation(demo_model, [clip], other)


def test_a_teacher_that_is_sure_of_nothing_is_an_error(demo_model, clip, tmp_path):
    with pytest.raises(DatasetError, match=r"--unlabelled: demo\.tflite is sure of no keypoint in any frame"):
        prepare_distillation(demo_model, [clip], elsewhere(tmp_path), least_score=1.1)


def test_a_file_that_is_no_video_is_an_error(demo_model, tmp_path):
    (tmp_path / "notes.mp4").write_text("day one")
    with pytest.raises(UsageError, match=r"^--unlabelled .*notes\.mp4"):
        prepare_distillation(demo_model, [tmp_path / "notes.mp4"], elsewhere(tmp_path))
