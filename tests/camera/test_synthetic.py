"""The synthetic mouse: known keypoints, one picture for one frame number, and where the truth says."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from fakes import card
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.camera import open_camera
from edgepose.camera.synthetic.camera import SyntheticSource
from edgepose.camera.synthetic.mouse import LOOP_FRAMES, SKELETON, Mouse
from edgepose.camera.synthetic.scene import Scene, coverage
from edgepose.config import camera as camera_config

SIZE_WH = (320, 240)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(1, SIZE_WH)


def test_truth_is_a_function_of_seed_and_frame_alone(scene):
    again = Mouse(1, SIZE_WH)
    for index in (0, 7, 500, LOOP_FRAMES + 7):
        np.testing.assert_array_equal(again.truth(index), scene.mouse.truth(index))
    np.testing.assert_array_equal(again.truth(7), again.truth(LOOP_FRAMES + 7))
    assert not np.allclose(again.truth(7), Mouse(2, SIZE_WH).truth(7))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(-(2**40), 2**40), w=st.integers(64, 900), h=st.integers(64, 900))
def test_keypoints_stay_in_the_picture_and_in_place(seed, w, h):
    mouse = Mouse(seed, (w, h))
    truth = np.stack([mouse.truth(i) for i in range(LOOP_FRAMES)])
    assert truth.dtype == np.float64
    assert truth.shape == (LOOP_FRAMES, len(SKELETON.keypoints), 2)
    assert (truth >= 0).all()
    assert (truth <= [w - 1, h - 1]).all()
    snout, left, right, tail = truth.transpose(1, 0, 2)
    forward, across = snout - (left + right) / 2, right - left
    # y points down: the right ear lies clockwise of where the head points.
    assert (forward[:, 0] * across[:, 1] - forward[:, 1] * across[:, 0] > 0).all()
    stretch = np.linalg.norm(snout - tail, axis=1) / mouse.length_px
    assert (stretch > 0.55).all()
    assert (stretch < 1.05).all()


@pytest.mark.parametrize("seed", range(6))
def test_moves_smoothly_also_where_the_loop_closes(seed):
    mouse = Mouse(seed, SIZE_WH)
    truth = np.stack([mouse.truth(i) for i in range(LOOP_FRAMES + 1)])
    step = np.linalg.norm(np.diff(truth, axis=0), axis=2) / mouse.length_px
    assert step.max() < 0.25


def test_a_picture_is_reproducible_and_its_own(scene):
    picture = scene.render(40)
    assert (picture.shape, picture.dtype) == ((240, 320, 3), np.uint8)
    np.testing.assert_array_equal(picture, Scene(1, SIZE_WH).render(40))
    kept = picture.copy()
    scene.render(41)
    np.testing.assert_array_equal(picture, kept)


def test_the_mouse_is_painted_where_the_truth_says(scene):
    """The dark body's centre of mass in the picture lies on that of its outline; tail and shadow pull a little."""
    empty = np.median([scene.render(i) for i in range(0, LOOP_FRAMES, 90)], axis=0)
    for index in (45, 345, 1245):
        shape = scene.mouse.shape(index)
        dark = (scene.render(index).astype(float) < 0.45 * empty).all(axis=2)
        count, _, stats, centres = cv2.connectedComponentsWithStats(dark.astype(np.uint8))
        assert count > 1
        found = centres[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
        moments = cv2.moments(shape.body.astype(np.float32))
        expected = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
        assert np.linalg.norm(found - expected) < 1.0


@settings(deadline=None)
@given(x=st.floats(20, 28), y=st.floats(20, 28), blur=st.sampled_from([0.0, 1.5]))
def test_polygons_are_painted_to_a_tenth_of_a_pixel(x, y, blur):
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    covered = coverage([np.stack([x + 9 * np.cos(turn), y + 7 * np.sin(turn)], axis=1)], (50, 50), blur)
    moments = cv2.moments(covered)
    assert abs(moments["m10"] / moments["m00"] - x) < 0.1
    assert abs(moments["m01"] / moments["m00"] - y) < 0.1


@pytest.mark.parametrize("size_wh", [(64, 64), (97, 64), (200, 1100)])
def test_any_size_can_be_painted(size_wh):
    scene = Scene(3, size_wh)
    for index in range(0, LOOP_FRAMES, 150):
        assert scene.render(index).shape == (size_wh[1], size_wh[0], 3)


def test_camera_counts_frames_and_shows_the_scene_of_each():
    camera = open_camera(camera_config.SyntheticCameraConfig(size_wh=(96, 64), rate_hz=500, seed=5), card().input)
    assert isinstance(camera, SyntheticSource)
    assert camera.live
    frames = [camera.read() for _ in range(4)]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    np.testing.assert_array_equal(frames[2].image, Scene(5, (96, 64)).render(2))
    stamps = [frame.captured_mono_ns for frame in frames]
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] >= 3 / 500 * 1e9 * 0.9


def test_close_ends_a_waiting_read():
    camera = SyntheticSource(seed=0, size_wh=(64, 64), rate_hz=0.01)
    assert camera.read() is not None
    found = []
    reader = threading.Thread(target=lambda: found.append(camera.read()))
    reader.start()
    camera.close()
    reader.join(5)
    assert found == [None]
