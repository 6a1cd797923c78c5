"""Frames that nobody could label are separated from good ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgepose.camera.synthetic.scene import Scene
from edgepose_train.selection.thumbnails import (
    are_duplicates,
    as_rows,
    can_be_labelled,
    differs_from_background,
    is_exposed_and_sharp,
    known_frames,
    make_thumbnail,
)

SIZE_WH = (320, 240)
SCENE = Scene(3, SIZE_WH)


@pytest.fixture(scope="module")
def frames():
    return [SCENE.render(i) for i in range(0, 400, 40)]


@pytest.fixture(scope="module")
def background(frames):
    return np.median(frames, axis=0).astype(np.uint8)


def thumbnails(images):
    return [make_thumbnail(image) for image in images]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda image: image // 64,
        lambda image: cv2.add(image, np.full_like(image, 250)),
        lambda image: np.full_like(image, 90),
        lambda image: cv2.GaussianBlur(image, (0, 0), 8),
    ],
    ids=["black", "overexposed", "flat", "blurred"],
)
def test_spoilt_frames_are_not_usable(frames, spoil):
    images = [*frames, spoil(frames[4])]
    assert is_exposed_and_sharp(thumbnails(images)).tolist() == [True] * len(frames) + [False]


def test_a_black_video_has_no_usable_frame():
    assert not is_exposed_and_sharp(thumbnails([np.zeros((48, 64, 3), np.uint8)] * 3)).any()


def test_frames_without_the_animal_are_empty(frames, background):
    assert can_be_labelled(thumbnails([*frames, background])).tolist() == [True] * len(frames) + [False]


def test_an_animal_that_sleeps_most_of_the_time_is_no_empty_scene(frames):
    assert differs_from_background(thumbnails([frames[0]] * 12 + frames)).all()


def test_noise_of_the_camera_is_no_difference(frames):
    noisy = np.clip(frames[0] + np.random.default_rng(0).normal(0, 4, frames[0].shape), 0, 255).astype(np.uint8)
    rows = as_rows(thumbnails([frames[0], noisy, SCENE.render(12)]))
    assert are_duplicates(rows, rows[0]).tolist() == [True, True, False]


def test_pixels_make_the_identity(tmp_path, frames):
    """A frame has one digest, whatever program compressed its file."""
    (tmp_path / "cage1").mkdir()
    for level in (0, 9):
        cv2.imwrite(str(tmp_path / "cage1" / f"img{level}.png"), frames[0], [cv2.IMWRITE_PNG_COMPRESSION, level])
    assert known_frames(tmp_path) == {make_thumbnail(frames[0]).identity}
    assert known_frames(tmp_path / "nowhere") == set()
