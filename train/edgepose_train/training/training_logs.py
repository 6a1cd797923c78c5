"""Writes the learning curves of a run, which TensorBoard shows: `tensorboard --logdir RUN/logs`.

Where TensorBoard is not installed, nothing is written.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

LOSSES = ("heatmap", "offset", "position")
EVERY = 10  # steps; a curve with more points than a screen has pixels only costs disk space


class CurvePoint(NamedTuple):
    """A point of the learning curves.

    Attributes:
        step: the training step.
        loss: the running mean of the sum of the losses.
        validation_px: the typical error on the validation frames, as `training_loop.typical_px` computes it.
    """

    step: int
    loss: float
    validation_px: float


class TrainingLogs:
    """Writes TensorBoard's event files; they are flushed at every validation."""

    def __init__(self, folder: Path) -> None:
        # TensorFlow itself imports `summary.scalar` from TensorBoard's package.
        self._writer = tf.summary.create_file_writer(str(folder)) if importlib.util.find_spec("tensorboard") else None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def add_losses(self, step: int, losses: Any) -> None:
        """Adds the three losses of a step, (3,), as `Trainer.step` returns them."""
        if step % EVERY == 0:
            self._write(step, {f"loss/{name}": value for name, value in zip(LOSSES, losses, strict=True)})

    def add_point(self, point: CurvePoint) -> None:
        """Adds the result of a validation."""
        self._write(point.step, {"validation_px": point.validation_px, "loss": point.loss})
        if self._writer is not None:
            self._writer.flush()

    def _write(self, step: int, values: dict[str, float]) -> None:
        if self._writer is not None:
            with self._writer.as_default():
                for name, value in values.items():
                    tf.summary.scalar(name, value, step)
