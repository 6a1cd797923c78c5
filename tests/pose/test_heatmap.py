"""render and decode are inverses, in float and in int8; an unlabelled keypoint is not the same as an absent one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.geometry.coordinates import cell_to_px
from edgepose.pose.heatmap import FLOAT, OutputQuantization, Quantization, decode, render

STRIDE, SCALE_PX, SIGMA_PX, MAP_HW = 8, 16.0, 8.0, (30, 40)
# What a network may output: logits of -10..10, offsets a little beyond -1..1.
INT8 = OutputQuantization(Quantization(20 / 255, 5), Quantization(2.4 / 255, -3))
inside = st.tuples(st.floats(0, MAP_HW[1] * STRIDE - 1), st.floats(0, MAP_HW[0] * STRIDE - 1))
points = st.lists(inside, min_size=1, max_size=6)


def logits(heatmap):
    p = np.clip(heatmap.astype(np.float64), 1e-12, 1 - 1e-7)
    return np.log(p) - np.log1p(-p)


def quantize(values, q):
    return np.clip(np.round(values / q.scale) + q.zero_point, -128, 127).astype(np.int8)


@given(points)
def test_decode_undoes_render(xy):
    targets = render(xy, MAP_HW, STRIDE, SCALE_PX, SIGMA_PX)
    found, score = decode(logits(targets.heatmap), targets.offset, STRIDE, SCALE_PX, FLOAT)
    np.testing.assert_allclose(found, xy, atol=1e-4)
    # The peak is at most half a cell away on either axis.
    assert (score >= np.exp(-(2 * (STRIDE / 2) ** 2) / (2 * SIGMA_PX**2)) - 1e-3).all()


@given(points)
def test_decode_undoes_render_through_int8(xy):
    """A step of these logits is 0.08, a fifteenth of what a cell changes, so that ties between cells do no harm."""
    targets = render(xy, MAP_HW, STRIDE, SCALE_PX, SIGMA_PX)
    found, _ = decode(
        quantize(logits(targets.heatmap), INT8.heatmap),
        quantize(targets.offset, INT8.offset),
        STRIDE,
        SCALE_PX,
        INT8,
    )
    np.testing.assert_allclose(found, xy, atol=0.05 * STRIDE)


@given(st.integers(2, 16), st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.floats(0, 1))
def test_decode_undoes_render_at_any_stride_and_map_size(stride, rows, columns, u, v):
    xy = [(u * (columns * stride - 1), v * (rows * stride - 1))]
    targets = render(xy, (rows, columns), stride, 2.0 * stride, float(stride))
    found, _ = decode(logits(targets.heatmap), targets.offset, stride, 2.0 * stride, FLOAT)
    np.testing.assert_allclose(found, xy, atol=1e-4)


def test_each_keypoint_has_its_own_channels():
    xy = np.array([[20.0, 30.0], [200.0, 100.0], [310.0, 230.0]])
    targets = render(xy, MAP_HW, STRIDE, SCALE_PX, SIGMA_PX)
    assert targets.heatmap.shape == (*MAP_HW, 3)
    assert targets.offset.shape == (*MAP_HW, 6)
    found, _ = decode(logits(targets.heatmap), targets.offset, STRIDE, SCALE_PX, FLOAT)
    np.testing.assert_allclose(found, xy, atol=1e-4)


def test_offset_points_from_the_cell_to_the_keypoint():
    targets = render([(33.0, 47.5)], MAP_HW, STRIDE, SCALE_PX, SIGMA_PX)
    rows, columns = np.nonzero(targets.offset_mask[..., 0])
    assert len(rows) > 4
    dx, dy = (targets.offset[rows, columns] * SCALE_PX).T
    np.testing.assert_allclose(cell_to_px(columns.astype(np.float64), STRIDE) + dx, 33.0, atol=1e-5)
    np.testing.assert_allclose(cell_to_px(rows.astype(np.float64), STRIDE) + dy, 47.5, atol=1e-5)
    assert np.abs(targets.offset).max() <= 1


def test_an_unlabelled_keypoint_is_unknown_and_one_outside_is_absent():
    targets = render([(np.nan, np.nan), (-500.0, 20.0), (50.0, np.nan)], MAP_HW, STRIDE, SCALE_PX, SIGMA_PX)
    assert targets.known.tolist() == [0, 1, 0]
    assert targets.heatmap.max() == pytest.approx(0, abs=1e-6)
    assert not targets.offset_mask.any()
    assert np.isfinite(targets.offset).all()


def test_score_is_the_sigmoid_of_the_peak():
    heatmap = np.full((3, 4, 1), -128, np.int8)
    heatmap[2, 1] = 5 + 13  # 13 steps above zero
    found, score = decode(heatmap, np.full((3, 4, 2), -3, np.int8), STRIDE, SCALE_PX, INT8)
    assert score[0] == pytest.approx(1 / (1 + np.exp(-13 * 20 / 255)))
    assert found.tolist() == [[cell_to_px(1.0, STRIDE), cell_to_px(2.0, STRIDE)]]


def test_at_the_edge_of_the_map_the_offset_leads():
    heatmap = np.full((5, 5, 1), -8.0)
    heatmap[0, 2] = 4.0
    offset = np.zeros((5, 5, 2))
    offset[0, 2] = 0.25, -0.5
    found, _ = decode(heatmap, offset, STRIDE, SCALE_PX, FLOAT)
    np.testing.assert_allclose(found, [(cell_to_px(2.0, STRIDE) + 4, cell_to_px(0.0, STRIDE) - 8)])
