"""Random views: the keypoints follow the pixels, and left and right are exchanged in a mirrored view."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgepose.geometry.letterbox import PAD_VALUE, FrameMap
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.training.augment import Augmentation, photometric, random_view, source_of, turn_range_deg
from edgepose_train.training.samples import PictureCache

CROP_WH = (96, 80)
NOSE, LEFT, RIGHT = range(3)
FLIP_ORDER = [NOSE, RIGHT, LEFT]
SIGMA_PX = 4.0
TOLERANCE_PX = 0.3


def spotted(size_wh, xy_px, bright) -> np.ndarray:
    """Returns a grey picture with a soft spot at every keypoint, white where `bright` is True, otherwise black."""
    x, y = np.meshgrid(np.arange(size_wh[0]), np.arange(size_wh[1]))
    image = np.full((size_wh[1], size_wh[0]), float(PAD_VALUE))
    for (px, py), up in zip(xy_px, bright, strict=True):
        spot = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * SIGMA_PX**2))
        image += spot * (127 if up else -127)
    return np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def find_spot(view, xy, radius=9) -> tuple[np.ndarray, float]:
    """Returns the centroid of the spot near `xy`, and its largest difference from the background (negative: darker)."""
    x0, y0 = np.round(xy).astype(int) - radius
    patch = view.astype(float).mean(axis=2)
    patch = (patch - np.median(patch))[y0 : y0 + 2 * radius + 1, x0 : x0 + 2 * radius + 1]
    height = patch.flat[np.abs(patch).argmax()]
    weight = np.where(patch / height > 0.3, patch / height, 0)
    x, y = np.meshgrid(np.arange(patch.shape[1]) + x0, np.arange(patch.shape[0]) + y0)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum(), float(height)


def well_inside(xy, wh, margin=12) -> bool:
    return bool((xy >= margin).all() and (xy <= np.array(wh) - 1 - margin).all())


@pytest.mark.parametrize("frame_wh", [(128, 96), (300, 200), (640, 480)])
@pytest.mark.parametrize("flip_order", [None, FLIP_ORDER], ids=["never mirrored", "mirrored"])
def test_keypoints_follow_the_pixels(frame_wh, flip_order, tmp_path):
    """They do so through every step from frame to view: reducing, letterbox, turn, zoom, mirror and shift."""
    xy = np.array([[0.5, 0.35], [0.4, 0.6], [0.65, 0.62]]) * frame_wh
    image = spotted(frame_wh, xy, [True, False, True])
    if frame_wh[0] > 400:  # a spot must stay visible
        image = cv2.GaussianBlur(image, (0, 0), 4)
        image = np.clip((image.astype(float) - PAD_VALUE) * 2 + PAD_VALUE, 0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "frame.png"), image)
    pictures = PictureCache()
    sample = pictures.sample(LabelledImage(tmp_path / "frame.png", xy, ""), (192, 160))
    augmentation = Augmentation(CROP_WH, 180.0, flip_order)
    measured, mirrored = 0, 0
    for seed in range(60):
        view, found = random_view(
            pictures.source(sample), sample.xy_px, sample.to_model, augmentation, np.random.default_rng(seed)
        )
        assert view.shape == (CROP_WH[1], CROP_WH[0], 3)
        # In every view, the animal's left is on its left side; seen from above, it follows the nose clockwise.
        (ax, ay), (bx, by) = found[LEFT] - found[NOSE], found[RIGHT] - found[NOSE]
        assert ax * by - ay * bx < 0
        for keypoint in range(3):
            if not well_inside(found[keypoint], CROP_WH):
                continue
            spot, height = find_spot(view, found[keypoint])
            if abs(height) < 40:  # the light hides it
                continue
            np.testing.assert_allclose(spot, found[keypoint], atol=TOLERANCE_PX)
            measured += 1
            mirrored += (keypoint == LEFT and height > 0) or (keypoint == RIGHT and height < 0)
    assert measured > 40
    assert (mirrored > 10) == (flip_order is not None)


def test_a_large_frame_is_reduced_by_areas_and_a_small_one_is_not_changed():
    """Stripes of one pixel become grey; a warp that samples points would show some of them."""
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::2] = 254
    source, matrix = source_of(stripes, FrameMap.fit((640, 480), (160, 128), "letterbox"), 1.0)
    assert source.shape[1] < 640
    assert np.ptp(source) < 100
    assert matrix[0, 0] == source.shape[1] / 640
    same, identity = source_of(stripes, FrameMap.fit((640, 480), (640, 480), "letterbox"), 1.0)
    assert same is stripes
    np.testing.assert_array_equal(identity, np.eye(3))


def test_the_picture_keeps_the_detail_that_a_window_shows():
    frame_map, image = FrameMap.fit((640, 480), (160, 128), "letterbox"), np.zeros((480, 640, 3), np.uint8)
    assert [source_of(image, frame_map, zoom)[0].shape[1] for zoom in (1.0, 1.5, 3.0)] == [240, 360, 640]


def test_half_of_the_views_are_as_large_as_a_window_shows_them():
    """The animal's length in the view is 1 or `zoom` times its own length, a quarter more or less."""
    xy, image = np.array([[40.0, 50.0], [60.0, 50.0]]), np.zeros((100, 100, 3), np.uint8)
    augmentation = Augmentation(CROP_WH, 180.0, None, zoom=3.0)
    views = [random_view(image, xy, np.eye(3), augmentation, np.random.default_rng(seed))[1] for seed in range(200)]
    larger = np.array([np.linalg.norm(found[1] - found[0]) / 20 for found in views])
    followed = larger > 2
    assert 70 < followed.sum() < 130
    assert ((larger[~followed] > 0.79) & (larger[~followed] < 1.26)).all()
    assert ((larger[followed] > 3 * 0.79) & (larger[followed] < 3 * 1.26)).all()


