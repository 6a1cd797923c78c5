"""The training loop: random views in, a trained float network out. Knows nothing of files but its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgepose.core.geometry import FrameMap
from edgepose.core.heatmap import FLOAT, Targets, decode, render
from edgepose.core.types import F64, U8
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
    seed: int

    @property
    def sigma_px(self) -> float:
        """Of the heatmap's Gaussian, in model pixels: one cell, so that the peak's neighbours still differ."""
        return float(self.stride)

    @property
    def offset_scale(self) -> float:
        """Two cells: the peak may be a cell beside the right one, and its offset still leads home. Decoding asks
        the offsets only at the map's edge; in training they teach the trunk to place keypoints finely."""
        return 2.0 * self.stride


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
    floor = tf.nn.sigmoid_cross_entropy_with_logits(
        heatmap, tf.math.log(heatmap + 1e-6) - tf.math.log(1 - heatmap + 1e-6)
    )
    cells = tf.cast(tf.size(heatmap[0, :, :, 0]), tf.float32)
    heat = tf.reduce_sum((entropy - floor) * weight) / (tf.reduce_sum(known) * cells / 10.0 + 1e-6)
    mask = tf.repeat(near * known * (0.1 + heatmap), 2, axis=-1)
    error = tf.abs(out["offset"] - offset)
    huber = tf.where(error < 0.1, 5.0 * error**2, error - 0.05)
    return heat, tf.reduce_sum(huber * mask) / (tf.reduce_sum(mask) + 1e-6)


class Trainer:
    """The network in training, its optimizer, and the running average of its weights, which is what ships."""

    def __init__(self, model: keras.Model, plan: Plan) -> None:
        self.model, self.plan = model, plan
        warmup = min(200, plan.steps // 5)
        schedule = keras.optimizers.schedules.CosineDecay(
            plan.learning_rate / 20,
            max(1, plan.steps - warmup),
            alpha=0.01,
            warmup_target=plan.learning_rate,
            warmup_steps=warmup,
        )
        self.optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4, clipnorm=5.0)
        self._variables = model.trainable_variables
        self.optimizer.build(self._variables)
        self._average = [tf.Variable(variable) for variable in self._variables]
        self.step = tf.function(self._step)

    @property
    def steps_done(self) -> int:
        return int(self.optimizer.iterations)

    def _step(self, views: Any, *targets: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            heat, offset = losses(self.model(to_input(views), training=True), *targets)
            loss = heat + OFFSET_WEIGHT * offset
        self.optimizer.apply_gradients(zip(tape.gradient(loss, self._variables), self._variables, strict=True))
        done = tf.cast(self.optimizer.iterations, tf.float32)
        decay = tf.minimum(EMA_DECAY, (1.0 + done) / (10.0 + done))
        for average, variable in zip(self._average, self._variables, strict=True):
            average.assign(average * decay + (1.0 - decay) * variable)
        return heat, offset

    def averaged_weights(self) -> list[Any]:
        """As `model.get_weights()`, the trained ones replaced by their running average."""
        averages = {id(v): a.numpy() for v, a in zip(self._variables, self._average, strict=True)}
        return [averages[id(v)] if id(v) in averages else v.numpy() for v in self.model.weights]

    def state(self) -> dict[str, list[Any]]:
        return {
            "model": self.model.get_weights(),
            "average": [v.numpy() for v in self._average],
            "optimizer": [v.numpy() for v in self.optimizer.variables],
        }

    def restore(self, state: dict[str, list[Any]]) -> None:
        self.model.set_weights(state["model"])
        for variables, values in (
            (self._average, state["average"]),
            (self.optimizer.variables, state["optimizer"]),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)


class Predictor:
    """The same weights at the size of the model's input: float poses of whole frames."""

    def __init__(self, model: keras.Model, plan: Plan) -> None:
        self.model, self.plan = model, plan
        self._call = tf.function(lambda pictures: model(to_input(pictures), training=False))

    def errors_px(self, samples: list[Sample]) -> F64:
        """Euclidean error per frame and keypoint (N, K), frame pixels; NaN where there is no label."""
        rows = []
        for sample in samples:
            out = self._call(tf.constant(sample.fitted[None]))
            heatmap, offset = out["heatmap"].numpy()[0], out["offset"].numpy()[0]
            xy, _ = decode(heatmap, offset, self.plan.stride, self.plan.offset_scale, FLOAT)
            rows.append(np.linalg.norm(sample.frame_map.to_frame(xy) - sample.frame_xy, axis=1))
        return np.array(rows)
