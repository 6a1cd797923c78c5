"""Labelled images as training uses them: their coordinates are exact, and their memory is bounded."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgepose.errors import DatasetError
from edgepose.geometry.letterbox import FrameMap
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.training.samples import PictureCache

LABELS = np.array([[10.25, 20.5], [70.0, 40.75], [np.nan, np.nan]])


def written(folder, count, frame_wh=(96, 64)) -> list[LabelledImage]:
    rng, found = np.random.default_rng(0), []
    for i in range(count):
        path = folder / f"img{i:03}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (frame_wh[1], frame_wh[0], 3), np.uint8))
        found.append(LabelledImage(path, LABELS, "cage1"))
    return found


@pytest.mark.parametrize("frame_wh", [(96, 64), (320, 240), (333, 251), (1280, 720)])
def test_a_sample_leads_to_the_models_input_exactly(tmp_path, frame_wh):
    sample = PictureCache().sample(written(tmp_path, 1, frame_wh)[0], (160, 128))
    to_input = sample.xy_px @ sample.to_model[:2, :2].T + sample.to_model[:2, 2]
    np.testing.assert_allclose(to_input, sample.frame_map.to_model(LABELS), atol=1e-9)
    assert sample.fitted().shape == (128, 160, 3)
    assert np.isnan(sample.xy_px[2]).all()


def test_pictures_beyond_the_limit_are_read_again_and_are_the_same(tmp_path):
    images = written(tmp_path, 4)
    roomy, tight = PictureCache(), PictureCache(limit_bytes=2 * 96 * 64 * 3)
    for image in images:
        one, other = (pictures.sample(image, (96, 64)) for pictures in (roomy, tight))
        np.testing.assert_array_equal(roomy.source(one), tight.source(other))
    assert (roomy.held_bytes, tight.held_bytes) == (4 * 96 * 64 * 3, 2 * 96 * 64 * 3)


def test_pictures_in_memory_need_no_file_and_a_missing_file_is_an_error(tmp_path):
    images = written(tmp_path, 2)
    pictures = PictureCache(limit_bytes=96 * 64 * 3)
    held, read = (pictures.sample(image, (96, 64)) for image in images)
    for image in images:
        image.path.unlink()
    assert pictures.source(held).shape == (64, 96, 3)
    with pytest.raises(DatasetError, match=r"img001\.png"):
        pictures.source(read)


def test_a_picture_is_rgb(tmp_path):
    blue = np.zeros((64, 96, 3), np.uint8)
    blue[..., 0] = 255
    cv2.imwrite(str(tmp_path / "blue.png"), blue)
    pictures = PictureCache()
    sample = pictures.sample(LabelledImage(tmp_path / "blue.png", LABELS, ""), (96, 64))
    assert pictures.source(sample)[0, 0].tolist() == sample.fitted()[32, 48].tolist() == [0, 0, 255]


def test_a_sample_through_a_window_shows_the_same_place_enlarged(tmp_path):
    """The window shows what the device would cut out, and keypoints in it are mapped back to frame pixels."""
    sample = PictureCache(zoom=2.0).sample(written(tmp_path, 1, (640, 480))[0], (160, 128))
    followed = sample.followed(2.0)
    assert followed.window == (0, 0, 320, 256)  # the labels are near the corner
    rgb = cv2.cvtColor(cv2.imread(str(sample.path)), cv2.COLOR_BGR2RGB)[:256, :320]
    expected = np.empty((128, 160, 3), np.uint8)
    FrameMap.fit((320, 256), (160, 128), "letterbox").resize(rgb, expected)
    np.testing.assert_array_equal(followed.fitted(), expected)
    moved = replace(followed, window=(100, 50, 320, 256))
    np.testing.assert_allclose(moved.to_frame(np.array([[9.5, 19.5]])), [[100 + 19.5, 50 + 39.5]])
    unlabelled = replace(sample, frame_xy=np.full((3, 2), np.nan))
    assert unlabelled.followed(2.0) is unlabelled
