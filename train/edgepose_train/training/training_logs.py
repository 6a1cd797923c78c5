"""What TensorBoard shows of a run: `tensorboard --logdir RUN/logs`. Nothing is written where it is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from edgepose_train.training.training_loop import Check

LOSSES = ("heatmap", "offset", "position")
EVERY = 10  # steps; more points than a screen has pixels only cost disk


class TrainingLogs:
    """A context: event files are flushed at every check, and closed at the end."""

    def __init__(self, folder: Path) -> None:
        # TensorFlow finds its own `summary.scalar` in TensorBoard's package.
        self._writer = tf.summary.create_file_writer(str(folder)) if importlib.util.find_spec("tensorboard") else None

    def __enter__(self) -> TrainingLogs:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def stepped(self, step: int, losses: Any) -> None:
        """losses: as `Trainer.step` returns them, (3,)."""
        if step % EVERY == 0:
            self._write(step, {f"loss/{name}": value for name, value in zip(LOSSES, losses, strict=True)})

    def checked(self, check: Check) -> None:
        self._write(check.step, {"validation_px": check.validation_px, "loss": check.loss})
        if self._writer is not None:
            self._writer.flush()

    def _write(self, step: int, values: dict[str, float]) -> None:
        if self._writer is not None:
            with self._writer.as_default():
                for name, value in values.items():
                    tf.summary.scalar(name, value, step)
