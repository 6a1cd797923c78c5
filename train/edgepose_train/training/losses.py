"""Computes the losses that training minimises. An unlabelled keypoint is unknown, not absent, so no loss counts it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

HEATMAP_WEIGHT = 20.0  # a cell counts 1 + 20 * target; without it, rare keypoints are not learnt for hundreds of steps
OFFSET_WEIGHT = 0.5
POSITION_WEIGHT = 0.3
# The second difference of a peak's log-probabilities, per cell squared: -1 for a Gaussian with a sigma of one cell. A
# flatter peak than this is treated as if it had this value.
_FLATTEST = -0.25
_FURTHEST = 1.5  # cells; a parabola whose top is further away does not fit the peak


def losses(out: dict[str, Any], targets: tuple[Any, Any, Any, Any], offset_cells: float) -> Any:
    """Returns the weighted losses of heatmap, offset and position, (3,).

    Args:
        out: the network's outputs: "heatmap" logits (N, h, w, K) and "offset" (N, h, w, 2K).
        targets: the stacked fields of `edgepose.pose.heatmap.Targets`: heatmap (N, h, w, K), offset (N, h, w, 2K),
            offset mask (N, h, w, K), and which keypoints are known, (N, K).
        offset_cells: the number of cells that an offset of 1.0 stands for.
    """
    heatmap, offset, near, known = targets
    known = known[:, None, None, :]
    error = tf.abs(out["offset"] - offset)
    huber = tf.where(error < 0.1, 5.0 * error**2, error - 0.05)
    mask = tf.repeat(near * known * (0.1 + heatmap), 2, axis=-1)
    return tf.stack(
        [
            _heatmap_loss(out["heatmap"], heatmap, known),
            OFFSET_WEIGHT * _mean(huber, mask),
            POSITION_WEIGHT * _position_loss(out["heatmap"], heatmap, offset * offset_cells, known),
        ]
    )


def _heatmap_loss(logits: Any, heatmap: Any, known: Any) -> Any:
    weight = (1.0 + HEATMAP_WEIGHT * heatmap) * known
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(heatmap, logits)
    # The entropy of the soft target itself is no error. It is subtracted, so that a perfect network has a loss of 0.
    floor = tf.nn.sigmoid_cross_entropy_with_logits(
        heatmap, tf.math.log(heatmap + 1e-6) - tf.math.log(1 - heatmap + 1e-6)
    )
    cells = tf.cast(tf.size(heatmap[0, :, :, 0]), tf.float32)
    return tf.reduce_sum((entropy - floor) * weight) / (tf.reduce_sum(known) * cells / 10.0 + 1e-6)


def _position_loss(logits: Any, heatmap: Any, to_keypoint: Any, known: Any) -> Any:
    """Returns the mean distance in cells between label and what `decode` finds, if the peak is in the right cell.

    The cross-entropy trains the height of every cell, but not where between the cells the top lies. That distance is
    the error that is reported, so it is trained too. The fit is that of `decode`: a parabola through 3 x 3
    log-probabilities. Keypoints at the map's edge are left out. `to_keypoint` (N, h, w, 2K) has the cells from each
    cell to the keypoint near it.
    """
    top = tf.reduce_max(heatmap, axis=(1, 2), keepdims=True)
    peak = tf.cast((heatmap >= top) & (heatmap > 0.7), tf.float32) * known
    log_p = tf.math.log_sigmoid(logits)
    columns = (log_p[:, :-2] + log_p[:, 1:-1] + log_p[:, 2:]) / 3.0
    rows = (log_p[:, :, :-2] + log_p[:, :, 1:-1] + log_p[:, :, 2:]) / 3.0
    x = _top(columns[:, :, :-2], columns[:, :, 1:-1], columns[:, :, 2:])
    y = _top(rows[:, :-2], rows[:, 1:-1], rows[:, 2:])
    wanted = to_keypoint[:, 1:-1, 1:-1]
    squared = (x - wanted[..., 0::2]) ** 2 + (y - wanted[..., 1::2]) ** 2
    return _mean(tf.sqrt(squared + 1e-4), peak[:, 1:-1, 1:-1])


def _top(before: Any, middle: Any, after: Any) -> Any:
    """Returns how many cells from the middle the parabola through three neighbouring values has its top."""
    bend = tf.minimum(after + before - 2.0 * middle, _FLATTEST)
    return tf.clip_by_value((before - after) / (2.0 * bend), -_FURTHEST, _FURTHEST)


def _mean(values: Any, weight: Any) -> Any:
    return tf.reduce_sum(values * weight) / (tf.reduce_sum(weight) + 1e-6)
