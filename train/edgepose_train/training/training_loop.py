"""One training run: steps, validations, checkpoints, and what the person waiting sees of it."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edgepose.errors import EdgeposeError
from edgepose.types import F64
from edgepose_train.training import checkpoint
from edgepose_train.training.trainer import Predictor, Trainer, Views, batches
from edgepose_train.training.training_logs import TrainingLogs

CHECKS = 12  # validations in a run
PATIENCE = 6  # that many in a row without a better one end it
# Later weights win unless their validation is this much worse: with a handful of validation frames the error moves
# by a tenth from chance alone, while the running average of a falling learning rate goes on improving.
TOLERANCE = 1.15


class Check(NamedTuple):
    """A point of the learning curves. loss: running mean of the sum that is minimized. validation_px: `typical_px`."""

    step: int
    loss: float
    validation_px: float


@dataclass
class Best:
    """The weights to ship so far, by `typical_px`: the last ones that were not clearly worse."""

    validation_px: float = math.inf
    lowest_px: float = math.inf
    step: int = 0
    checks_since: int = 0
    weights: list[Any] = field(default_factory=list)

    def see(self, validation_px: float, step: int, weights: list[Any]) -> None:
        if validation_px <= self.lowest_px * TOLERANCE:  # never true of a network that diverged to NaN
            self.validation_px, self.step, self.checks_since, self.weights = validation_px, step, 0, weights
            self.lowest_px = min(self.lowest_px, validation_px)
        else:
            self.checks_since += 1

    def notes(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "weights"}


def typical_px(errors_px: F64) -> float:
    """Geometric mean of the errors, each plus one pixel. Few frames validate, and among them one keypoint that
    jumps across the picture would outweigh all that the others learn."""
    return float(np.expm1(np.nanmean(np.log1p(errors_px))))


def train_network(
    trainer: Trainer, predictor: Predictor, views: Views, run: Path, identity: dict[str, Any]
) -> list[Check]:
    """Leaves the best weights in `predictor`. run: the folder of the checkpoint, which a later call goes on from, and
    of TensorBoard's `logs`. Returns the learning curves."""
    path = run / "checkpoint.npz"
    best, curve = _resume(trainer, path, identity)

    def save() -> None:
        notes = {"identity": identity, "best": best.notes(), "curve": curve}
        checkpoint.save(path, {**trainer.state(), "best": best.weights}, notes)

    every = -(-trainer.plan.steps // CHECKS)
    with _Display(trainer, curve) as display, _ctrl_c() as asked_to_stop, TrainingLogs(run / "logs") as logs:
        for batch in batches(views, trainer.plan, trainer.steps_done):
            if best.checks_since >= PATIENCE:
                break
            losses = np.asarray(trainer.step(*batch))
            display.stepped(float(losses.sum()))
            logs.stepped(trainer.steps_done, losses)
            if trainer.steps_done % every == 0 or trainer.steps_done == trainer.plan.steps:
                weights = trainer.averaged_weights()
                predictor.model.set_weights(weights)
                error_px = typical_px(predictor.predict(views.validation).errors_px)
                curve.append(Check(trainer.steps_done, display.loss, error_px))
                best.see(error_px, trainer.steps_done, weights)
                save()
                logs.checked(curve[-1])
                display.checked(best)
            if asked_to_stop():
                save()
                display.say("stopped; the same command goes on from here")
                raise KeyboardInterrupt
    if not best.weights:
        raise EdgeposeError("the training diverged: no validation gave a number; try another --seed")
    predictor.model.set_weights(best.weights)
    return curve


def _resume(trainer: Trainer, path: Path, identity: dict[str, Any]) -> tuple[Best, list[Check]]:
    """What an interrupted run of the same identity left at `path`, its state put back into `trainer`."""
    found = checkpoint.load(path, identity)
    if not found:
        return Best(), []
    groups, notes = found
    best = Best(**notes["best"], weights=groups.pop("best", []))
    trainer.restore(groups)
    print(f"going on from step {trainer.steps_done} of {trainer.plan.steps}", flush=True)
    return best, [Check(*row) for row in notes["curve"]]


@contextlib.contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, to be asked between steps; a second one interrupts at once.

    As an exception it could strike while weights are half assigned, or inside a callback that swallows it.
    """
    before = signal.getsignal(signal.SIGINT)
    pressed = threading.Event()

    def on_signal(_number: int, _frame: Any) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    if before is not signal.SIG_IGN:  # as in a shell's background job
        signal.signal(signal.SIGINT, on_signal)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


class _Display:
    """A progress bar on a terminal, else a line per validation."""

    def __init__(self, trainer: Trainer, curve: list[Check]) -> None:
        self._trainer, self.loss = trainer, curve[-1].loss if curve else 0.0
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  validation {task.fields[best]}"),
            console=self._console,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(
            "train", total=trainer.plan.steps, completed=trainer.steps_done, loss=self.loss, best="-"
        )

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def stepped(self, loss: float) -> None:
        self.loss = 0.95 * self.loss + 0.05 * loss if self.loss else loss
        self._bar.update(self._task, advance=1, loss=self.loss)

    def checked(self, best: Best) -> None:
        text = f"{best.validation_px:.2f} px (step {best.step})"
        self._bar.update(self._task, best=text)
        if self._bar.disable:
            done, steps = self._trainer.steps_done, self._trainer.plan.steps
            self.say(f"step {done}/{steps}  loss {self.loss:.3f}  best validation {text}")

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False)
