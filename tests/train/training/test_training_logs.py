"""The learning curves, read as TensorBoard reads them; nothing is written where it is not installed."""

from __future__ import annotations

import contextlib
import importlib.util

import numpy as np
import pytest

from edgepose_train.training.training_logs import EVERY, CurvePoint, TrainingLogs


def write(folder) -> None:
    with contextlib.closing(TrainingLogs(folder)) as logs:
        for step in range(1, 2 * EVERY + 1):
            logs.add_losses(step, np.array([3.0, 2.0, 1.0]) / step)
        logs.add_point(CurvePoint(2 * EVERY, 0.5, 7.25))


def test_curves_are_read_back(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tensor_util = pytest.importorskip("tensorboard.util.tensor_util")
    write(tmp_path)
    found = event_accumulator.EventAccumulator(str(tmp_path), {"tensors": 0})
    found.Reload()
    assert set(found.Tags()["tensors"]) == {"loss/heatmap", "loss/offset", "loss/position", "validation_px", "loss"}
    values = {
        name: [(e.step, float(tensor_util.make_ndarray(e.tensor_proto))) for e in found.Tensors(name)]
        for name in ("loss/heatmap", "validation_px")
    }
    np.testing.assert_allclose(values["loss/heatmap"], [(EVERY, 3 / EVERY), (2 * EVERY, 1.5 / EVERY)], rtol=1e-6)
    assert values["validation_px"] == [(2 * EVERY, 7.25)]


def test_without_tensorboard_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    write(tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_a_finished_run_has_its_curves(finished_run):
    pytest.importorskip("tensorboard")
    assert list((finished_run.folder / "logs").glob("events.out.tfevents.*"))
