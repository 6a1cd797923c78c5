"""Runs a training: steps, validations, checkpoints, and the progress on the terminal."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from edgepose.errors import EdgeposeError
from edgepose.system.progress import progress_bar
from edgepose.types import F64
from edgepose_train.training import checkpoint
from edgepose_train.training.trainer import Predictor, Trainer, TrainingViews, batches
from edgepose_train.training.training_logs import CurvePoint, TrainingLogs

STALE_VALIDATIONS = 6  # this many in a row without better weights end the run
# Later weights are preferred unless their validation error is this many times the lowest one. With a handful of
# validation frames the error moves by a tenth by chance alone, while the running average of the weights goes on
# improving as the learning rate falls.
TOLERANCE = 1.15


@dataclass
class BestWeights:
    """The weights to ship so far: the last ones that were not clearly worse than the best.

    Attributes:
        validation_px: their typical error on the validation frames.
        lowest_px: the lowest typical error of all validations.
        step: the step that they are from.
        checks_since: the number of validations after it.
        weights: their arrays.
    """

    validation_px: float = math.inf
    lowest_px: float = math.inf
    step: int = 0
    checks_since: int = 0
    weights: list[Any] = field(default_factory=list)

    def update(self, validation_px: float, step: int, weights: list[Any]) -> None:
        """Takes the weights of a validation, unless they are clearly worse."""
        if validation_px <= self.lowest_px * TOLERANCE:  # never true for a network that diverged to NaN
            self.validation_px, self.step, self.checks_since, self.weights = validation_px, step, 0, weights
            self.lowest_px = min(self.lowest_px, validation_px)
        else:
            self.checks_since += 1

    def notes(self) -> dict[str, Any]:
        """Returns everything but the weights, for the checkpoint."""
        return {name: value for name, value in vars(self).items() if name != "weights"}


def typical_px(errors_px: F64) -> float:
    """Returns the geometric mean of the errors, each plus one pixel.

    There are few validation frames. In an ordinary mean, one keypoint that jumps across the picture would hide what all
    others have learnt.
    """
    return float(np.expm1(np.nanmean(np.log1p(errors_px))))


def train_network(
    trainer: Trainer, predictor: Predictor, views: TrainingViews, run: Path, identity: dict[str, Any]
) -> list[CurvePoint]:
    """Trains a network and leaves the best weights in `predictor`.

    Args:
        trainer: the network in training.
        predictor: the same network at the size of the model's input.
        views: what is trained on, and the validation frames.
        run: the folder for the checkpoint, from which a later call continues, and for TensorBoard's `logs`.
        identity: JSON values that are the same when this run is continued.

    Returns:
        The learning curves.

    Raises:
        EdgeposeError: the training diverged.
        KeyboardInterrupt: ctrl-C was pressed; the checkpoint is saved.
    """
    path = run / checkpoint.CHECKPOINT
    best, curve = _resume(trainer, path, identity)

    def save() -> None:
        notes = {"identity": identity, "best": best.notes(), "curve": curve}
        checkpoint.save(path, {**trainer.state(), "best": best.weights}, notes)

    every = -(-trainer.plan.steps // trainer.plan.validations)
    with (
        progress_bar() as bar,
        _ctrl_c() as stop_requested,
        contextlib.closing(TrainingLogs(run / "logs")) as logs,
    ):
        display = _ProgressDisplay(bar, trainer, curve)
        for batch in batches(views, trainer.plan, trainer.steps_done):
            if best.checks_since >= STALE_VALIDATIONS:
                break
            losses = np.asarray(trainer.step(*batch))
            display.add_step(float(losses.sum()))
            logs.add_losses(trainer.steps_done, losses)
            if trainer.steps_done % every == 0 or trainer.steps_done == trainer.plan.steps:
                weights = trainer.averaged_weights()
                predictor.model.set_weights(weights)
                error_px = typical_px(predictor.predict(views.validation).errors_px)
                curve.append(CurvePoint(trainer.steps_done, display.loss, error_px))
                best.update(error_px, trainer.steps_done, weights)
                save()
                logs.add_point(curve[-1])
                display.show_best(best)
            if stop_requested():
                save()
                display.print("stopped; the same command continues from here")
                raise KeyboardInterrupt
    if not best.weights:
        raise EdgeposeError("the training diverged: no validation gave a number; try another --seed")
    predictor.model.set_weights(best.weights)
    return curve


def _resume(trainer: Trainer, path: Path, identity: dict[str, Any]) -> tuple[BestWeights, list[CurvePoint]]:
    """Restores the state of an interrupted run with the same identity from the checkpoint at `path`."""
    found = checkpoint.load(path, identity)
    if not found:
        return BestWeights(), []
    groups, notes = found
    best = BestWeights(**notes["best"], weights=groups.pop("best", []))
    trainer.restore(groups)
    print(f"continuing from step {trainer.steps_done} of {trainer.plan.steps}", flush=True)
    return best, [CurvePoint(*row) for row in notes["curve"]]


@contextlib.contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yields a function that returns True after Ctrl-C, to be called between steps; a second Ctrl-C interrupts at once.

    An exception could come while weights are half assigned, or inside a callback that swallows it.
    """
    before = signal.getsignal(signal.SIGINT)
    pressed = threading.Event()

    def on_signal(_number: int, _frame: Any) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    if before is not signal.SIG_IGN:  # a shell's background job ignores it
        signal.signal(signal.SIGINT, on_signal)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


class _ProgressDisplay:
    """A progress bar on a terminal, otherwise one line per validation."""

    def __init__(self, bar: Progress, trainer: Trainer, curve: list[CurvePoint]) -> None:
        self._bar, self._trainer, self._best = bar, trainer, "-"
        self.loss = curve[-1].loss if curve else 0.0
        self._task = bar.add_task("training", total=trainer.plan.steps, completed=trainer.steps_done)

    def add_step(self, loss: float) -> None:
        self.loss = 0.95 * self.loss + 0.05 * loss if self.loss else loss
        description = f"training, loss {self.loss:.3f}, chosen so far: {self._best}"
        self._bar.update(self._task, advance=1, description=description)

    def show_best(self, best: BestWeights) -> None:
        self._best = f"step {best.step}, {best.validation_px:.2f} px on the validation frames"
        if self._bar.disable:
            done, steps = self._trainer.steps_done, self._trainer.plan.steps
            self.print(f"step {done}/{steps}  loss {self.loss:.3f}  chosen so far: {self._best}")

    def print(self, line: str) -> None:
        self._bar.console.print(line, highlight=False)
