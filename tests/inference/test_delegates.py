"""Accelerators. In place of libedgetpu, a real external delegate is built here, which can be made to fail."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from brokers import Mosquitto, Subscriber, wait_until
from daemons import Daemon

from edgepose.camera.synthetic.scene import Scene
from edgepose.cli.main import main
from edgepose.config.schema import InferenceConfig
from edgepose.inference.accelerated import AcceleratedEstimator, AcceleratorTiming, open_estimator
from edgepose.inference.coral import find_coral
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_file import read_model, write_model
from edgepose.system.reporter import Reporter
from edgepose.types import Frame

SOURCE = Path(__file__).parents[1] / "accelerator.c"
COMPILER = shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler (apt install gcc)")


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("libraries")
    for name, more in (("good", []), ("wrong", ["-DWRONG_LIBRARY"])):
        command = ["cc", "-shared", "-fPIC", "-O2", "-w", *more, str(SOURCE), "-o", str(folder / f"{name}.so")]
        subprocess.run(command, check=True)
    return folder


class Device:
    """The device; `be` says how the library behaves from here on."""

    def __init__(self, file: Path, library: Path) -> None:
        self.file, self.library = file, library
        self.be("ok")

    def be(self, mood: str) -> None:
        temporary = self.file.with_suffix(".new")
        temporary.write_text(mood, encoding="ascii")
        temporary.replace(self.file)


@pytest.fixture
def device(libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device(tmp_path / "mood", libraries / "good.so")
    monkeypatch.setenv("TEST_ACCELERATOR_MOOD", str(made.file))
    return made


@pytest.fixture
def model(demo_model: Path, tmp_path: Path) -> Path:
    """The demo's model as if it had been compiled: this device runs the same operations."""
    path, content = tmp_path / "model.tflite", read_model(demo_model)
    write_model(path, content.network, content.card, {"model_edgetpu.tflite": content.network + b"compiled"})
    return path


@pytest.fixture
def opened(model: Path, device: Device) -> Iterator[Callable[..., AcceleratedEstimator]]:
    made: list[AcceleratedEstimator] = []

    def make(reporter: Reporter | None = None, **settings: object) -> AcceleratedEstimator:
        given = {"threads": 1, "delegate": "edgetpu", "library": str(device.library), **settings}
        config, timing = InferenceConfig(**given), AcceleratorTiming(retry_s=0.3)
        estimator = open_estimator(model, config, reporter=reporter or Reporter(), timing=timing)
        assert isinstance(estimator, AcceleratedEstimator)
        made.append(estimator)
        return estimator

    yield make
    for estimator in made:
        estimator.close()


def frames() -> Iterator[Frame]:
    scene = Scene(0, (320, 240))
    for index in itertools.count():
        yield Frame(scene.render(index), "bgr", index, time.monotonic_ns(), 0)


def test_poses_of_the_device_are_those_of_the_cpu(opened: Callable[..., AcceleratedEstimator], model: Path) -> None:
    """The delegate really runs: its kernel changes every byte of the picture."""
    estimator, cpu = opened(), Estimator(model, 1)
    assert estimator.delegate == "edgetpu"
    assert estimator.describe().endswith("Edge TPU")
    assert estimator.trouble == ""
    for frame in itertools.islice(frames(), 5):
        ours, theirs = estimator.estimate(frame), cpu.estimate(frame)
        assert np.array_equal(ours.xy_px, theirs.xy_px)
        assert np.array_equal(ours.score, theirs.score)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mood", "text"),
    [
        ("lost", "the accelerator failed ("),
        ("crash", "the accelerator's library crashed (SIGSEGV)"),
        ("hang", "the accelerator gave no answer within 3 s"),
    ],
)
def test_a_device_lost_at_work_costs_no_frame_and_comes_back(
    mood: str, text: str, opened: Callable[..., AcceleratedEstimator], device: Device
) -> None:
    reporter = Reporter()
    estimator = opened(reporter)
    stream = frames()
    estimator.estimate(next(stream))
    device.be(mood)
    begin = time.monotonic()
    assert estimator.estimate(next(stream)).score.mean() > 0.5
    assert time.monotonic() - begin < 10
    assert estimator.delegate == "cpu"
    assert estimator.trouble.startswith(text)
    assert estimator.trouble.endswith("; the CPU makes the poses")
    assert reporter.alerts == {"delegate": estimator.trouble}
    device.be("ok")
    wait_until(lambda: estimator.delegate == "edgetpu", "the device again", 30)
    assert estimator.estimate(next(stream)).score.mean() > 0.5
    assert estimator.trouble == ""
    assert reporter.alerts == {}
    events = [event.kind for event in iter(lambda: reporter.take(0), None)]
    assert events == ["delegate_live", "delegate_lost", "delegate_live"]


