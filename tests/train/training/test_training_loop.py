"""One training run: how it is continued, when it ends, and which weights it keeps."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny
from tiny import PLAN

from edgepose.errors import EdgeposeError
from edgepose_train.evaluation.metrics import Predictions
from edgepose_train.training.trainer import Predictor, Trainer, TrainingPlan
from edgepose_train.training.training_loop import STALE_VALIDATIONS, BestWeights, train_network, typical_px

pytestmark = pytest.mark.usefixtures("eagerly")


class InterruptedTrainer(Trainer):
    """Receives Ctrl-C at a step."""

    def __init__(self, weights: list[np.ndarray], stop: int | None) -> None:
        network = tiny.network()
        network.set_weights(weights)
        super().__init__(network, PLAN)
        real_step = self.step

        def step_or_stop(*batch):
            if self.steps_done == stop:
                signal.raise_signal(signal.SIGINT)
            return real_step(*batch)

        self.step = step_or_stop


class PredictorWithErrors(Predictor):
    """Predicts keypoints that are as many px away from their labels as `errors_px` says."""

    def __init__(self, errors_px: Iterator[float]) -> None:
        super().__init__(tiny.network(), PLAN)
        self._errors_px = errors_px

    def predict(self, samples):
        labels = np.zeros((len(samples), 1, 2))
        return Predictions(labels, np.add(labels, [next(self._errors_px), 0.0]), np.ones((len(samples), 1)))


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path, capsys):
    """They are the same bit for bit, so Ctrl-C only costs the time to start again."""
    views = tiny.views(tmp_path)
    keras.utils.set_random_seed(0)
    first = tiny.network().get_weights()

    def run(folder, stop=None):
        folder.mkdir(exist_ok=True)
        trainer, predictor = InterruptedTrainer(first, stop), Predictor(tiny.network(), PLAN)
        curve = train_network(trainer, predictor, views, folder, {"seed": 0})
        return predictor.model.get_weights(), curve

    whole, whole_curve = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", 4)
    continued, curve = run(tmp_path / "stopped")
    for one, other in zip(whole, continued, strict=True):
        np.testing.assert_array_equal(one, other)
    assert curve == whole_curve
    assert [point.step for point in curve] == list(range(1, PLAN.steps + 1))
    assert f"continuing from step 5 of {PLAN.steps}" in capsys.readouterr().out


def test_training_ends_when_nothing_gets_better(tmp_path):
    plan = TrainingPlan(20, 2, 1e-3, 8, 0, validations=20)
    predictor = PredictorWithErrors(iter([3.0] + [30.0] * 20))
    curve = train_network(Trainer(tiny.network(), plan), predictor, tiny.views(tmp_path), tmp_path, {})
    assert len(curve) == 1 + STALE_VALIDATIONS


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_a_training_that_diverged_is_an_error(tmp_path):
    plan = replace(PLAN, validations=2)
    predictor = PredictorWithErrors(iter([math.nan] * 4))
    with pytest.raises(EdgeposeError, match="diverged: no validation gave a number; try another --seed"):
        train_network(Trainer(tiny.network(), plan), predictor, tiny.views(tmp_path), tmp_path, {})


def test_the_best_weights_are_the_last_that_were_not_clearly_worse():
    best = BestWeights()
    for step, px in enumerate([5.0, 3.0, 3.3, 4.0, 3.5, math.nan]):
        best.update(px, step, [step])
    assert (best.step, best.validation_px, best.lowest_px, best.weights, best.checks_since) == (2, 3.3, 3.0, [2], 3)


def test_one_lost_keypoint_does_not_outweigh_the_others():
    assert typical_px(np.array([[2.0, 2.0, np.nan], [2.0, 2.0, 2.0]])) == pytest.approx(2.0)
    assert typical_px(np.array([2.0] * 9 + [300.0])) < 4 < np.mean([2.0] * 9 + [300.0])
