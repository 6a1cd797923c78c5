"""The training loop: random views in, a trained float network out. Knows nothing of files but its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgepose.core.geometry import FrameMap
from edgepose.core.heatmap import FLOAT, Targets, decode, render
from edgepose.core.types import F32, F64, U8
from edgepose_train.augment import Augmentation, Matrix, random_view, source_of

HEATMAP_WEIGHT = 20.0  # cells count 1 + 20 * target: unweighted, rare keypoints stay unlearnt for hundreds of steps
OFFSET_WEIGHT = 1.0
EMA_DECAY = 0.995


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled image ready for training. image: RGB, at most slightly larger than the model sees it.
    to_model: from its pixels to the model's input. frame_xy: the labels in the frame's own pixels."""

    image: U8
    xy_px: F64
    to_model: Matrix
    frame_map: FrameMap
    frame_xy: F64
    fitted: U8


@dataclass(frozen=True, slots=True)
class Plan:
    steps: int
    batch: int
    learning_rate: float
    stride: int
    offset_scale: float
    sigma_px: float
    seed: int
    check_every: int


def make_sample(image: U8, frame_xy: F64, frame_map: FrameMap) -> Sample:
    source, to_source = source_of(image, frame_map)
    fitted = np.empty((frame_map.input_wh[1], frame_map.input_wh[0], 3), np.uint8)
    frame_map.resize(image, fitted)
    xy = frame_xy @ to_source[:2, :2].T + to_source[:2, 2]
    return Sample(source, xy, frame_map.matrix() @ np.linalg.inv(to_source), frame_map, frame_xy, fitted)


def batches(samples: list[Sample], how: Augmentation, plan: Plan, start: int) -> Iterator[tuple[Any, ...]]:
    """Batches from step `start` on; each is a function of (seed, step) alone, so a resumed run goes on exactly."""
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(_batch, samples, how, plan, step) for step in range(start, min(start + 4, plan.steps))]
        for step in range(start, plan.steps):
            if step + 4 < plan.steps:
                ahead.append(pool.submit(_batch, samples, how, plan, step + 4))
            yield ahead.pop(0).result()


def _batch(samples: list[Sample], how: Augmentation, plan: Plan, step: int) -> tuple[Any, ...]:
    rng = np.random.default_rng([plan.seed, 1, step])
    w, h = how.crop_wh
    map_hw = (h // plan.stride, w // plan.stride)
    views, targets = [], []
    for place in range(step * plan.batch, (step + 1) * plan.batch):
        epoch, turn = divmod(place, len(samples))
        order = np.random.default_rng([plan.seed, 2, epoch]).permutation(len(samples))
        sample = samples[order[turn]]
        view, xy = random_view(sample.image, sample.xy_px, sample.to_model, how, rng)
        views.append(view)
        targets.append(render(xy, map_hw, plan.stride, plan.offset_scale, plan.sigma_px))
    return np.stack(views), *(np.stack([getattr(t, name) for t in targets]) for name in Targets.__slots__)


def to_input(views: Any) -> Any:
    """uint8 pixels to the network's -1..1."""
    return tf.cast(views, tf.float32) / 127.5 - 1.0


def losses(out: dict[str, Any], heatmap: Any, offset: Any, near: Any, known: Any) -> tuple[Any, Any]:
    """Heatmap and offset loss; an unlabelled keypoint counts in neither, because it is unknown, not absent."""
    known = known[:, None, None, :]
    weight = (1.0 + HEATMAP_WEIGHT * heatmap) * known
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(heatmap, out["heatmap"])
    # The entropy of the soft target itself is no error: subtracted, a perfect network has loss 0.
    floor = tf.nn.sigmoid_cross_entropy_with_logits(heatmap, tf.math.log(heatmap + 1e-6) - tf.math.log(1 - heatmap + 1e-6))
    cells = tf.cast(tf.size(heatmap[0, :, :, 0]), tf.float32)
    heat = tf.reduce_sum((entropy - floor) * weight) / (tf.reduce_sum(known) * cells / 10.0 + 1e-6)
    mask = tf.repeat(near * known * (0.1 + heatmap), 2, axis=-1)
    error = tf.abs(out["offset"] - offset)
    huber = tf.where(error < 0.1, 5.0 * error**2, error - 0.05)
    return heat, tf.reduce_sum(huber * mask) / (tf.reduce_sum(mask) + 1e-6)


def predict(model: keras.Model, samples: list[Sample], plan: Plan) -> list[tuple[F64, F64]]:
    """Float poses of whole frames: ((K, 2) frame pixels, (K,) scores) each."""
    found = []
    for sample in samples:
        out = model(to_input(sample.fitted[None]), training=False)
        xy, score = decode(out["heatmap"].numpy()[0], out["offset"].numpy()[0], plan.stride, plan.offset_scale, FLOAT)
        found.append((sample.frame_map.to_frame(xy), score))
    return found


def errors_px(found: list[tuple[F64, F64]], samples: list[Sample]) -> F64:
    """Euclidean error per frame and keypoint (N, K), frame pixels; NaN where there is no label."""
    return np.array([np.linalg.norm(xy - s.frame_xy, axis=1) for (xy, _), s in zip(found, samples, strict=True)])
