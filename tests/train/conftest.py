"""One tiny training run that the tests of the desktop side share: started, killed, stopped, and finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from brokers import wait_until

from edgepose_train.demo_model import write_project

PATIENCE_S = 120.0  # a busy machine takes this long to import TensorFlow and trace a network


@dataclass(frozen=True)
class FinishedRun:
    """folder: as `fit` leaves it. killed, stopped, finished: what the three processes that made it left."""

    folder: Path
    project: Path
    weights: Path
    killed: subprocess.CompletedProcess[str]
    stopped: subprocess.CompletedProcess[str]
    finished: subprocess.CompletedProcess[str]

    @property
    def model(self) -> Path:
        return self.folder / "model.tflite"

    def arguments(self, **changed: str) -> list[str]:
        """Of the command that made it; changed: options with other values."""
        options = {
            "--recipe": "fast",
            "--backbone": "mobilenet_v1_0.25",
            "--weights": str(self.weights),
            "--input": "96x96",
            "--epochs": "30",
            "-o": str(self.folder),
        } | {f"--{name}": value for name, value in changed.items()}
        return ["fit", str(self.project), *(word for option in options.items() for word in option)]


@pytest.fixture(scope="session")
def rendered_project(tmp_path_factory) -> Path:
    """20 frames of 96 x 96."""
    project = tmp_path_factory.mktemp("rendered") / "project"
    write_project(project, range(200, 204), 5, (96, 96))
    return project


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory) -> Path:
    """What `--weights FOLDER` takes: one trunk with weights, random ones, and names of others."""
    import keras

    folder = tmp_path_factory.mktemp("backbones")
    trunk = keras.applications.MobileNet(input_shape=(128, 128, 3), alpha=0.25, include_top=False, weights=None)
    trunk.save_weights(folder / "mobilenet_v1_0.25_128_imagenet_no_top.weights.h5")
    for name in ("mobilenet_v1_0.5_160_imagenet_no_top.weights.h5", "mobilenet_v2_0.25_128_imagenet_no_top.weights.h5"):
        (folder / name).write_bytes(b"another backbone")
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, rendered_project, weights_folder) -> FinishedRun:
    """Killed after its first checkpoint, gone on, stopped by Ctrl-C, gone on again to the end."""
    folder = tmp_path_factory.mktemp("fit") / "run"
    arguments = FinishedRun(folder, rendered_project, weights_folder, *[None] * 3).arguments()
    logs = folder.parent
    killed = _fit(arguments, logs / "killed", signal.SIGKILL, lambda text: (folder / "checkpoint.npz").exists())
    stopped = _fit(arguments, logs / "stopped", signal.SIGINT, lambda text: "going on" in text and "best" in text)
    finished = _fit(arguments, logs / "finished")
    return FinishedRun(folder, rendered_project, weights_folder, killed, stopped, finished)


def _fit(
    arguments: list[str], log: Path, number: int | None = None, when: Callable[[str], bool] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end, or sends it signal `number` as soon as `when` holds for all it has printed."""
    out, err = log.with_suffix(".out"), log.with_suffix(".err")
    with out.open("w") as stdout, err.open("w") as stderr:
        command = [sys.executable, "-m", "edgepose_train.cli", *arguments]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment) as process:
            if number is not None and when is not None:

                def due() -> bool:
                    return process.poll() is not None or when(out.read_text() + err.read_text())

                wait_until(due, "the training to get on", PATIENCE_S)
                process.send_signal(number)
            process.wait(PATIENCE_S)
    return subprocess.CompletedProcess(command, process.returncode, out.read_text(), err.read_text())
