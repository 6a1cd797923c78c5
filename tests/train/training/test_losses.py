"""The losses: an unlabelled keypoint is unknown, and the position that is trained is the one that `decode` finds."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf  # noqa: TID251

from edgepose.pose.heatmap import FLOAT, decode, render
from edgepose_train.training.losses import POSITION_WEIGHT, losses

pytestmark = pytest.mark.usefixtures("eagerly")
STRIDE, OFFSET_SCALE, SIGMA_PX, MAP_HW = 8, 16.0, 8.0, (6, 8)
OFFSET_CELLS = OFFSET_SCALE / STRIDE


def targets(xy):
    found = render(xy, MAP_HW, STRIDE, OFFSET_SCALE, SIGMA_PX)
    return [array[None] for array in (found.heatmap, found.offset, found.offset_mask, found.known)]


def logits(p):
    p = np.clip(np.asarray(p, np.float64), 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p)).astype(np.float32)


def gradients(out, wanted, parts=slice(None)):
    out = {name: tf.Variable(value) for name, value in out.items()}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(losses(out, wanted, OFFSET_CELLS)[parts])
    found = tape.gradient(loss, out, unconnected_gradients="zero")
    return float(loss), {name: value.numpy() for name, value in found.items()}


def test_an_unlabelled_keypoint_is_unknown_not_absent():
    """The network's output for it changes neither loss nor weights; that for the others does."""
    wanted = targets([[20.0, 20], [np.nan, np.nan], [40, 30]])
    random = np.random.default_rng(0)
    out = {"heatmap": random.normal(0, 3, (1, 6, 8, 3)), "offset": random.normal(0, 1, (1, 6, 8, 6))}
    out = {name: value.astype(np.float32) for name, value in out.items()}
    loss, gradient = gradients(out, wanted)
    assert np.isfinite(loss)
    assert not gradient["heatmap"][..., 1].any()
    assert not gradient["offset"][..., 2:4].any()
    assert all(gradient["heatmap"][..., k].any() for k in (0, 2))
    out["heatmap"][..., 1] = 50
    out["offset"][..., 2:4] = -50
    assert gradients(out, wanted)[0] == loss


def test_a_keypoint_outside_the_view_is_known_absent():
    wanted = targets([[20.0, 20], [-500, -500], [40, 30]])
    _, gradient = gradients({"heatmap": np.zeros((1, 6, 8, 3), "f4"), "offset": np.zeros((1, 6, 8, 6), "f4")}, wanted)
    assert (gradient["heatmap"][..., 1] > 0).all()
    assert not gradient["offset"][..., 2:4].any()


def test_a_view_without_any_label_costs_nothing():
    wanted = targets(np.full((3, 2), np.nan))
    loss, gradient = gradients({"heatmap": np.ones((1, 6, 8, 3), "f4"), "offset": np.ones((1, 6, 8, 6), "f4")}, wanted)
    assert loss == 0
    assert not any(value.any() for value in gradient.values())


def test_a_perfect_network_has_no_loss():
    wanted = targets([[20.0, 20], [31.5, 12], [40, 30]])
    perfect = {"heatmap": logits(wanted[0]), "offset": wanted[1]}
    heat, offset, position = losses(perfect, wanted, OFFSET_CELLS).numpy()
    assert abs(heat) < 1e-3
    assert offset == 0
    assert position < 0.03  # 0.01 of it keeps the root's gradient finite
    worse = losses(perfect | {"heatmap": perfect["heatmap"] + 1}, wanted, OFFSET_CELLS).numpy()
    assert worse[0] > 0.01


@pytest.mark.parametrize("shift_px", [(3.0, 0.0), (0.0, -3.0), (-2.0, 2.0)])
def test_the_position_loss_is_the_error_of_decode(shift_px):
    """The peak is in the right cell, but at the wrong place in it; the error is in cells."""
    label = np.array([[28.0, 19.5]])  # the centre of a cell is at 27.5, 19.5
    wanted = targets(label)
    drawn = render(label + shift_px, MAP_HW, STRIDE, OFFSET_SCALE, SIGMA_PX)
    heatmap, offset = logits(drawn.heatmap * 0.9), np.zeros((*MAP_HW, 2), np.float32)
    xy, _ = decode(heatmap, offset, STRIDE, OFFSET_SCALE, FLOAT)
    error_cells = np.linalg.norm(xy[0] - label[0]) / STRIDE
    position = losses({"heatmap": heatmap[None], "offset": offset[None]}, wanted, OFFSET_CELLS).numpy()[2]
    assert 0.2 < error_cells < 0.5
    assert position == pytest.approx(POSITION_WEIGHT * error_cells, abs=0.01)


def test_its_gradient_moves_what_decode_finds_towards_the_label():
    label = np.array([[28.0, 19.5]])
    wanted = targets(label)
    heatmap = logits(render(label + 3.0, MAP_HW, STRIDE, OFFSET_SCALE, SIGMA_PX).heatmap * 0.9)[None]
    offset = np.zeros((1, *MAP_HW, 2), np.float32)

    def error(values):
        xy, _ = decode(values[0], offset[0], STRIDE, OFFSET_SCALE, FLOAT)
        return float(np.linalg.norm(xy[0] - label[0]))

    errors = [error(heatmap)]
    for _ in range(40):
        _, gradient = gradients({"heatmap": heatmap, "offset": offset}, wanted, parts=slice(2, 3))
        assert not gradient["offset"].any()
        heatmap = heatmap - gradient["heatmap"]
        errors.append(error(heatmap))
    assert errors[10] < errors[0]
    assert errors[-1] < 0.2 * errors[0]
