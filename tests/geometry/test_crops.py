"""Regions that are cut out of frames, and windows that are placed in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.geometry.crops import crop, place_window
from edgepose.geometry.letterbox import FrameMap
from edgepose.types import Frame

FRAME_WH = (320, 240)
sides = st.integers(16, 300)


@st.composite
def regions(draw, frame_wh) -> tuple[int, int, int, int]:
    x, y = (draw(st.integers(0, side - 8)) for side in frame_wh)
    return x, y, draw(st.integers(8, frame_wh[0] - x)), draw(st.integers(8, frame_wh[1] - y))


@settings(deadline=None)
@given(st.data(), st.tuples(sides, sides), st.sampled_from(["letterbox", "stretch"]), st.floats(1, 3), st.floats(1, 3))
def test_a_parts_poses_are_the_whole_frames(data, image_wh, mode, wider, taller):
    """Points go through the crop into the model's input and back, letterboxed or stretched, also of smaller images."""
    frame_wh = (round(image_wh[0] * wider), round(image_wh[1] * taller))
    frame = Frame(np.zeros((*image_wh[::-1], 3), np.uint8), "bgr", 0, 0, 0, field_wh=frame_wh)
    region = data.draw(regions(frame_wh))
    part = crop(frame, region)
    own = np.array([[0.0, 0.0], [3.25, 5.5]], np.float32)
    model = FrameMap.fit(part.frame.size_wh, (96, 80), mode)
    np.testing.assert_allclose(model.to_frame(model.to_model(own)), own, atol=1e-4)
    # The same mapping by way of the image's pixels: the crop's corner in the image, and the image's scale.
    h, w = part.frame.image.shape[:2]
    smaller = np.array(image_wh) / frame_wh
    corner = np.floor(region[:2] * smaller + 1e-9)
    in_image = (own + 0.5) * (np.array([w, h]) / part.frame.size_wh) - 0.5 + corner
    np.testing.assert_allclose(part.to_whole(own), (in_image + 0.5) / smaller - 0.5, atol=1e-3)
    far = np.array(part.frame.size_wh) - 0.5  # all of the region is in the part
    assert (part.to_whole(np.array([-0.5, -0.5])) <= np.array(region[:2]) - 0.5 + 1e-3).all()
    assert (part.to_whole(far) >= np.array(region[:2]) + region[2:] - 0.5 - 1e-3).all()


def test_planes_are_cropped_with_their_colours():
    rng = np.random.default_rng(0)
    luma, u, v = (rng.integers(0, 256, shape, np.uint8) for shape in [(48, 64), (24, 32), (24, 32)])
    planes = np.concatenate([luma.ravel(), u.ravel(), v.ravel()]).reshape(72, 64)
    part = crop(Frame(planes, "i420", 7, 1, 2), (11, 7, 20, 13)).frame.image  # the two pixels of a colour stay together
    expected = [luma[6:20, 10:32], u[3:10, 5:16], v[3:10, 5:16]]
    np.testing.assert_array_equal(part, np.concatenate([plane.ravel() for plane in expected]).reshape(21, 22))


@settings(deadline=None)
@given(st.data())
def test_a_window_lies_in_the_field_round_the_box(data):
    field = data.draw(regions(FRAME_WH))
    size_wh = data.draw(st.tuples(sides, sides))
    low = np.array([data.draw(st.floats(-50, 350)), data.draw(st.floats(-50, 300))])
    high = low + np.array([data.draw(st.floats(0, 60)), data.draw(st.floats(0, 60))])
    x, y, w, h = window = place_window(low, high, field, size_wh)
    assert (w, h) == (min(size_wh[0], field[2]), min(size_wh[1], field[3]))
    assert field[0] <= x <= x + w <= field[0] + field[2]
    assert field[1] <= y <= y + h <= field[1] + field[3]
    assert place_window(low, high, field, size_wh, window) == window  # nothing has moved
    for axis in (0, 1):
        middle, first, side = (low[axis] + high[axis]) / 2, window[axis], window[2 + axis]
        if field[axis] < first < field[axis] + field[2 + axis] - side:
            assert middle == pytest.approx(first + (side - 1) / 2, abs=0.51)


def test_a_window_stays_until_the_animal_comes_near_its_border():
    field, size_wh = (0, 0, *FRAME_WH), (100, 80)
    window = place_window(np.array([140.0, 110]), np.array([170.0, 120]), field, size_wh)
    near = [
        place_window(np.array([140.0 + x, 110]), np.array([170.0 + x, 120]), field, size_wh, window) for x in range(60)
    ]
    moves = [i for i in range(1, 60) if near[i] != near[0]]
    assert moves[0] == 24  # the box is 12 px, of 100, from the border
    assert near[24] == place_window(np.array([164.0, 110]), np.array([194.0, 120]), field, size_wh)
    assert {window[1] for window in near} == {window[1]}  # the other axis has no reason to move