def test_unlabelled_stays_unlabelled_on_the_right_side():
    xy = np.array([[50.0, 50.0], [np.nan, np.nan], [60.0, 60.0]])
    image = np.zeros((100, 100, 3), np.uint8)
    augmentation, unlabelled = Augmentation(CROP_WH, 30.0, FLIP_ORDER), set()
    for seed in range(20):
        _, found = random_view(image, xy, np.eye(3), augmentation, np.random.default_rng(seed))
        assert np.isnan(found).all(axis=1).sum() == 1
        unlabelled.add(int(np.isnan(found[:, 0]).argmax()))
    assert unlabelled == {LEFT, RIGHT}


def test_a_frame_without_any_label_still_gives_views():
    augmentation = Augmentation(CROP_WH, 30.0, None)
    view, xy = random_view(np.zeros((50, 60, 3), np.uint8), np.full((3, 2), np.nan), np.eye(3), augmentation, rng())
    assert view.shape == (80, 96, 3)
    assert np.isnan(xy).all()


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_view_is_a_function_of_its_generator_and_does_not_change_the_image():
    image = rng().integers(0, 256, (100, 120, 3), np.uint8)
    before, xy = image.copy(), np.array([[40.0, 30.0]])
    augmentation = Augmentation(CROP_WH, 180.0, None)
    first, second = (random_view(image, xy, np.eye(3), augmentation, rng()) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(image, before)


def test_light_changes_but_never_shape_or_type():
    view, random = rng().integers(0, 256, (40, 50, 3), np.uint8), np.random.default_rng(1)
    changed = [photometric(view, random) for _ in range(50)]
    assert all(one.shape == view.shape and one.dtype == np.uint8 for one in changed)
    assert all(not np.array_equal(one, view) for one in changed)


def animals(angles_deg) -> np.ndarray:
    """Returns labels (N, 3, 2) of animals with these orientations."""
    body = np.array([[30.0, 0], [0, 3], [-30, 0]])
    turns = [np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in np.deg2rad(angles_deg)]
    return np.array([body @ turn + 100 for turn in turns])


def test_animals_of_every_orientation_may_be_turned_by_any_angle():
    assert turn_range_deg(animals(rng().uniform(0, 360, 50))) == 180


def test_animals_of_one_orientation_may_only_be_turned_a_little():
    assert turn_range_deg(animals(rng().normal(30, 10, 50))) < 90


def test_unlabelled_keypoints_do_not_count_for_the_orientation():
    """They also cause no warning, which would be an error here."""
    labels = animals(rng().uniform(0, 360, 50))
    labels[:, 2] = np.nan
    assert turn_range_deg(labels) == 180
    labels[2:, 1] = np.nan
    assert turn_range_deg(labels) < 90
    assert turn_range_deg(np.full((5, 3, 2), np.nan)) < 90
    assert turn_range_deg(labels[:, :1]) < 90
