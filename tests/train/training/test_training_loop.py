"""One training run: what it resumes from, what it stops at, which weights it keeps."""

from __future__ import annotations

import math
import signal

import keras
import numpy as np
import pytest
import tiny
from tiny import PLAN

from edgepose.errors import EdgeposeError
from edgepose_train.training import training_loop as loop
from edgepose_train.training.trainer import Predictor, Trainer
from edgepose_train.training.training_loop import PATIENCE, Best, train_network, typical_px

pytestmark = pytest.mark.usefixtures("eagerly")


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, monkeypatch, capsys):
    """The same weights, bit for bit: what Ctrl-C costs is the start-up alone."""
    views = tiny.views(tmp_path)
    keras.utils.set_random_seed(0)
    first = tiny.network().get_weights()

    def run(folder, stop=None):
        folder.mkdir(exist_ok=True)
        network = tiny.network()
        network.set_weights(first)
        trainer, predictor = Trainer(network, PLAN), Predictor(tiny.network(), PLAN)
        step = trainer.step

        def step_or_stop(*batch):
            if trainer.steps_done == stop:
                signal.raise_signal(signal.SIGINT)
            return step(*batch)

        monkeypatch.setattr(trainer, "step", step_or_stop)
        curve = train_network(trainer, predictor, views, folder, {"seed": 0})
        return predictor.model.get_weights(), curve

    whole, whole_curve = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", 4)
    resumed, curve = run(tmp_path / "stopped")
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert curve == whole_curve
    assert [check.step for check in curve] == list(range(1, PLAN.steps + 1))
    assert f"going on from step 5 of {PLAN.steps}" in capsys.readouterr().out


def test_training_ends_when_nothing_gets_better(tmp_path, monkeypatch):
    errors = iter([3.0] + [30.0] * 20)
    monkeypatch.setattr(loop, "typical_px", lambda _: next(errors))
    monkeypatch.setattr(loop, "CHECKS", 20)
    trainer, predictor = (factory(tiny.network(), tiny.Plan(20, 2, 1e-3, 8, 0)) for factory in (Trainer, Predictor))
    curve = train_network(trainer, predictor, tiny.views(tmp_path), tmp_path, {})
    assert len(curve) == 1 + PATIENCE


def test_a_training_that_diverged_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "typical_px", lambda _: math.nan)
    trainer, predictor = (factory(tiny.network(), PLAN) for factory in (Trainer, Predictor))
    with pytest.raises(EdgeposeError, match="diverged: no validation gave a number; try another --seed"):
        train_network(trainer, predictor, tiny.views(tmp_path), tmp_path, {})


def test_the_best_weights_are_the_last_that_were_not_clearly_worse():
    best = Best()
    for step, px in enumerate([5.0, 3.0, 3.3, 4.0, 3.5, math.nan]):
        best.see(px, step, [step])
    assert (best.step, best.validation_px, best.lowest_px, best.weights, best.checks_since) == (2, 3.3, 3.0, [2], 3)


def test_one_lost_keypoint_does_not_outweigh_the_others():
    assert typical_px(np.array([[2.0, 2.0, np.nan], [2.0, 2.0, 2.0]])) == pytest.approx(2.0)
    assert typical_px(np.array([2.0] * 9 + [300.0])) < 4 < np.mean([2.0] * 9 + [300.0])
