"""The coordinate rule: every mapping has its inverse, and pixels move as coordinates do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.geometry.coordinates import cell_to_px, lies_within, px_to_cell
from edgepose.geometry.letterbox import PAD_VALUE, FrameMap

sides = st.integers(16, 2000)
sizes = st.tuples(sides, sides)
coordinates = st.floats(-3000, 3000)
modes = st.sampled_from(["letterbox", "stretch"])


@given(coordinates, st.integers(1, 32))
def test_px_to_cell_undoes_cell_to_px(cell, stride):
    assert px_to_cell(cell_to_px(cell, stride), stride) == pytest.approx(cell, abs=1e-9)


@given(st.integers(1, 16), st.integers(1, 100))
def test_cells_tile_the_input(stride, cells):
    """The centres' mean is the picture's centre: no side is favoured."""
    centres = cell_to_px(np.arange(cells, dtype=np.float64), stride)
    assert centres.mean() == pytest.approx((cells * stride - 1) / 2)
    assert centres[0] == (stride - 1) / 2


@given(sizes, sizes, modes, st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=5))
def test_to_frame_undoes_to_model(frame_wh, input_wh, mode, xy):
    frame_map = FrameMap.fit(frame_wh, input_wh, mode)
    np.testing.assert_allclose(frame_map.to_frame(frame_map.to_model(xy)), xy, atol=1e-6)


@given(sizes, sizes, modes)
def test_outer_pixel_edges_map_to_outer_pixel_edges(frame_wh, input_wh, mode):
    """A frame covers exactly its resized area: its corners, half a pixel outside the corner pixels, land on it."""
    frame_map = FrameMap.fit(frame_wh, input_wh, mode)
    corners = frame_map.to_model([(-0.5, -0.5), (frame_wh[0] - 0.5, frame_wh[1] - 0.5)])
    low = np.array(frame_map.pad_xy)
    np.testing.assert_allclose(corners, [low - 0.5, low + frame_map.resized_wh - 0.5], atol=1e-6)


@given(sizes, sizes)
def test_letterbox_fills_one_side_and_keeps_the_aspect(frame_wh, input_wh):
    frame_map = FrameMap.fit(frame_wh, input_wh, "letterbox")
    assert any(a == b for a, b in zip(frame_map.resized_wh, input_wh, strict=True))
    exact = min(input_wh[0] / frame_wh[0], input_wh[1] / frame_wh[1])
    for resized, side, whole in zip(frame_map.resized_wh, frame_wh, input_wh, strict=True):
        assert 1 <= resized <= whole
        assert abs(resized - side * exact) <= 1


@settings(deadline=None)
@given(st.tuples(*[st.integers(400, 2000)] * 2), st.tuples(*[st.integers(64, 400)] * 2), modes, st.floats(1, 4))
def test_a_window_is_shown_so_many_times_as_large_as_the_frame(frame_wh, input_wh, mode, zoom):
    """Up to rounding, it has the proportions of the input, and fills the input unless the frame is too small."""
    whole = FrameMap.fit(frame_wh, input_wh, mode)
    window_wh = whole.window_wh(zoom)
    assert all(part <= side for part, side in zip(window_wh, frame_wh, strict=True))
    window = FrameMap.fit(window_wh, input_wh, mode)
    rounding = 1 / min(window_wh) + 1 / min(window.resized_wh) + 1 / min(whole.resized_wh)
    if window_wh != frame_wh:
        np.testing.assert_allclose(window.scale_xy, whole.scale_xy * zoom, rtol=2 * rounding)
    if all(part < side for part, side in zip(window_wh, frame_wh, strict=True)):
        np.testing.assert_allclose(window.resized_wh, input_wh, rtol=2 * rounding)


SHAPES = [
    ((640, 480), (320, 240)),  # half
    ((640, 480), (640, 480)),  # untouched
    ((640, 480), (256, 256)),  # padded above and below
    ((396, 406), (320, 240)),  # padded left and right
    ((832, 747), (320, 240)),  # odd scale
    ((160, 120), (320, 240)),  # enlarged
]


@pytest.mark.parametrize("mode", ["letterbox", "stretch"])
@pytest.mark.parametrize(("frame_wh", "input_wh"), SHAPES)
@pytest.mark.parametrize("at", [(0.2, 0.3), (0.5, 0.5), (0.87, 0.71)])
def test_resized_pixels_are_where_to_model_says(frame_wh, input_wh, mode, at):
    """A blob that is painted into the frame is found in the model's input within a twentieth of a pixel."""
    frame_map = FrameMap.fit(frame_wh, input_wh, mode)
    xy = (at[0] * frame_wh[0], at[1] * frame_wh[1])
    image = _blob(frame_wh, xy, radius=0.04 * min(frame_wh))
    out = np.full((input_wh[1], input_wh[0], 3), 255, np.uint8)
    frame_map.resize(np.repeat(image[..., None], 3, axis=2), out)
    (w, h), (x, y) = frame_map.resized_wh, frame_map.pad_xy
    inside = np.zeros(out.shape[:2], bool)
    inside[y : y + h, x : x + w] = True
    assert (out[~inside] == PAD_VALUE).all()
    weight = np.where(inside, out[..., 0], 0).astype(np.float64)
    rows, columns = np.indices(weight.shape)
    centroid = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    np.testing.assert_allclose(centroid, frame_map.to_model(xy), atol=0.05)


def test_grey_frames_resize_without_a_channel_axis():
    out = np.empty((24, 32), np.uint8)
    FrameMap.fit((64, 64), (32, 24), "letterbox").resize(np.full((64, 64), 9, np.uint8), out)
    assert (out[:, 4:28] == 9).all()
    assert (out[:, :4] == PAD_VALUE).all()


@pytest.mark.parametrize(
    ("region", "within"),
    [
        ((0, 0, 640, 480), True),
        ((320, 240, 320, 240), True),
        ((321, 240, 320, 240), False),
        ((320, 241, 320, 240), False),
        ((700, 0, 16, 16), False),
    ],
)
def test_a_region_is_within_the_frame_or_not(region, within):
    assert lies_within(region, (640, 480)) == within


def _blob(size_wh, xy, radius):
    columns, rows = np.arange(size_wh[0]), np.arange(size_wh[1])[:, None]
    squared = (columns - xy[0]) ** 2 + (rows - xy[1]) ** 2
    return np.round(250 * np.exp(-squared / (2 * radius**2))).astype(np.uint8)