OPENINGS = {
    "missing": ("", "its library is not installed; install libedgetpu1-std"),
    "wrong": ("", "this is not a library for the Edge TPU, correct inference.library"),
    "segfaulting": ("crash", "the accelerator's library crashed (SIGSEGV)"),
    "without a device": ("null", "its library could not open it; is another program using it"),
}


@pytest.mark.parametrize("what", OPENINGS)
def test_a_library_that_cannot_be_used_leaves_the_cpu_at_work(
    what: str, opened: Callable[..., AcceleratedEstimator], libraries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, text = OPENINGS[what]
    monkeypatch.setenv("TEST_ACCELERATOR_OPEN", opening)
    paths = {"missing": libraries / "missing.so", "wrong": libraries / "wrong.so"}
    begin = time.monotonic()
    estimator = opened(library=str(paths.get(what, libraries / "good.so")))
    assert estimator.estimate(next(frames())).score.mean() > 0.5
    assert time.monotonic() - begin < 10
    assert estimator.delegate == "cpu"
    assert text in estimator.trouble
    assert "\n" not in estimator.trouble


def test_a_device_that_computes_something_else_is_not_used(
    opened: Callable[..., AcceleratedEstimator], device: Device
) -> None:
    device.be("wrong")
    estimator = opened()
    assert estimator.delegate == "cpu"
    assert "this runtime computes another pose than the card's golden one" in estimator.trouble


def test_options_reach_the_library(opened: Callable[..., AcceleratedEstimator]) -> None:
    assert opened(device="usb:0").delegate == "edgetpu"
    assert opened(device="usb:1").delegate == "cpu"


def test_automatic_needs_a_device_and_a_compiled_model(
    model: Path, demo_model: Path, device: Device, tmp_path: Path
) -> None:
    find = partial(find_coral, tmp_path / "sys", tmp_path / "dev")
    open_here = partial(open_estimator, reporter=Reporter(), find=find)
    settings = InferenceConfig(threads=1, library=str(device.library))
    assert isinstance(open_here(model, settings), Estimator)
    usb = tmp_path / "sys" / "bus" / "usb" / "devices" / "1-1"
    usb.mkdir(parents=True)
    for ids in (("1a6e", "089a"), ("18d1", "9302")):
        for name, word in zip(("idVendor", "idProduct"), ids, strict=True):
            (usb / name).write_text(f"{word}\n", encoding="ascii")
        assert find() == f"Edge TPU on USB ({':'.join(ids)})"
    estimator = open_here(model, settings)
    assert estimator.delegate == "edgetpu"
    estimator.close()
    assert isinstance(open_here(demo_model, settings), Estimator)
    plain = open_here(demo_model, InferenceConfig(threads=1, delegate="edgetpu"))
    assert plain.trouble.endswith("holds no model_edgetpu.tflite; train with `fit --target coral`")


def test_check_says_which_one_it_would_be(
    model: Path, device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "edgepose.yaml"
    for library, text in (
        (device.library, r"ok +ai-edge-litert \S+, Edge TPU"),
        ("/none.so", "warn +Edge TPU: its library"),
    ):
        inference = f"{{threads: 1, delegate: edgetpu, library: {library}}}"
        config.write_text(f"model: {model}\ninference: {inference}\ncamera: {{source: synthetic}}\n", encoding="utf-8")
        main(["check", "-c", str(config)])
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("delegate"))
        assert re.match(rf"delegate +{text}", line), line


@pytest.mark.slow
def test_the_daemon_says_which_one_is_live_and_goes_on(
    model: Path,
    device: Device,
    mosquitto: Mosquitto,
    subscribe: Callable[..., Subscriber],
    run: Callable[..., Daemon],
    tmp_path: Path,
) -> None:
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    config = tmp_path / "edgepose.yaml"
    config.write_text(
        f"device: cage-07\nmodel: {model}\n"
        f"inference: {{threads: 1, delegate: edgetpu, library: {device.library}}}\n"
        "camera: {source: synthetic, size_wh: [320, 240], rate_hz: 25}\n"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\n",
        encoding="utf-8",
    )
    daemon = run(config)
    wait_until(lambda: len(subscriber.of("pose")) > 20, "poses", 30)
    assert subscriber.of("health")[0]["delegate"] == "edgetpu"
    device.be("crash")

    def lost() -> bool:
        return any(event["kind"] == "delegate_lost" for event in subscriber.of("event"))

    wait_until(lost, "the event")
    count = len(subscriber.of("pose"))
    wait_until(lambda: len(subscriber.of("pose")) > count + 20, "poses")
    seqs = [pose["seq"] for pose in subscriber.of("pose")]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    daemon.stop()
    final = subscriber.of("health")[-1]
    assert final["delegate"] == "cpu"
    assert final["alerts"]["delegate"].startswith("the accelerator's library crashed (SIGSEGV)")
