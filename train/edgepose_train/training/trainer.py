"""The training loop: random views in, a trained float network out. Knows nothing of files but its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgepose.pose.heatmap import FLOAT, Targets, decode, render
from edgepose.types import F64
from edgepose_train.evaluation.metrics import Predictions
from edgepose_train.training.augment import Augmentation, random_view
from edgepose_train.training.losses import losses
from edgepose_train.training.samples import Pictures, Sample

EMA_DECAY = 0.995


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


@dataclass(frozen=True, slots=True)
class Views:
    """What is trained on, what the weights are chosen by, and how training views differ. taught: samples whose labels
    are a teacher's; where there are any, every second view is of one."""

    train: list[Sample]
    validation: list[Sample]
    how: Augmentation
    pictures: Pictures
    taught: list[Sample] = field(default_factory=list)


def batches(views: Views, plan: Plan, start: int) -> Iterator[tuple[Any, ...]]:
    """Batches from step `start` on; each is a function of (seed, step) alone, so a resumed run goes on exactly."""
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(_batch, views, plan, step) for step in range(start, min(start + 4, plan.steps))]
        for step in range(start, plan.steps):
            if step + 4 < plan.steps:
                ahead.append(pool.submit(_batch, views, plan, step + 4))
            yield ahead.pop(0).result()


def _batch(views: Views, plan: Plan, step: int) -> tuple[Any, ...]:
    rng = np.random.default_rng([plan.seed, 1, step])
    w, h = views.how.crop_wh
    map_hw = (h // plan.stride, w // plan.stride)
    pictures, targets = [], []
    for place in range(step * plan.batch, (step + 1) * plan.batch):
        sample = _sample_at(views, plan.seed, place)
        source = views.pictures.source(sample)
        picture, xy = random_view(source, sample.xy_px, sample.to_model, views.how, rng)
        pictures.append(picture)
        targets.append(render(xy, map_hw, plan.stride, plan.offset_scale, plan.sigma_px))
    return np.stack(pictures), *(np.stack([getattr(t, name) for t in targets]) for name in Targets.__slots__)


def _sample_at(views: Views, seed: int, place: int) -> Sample:
    """Every sample once an epoch, in another order each time."""
    samples, stream = views.train, 2
    if views.taught:
        place, odd = divmod(place, 2)
        if odd:
            samples, stream = views.taught, 3
    epoch, turn = divmod(place, len(samples))
    return samples[np.random.default_rng([seed, stream, epoch]).permutation(len(samples))[turn]]


def to_input(views: Any) -> Any:
    """uint8 pixels to the network's -1..1."""
    return tf.cast(views, tf.float32) / 127.5 - 1.0


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

    def _step(self, views: Any, *targets: Any) -> Any:
        """One step; returns the heatmap, offset and position losses, (3,)."""
        with tf.GradientTape() as tape:
            out = self.model(to_input(views), training=True)
            parts = losses(out, targets, self.plan.offset_scale / self.plan.stride)
            loss = tf.reduce_sum(parts)
        self.optimizer.apply_gradients(zip(tape.gradient(loss, self._variables), self._variables, strict=True))
        done = tf.cast(self.optimizer.iterations, tf.float32)
        decay = tf.minimum(EMA_DECAY, (1.0 + done) / (10.0 + done))
        for average, variable in zip(self._average, self._variables, strict=True):
            average.assign(average * decay + (1.0 - decay) * variable)
        return parts

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

    def predict(self, samples: list[Sample]) -> Predictions:
        found = [self._pose(sample) for sample in samples]
        return Predictions(
            np.array([sample.frame_xy for sample in samples]),
            np.array([xy for xy, _ in found]),
            np.array([score for _, score in found]),
        )

    def _pose(self, sample: Sample) -> tuple[F64, F64]:
        out = self._call(tf.constant(sample.fitted()[None]))
        heatmap, offset = out["heatmap"].numpy()[0], out["offset"].numpy()[0]
        xy, score = decode(heatmap, offset, self.plan.stride, self.plan.offset_scale, FLOAT)
        return sample.to_frame(xy), score
