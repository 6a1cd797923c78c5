"""Trains a network: batches of random views, one step of the optimizer, and the averaged weights."""

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
from edgepose_train.network.network import to_input
from edgepose_train.training.augment import Augmentation, random_view
from edgepose_train.training.losses import losses
from edgepose_train.training.samples import PictureCache, TrainingSample

EMA_DECAY = 0.995
_AHEAD = 4  # batches that are prepared while the network is trained
# Each kind of random choice has its own stream of random numbers.
_VIEW_STREAM, _LABELLED_STREAM, _PSEUDO_LABELLED_STREAM = 1, 2, 3


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The length of a training, and its speed.

    Attributes:
        steps: the number of batches.
        batch: views in a batch.
        learning_rate: the highest learning rate of the schedule.
        stride: model pixels per heatmap cell.
        seed: decides all random choices.
        validations: how often the network is validated during the training.
    """

    steps: int
    batch: int
    learning_rate: float
    stride: int
    seed: int
    validations: int = 12

    @property
    def sigma_px(self) -> float:
        """Sigma of a heatmap's Gaussian in model pixels. It is one cell, so that the peak's neighbours still differ."""
        return float(self.stride)

    @property
    def offset_scale(self) -> float:
        """Model pixels that an offset of 1.0 stands for: two cells, so that it can also correct a peak one cell away.

        Decoding uses the offsets only at the map's edge. In training they make the trunk place keypoints finely.
        """
        return 2.0 * self.stride


@dataclass(frozen=True, slots=True)
class TrainingViews:
    """The samples that a network is trained on, and those that its weights are chosen by.

    Attributes:
        train: the labelled samples to train on.
        validation: the labelled samples that the weights are chosen by.
        augmentation: how much training views differ.
        pictures: the pictures that views are cut from.
        pseudo_labelled: samples that a teacher has labelled. Where there are any, every second view is of one of them.
    """

    train: list[TrainingSample]
    validation: list[TrainingSample]
    augmentation: Augmentation
    pictures: PictureCache
    pseudo_labelled: list[TrainingSample] = field(default_factory=list)


def batches(views: TrainingViews, plan: TrainingPlan, start: int) -> Iterator[tuple[Any, ...]]:
    """Yields the batches from step `start` on.

    A batch is views (N, H, W, 3) uint8 and the stacked fields of `edgepose.pose.heatmap.Targets`. It is a function of
    seed and step alone, so a continued run gets the same batches.
    """
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(_batch, views, plan, step) for step in range(start, min(start + _AHEAD, plan.steps))]
        for step in range(start, plan.steps):
            if step + _AHEAD < plan.steps:
                ahead.append(pool.submit(_batch, views, plan, step + _AHEAD))
            yield ahead.pop(0).result()


def _batch(views: TrainingViews, plan: TrainingPlan, step: int) -> tuple[Any, ...]:
    rng = np.random.default_rng([plan.seed, _VIEW_STREAM, step])
    w, h = views.augmentation.crop_wh
    map_hw = (h // plan.stride, w // plan.stride)
    pictures, targets = [], []
    for number in range(step * plan.batch, (step + 1) * plan.batch):
        sample = _sample_of(views, plan.seed, number)
        source = views.pictures.source(sample)
        picture, xy_px = random_view(source, sample.xy_px, sample.to_model, views.augmentation, rng)
        pictures.append(picture)
        targets.append(render(xy_px, map_hw, plan.stride, plan.offset_scale, plan.sigma_px))
    return np.stack(pictures), *(np.stack([getattr(t, name) for t in targets]) for name in Targets.__slots__)


def _sample_of(views: TrainingViews, seed: int, number: int) -> TrainingSample:
    """Returns the sample of view `number`. Every sample is used once in an epoch, in a new order each time."""
    samples, stream = views.train, _LABELLED_STREAM
    if views.pseudo_labelled:
        number, is_odd = divmod(number, 2)
        if is_odd:
            samples, stream = views.pseudo_labelled, _PSEUDO_LABELLED_STREAM
    epoch, place = divmod(number, len(samples))
    order = np.random.default_rng([seed, stream, epoch]).permutation(len(samples))
    return samples[int(order[place])]


class Trainer:
    """The network in training, its optimizer, and the running average of its weights, which is what ships.

    Call `step` with a batch of `batches`; it returns the heatmap, offset and position losses, (3,).
    """

    def __init__(self, model: keras.Model, plan: TrainingPlan) -> None:
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
        """The number of steps so far, also those before the run was interrupted."""
        return int(self.optimizer.iterations)

    def _step(self, views: Any, *targets: Any) -> Any:
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
        """Returns arrays like `model.get_weights()`, with the running average in place of every trained weight."""
        averages = {id(v): a.numpy() for v, a in zip(self._variables, self._average, strict=True)}
        return [averages[id(v)] if id(v) in averages else v.numpy() for v in self.model.weights]

    def state(self) -> dict[str, list[Any]]:
        """Returns all arrays that `restore` needs."""
        return {
            "model": self.model.get_weights(),
            "average": [v.numpy() for v in self._average],
            "optimizer": [v.numpy() for v in self.optimizer.variables],
        }

    def restore(self, state: dict[str, list[Any]]) -> None:
        """Sets the state to what `state` returned."""
        self.model.set_weights(state["model"])
        for variables, values in ((self._average, state["average"]), (self.optimizer.variables, state["optimizer"])):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)


class Predictor:
    """The float network at the size of the model's input, for the poses of whole frames."""

    def __init__(self, model: keras.Model, plan: TrainingPlan) -> None:
        self.model, self.plan = model, plan
        self._call = tf.function(lambda pictures: model(to_input(pictures), training=False))

    def predict(self, samples: list[TrainingSample]) -> Predictions:
        """Returns labels and predictions of the samples in frame pixels."""
        found = [self._pose(sample) for sample in samples]
        return Predictions(
            np.array([sample.frame_xy for sample in samples]),
            np.array([xy for xy, _ in found]),
            np.array([score for _, score in found]),
        )

    def _pose(self, sample: TrainingSample) -> tuple[F64, F64]:
        out = self._call(tf.constant(sample.fitted()[None]))
        heatmap, offset = out["heatmap"].numpy()[0], out["offset"].numpy()[0]
        xy, score = decode(heatmap, offset, self.plan.stride, self.plan.offset_scale, FLOAT)
        return sample.to_frame(xy), score
