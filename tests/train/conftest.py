"""One small training run that the tests of the desktop side share: it is started, killed, continued and finished."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from brokers import wait_until

from edgepose_train.demo_model import write_project

LONGEST_S = 120.0  # a busy machine takes this long to import TensorFlow and trace a network


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
        folder: the result of `fit`.
        killed_folder: a copy of the folder after the first process was killed.
        project: the labelled frames.
        weights: the folder that `--weights` takes.
        killed, finished: the two processes that made it.
    """

    folder: Path
    killed_folder: Path
    project: Path
    weights: Path
    killed: subprocess.CompletedProcess[str]
    finished: subprocess.CompletedProcess[str]

    @property
    def model(self) -> Path:
        return self.folder / "model.tflite"

    def arguments(self, **changed: object) -> list[str]:
        """Returns the arguments of the command that made it, with these options changed."""
        given = {"project": self.project, "output": self.folder, "weights": self.weights} | changed
        return fit_arguments(**given)


def fit_arguments(project: object, **options: object) -> list[str]:
    """Returns the arguments of a short training; an option that is given twice has its last value.

    The loss of int8 after so short a training differs between processors, so it is allowed to be large.
    """
    words = ["fit", str(project), "--recipe", "fast", "--backbone", "mobilenet_v1_0.25", "--input", "96x96"]
    words += ["--epochs", "30", "--max-int8-loss", "1000"]
    return words + [word for name, value in options.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="session")
def rendered_project(tmp_path_factory) -> Path:
    """A project with 20 frames of 96 x 96 pixels."""
    project = tmp_path_factory.mktemp("rendered") / "project"
    write_project(project, range(200, 204), 5, (96, 96))
    return project


@pytest.fixture(scope="session")
def reaching(public_projects) -> Path:
    """A project with frames of two sizes, in which a seventh of the labels are missing."""
    return public_projects / "Reaching-Mackenzie-2018-08-30"


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Runs TensorFlow without tracing graphs: tracing takes longer than the few steps of a test."""
    import tensorflow as tf  # noqa: TID251

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory) -> Path:
    """A folder for `--weights`, with random weights of one trunk and files with the names of other trunks."""
    import keras

    folder = tmp_path_factory.mktemp("backbones")
    trunk = keras.applications.MobileNet(input_shape=(128, 128, 3), alpha=0.25, include_top=False, weights=None)
    trunk.save_weights(folder / "mobilenet_v1_0.25_128_imagenet_no_top.weights.h5")
    for name in ("mobilenet_v1_0.5_160_imagenet_no_top.weights.h5", "mobilenet_v2_0.25_128_imagenet_no_top.weights.h5"):
        (folder / name).write_bytes(b"another backbone")
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, rendered_project, weights_folder) -> FinishedRun:
    """A run that is killed after its first checkpoint and then continued to the end."""
    folder = tmp_path_factory.mktemp("fit") / "run"
    killed_folder, log = folder.with_name("killed"), folder.with_name("log")
    arguments = fit_arguments(rendered_project, output=folder, weights=weights_folder)
    killed = run_fit(arguments, log, kill_when=(folder / "checkpoint.npz").exists)
    shutil.copytree(folder, killed_folder)
    return FinishedRun(folder, killed_folder, rendered_project, weights_folder, killed, run_fit(arguments, log))


def run_fit(
    arguments: list[str], log: Path, kill_when: Callable[[], bool] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `fit` as a person does; its output is kept in files beside `log`."""
    out, err = log.with_suffix(".out"), log.with_suffix(".err")
    command = [sys.executable, "-m", "edgepose_train.cli", *arguments]
    with (
        out.open("w") as stdout,
        err.open("w") as stderr,
        subprocess.Popen(command, stdout=stdout, stderr=stderr) as process,
    ):
        if kill_when is not None:
            wait_until(lambda: process.poll() is not None or kill_when(), "the first checkpoint", LONGEST_S)
            process.kill()
        process.wait(LONGEST_S)
    return subprocess.CompletedProcess(command, process.returncode, out.read_text(), err.read_text())
