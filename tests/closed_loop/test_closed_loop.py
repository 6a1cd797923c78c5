"""Closed loops on gpiozero's mock pins: rules, TTL in and out, own code that fails in every way."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from brokers import Mosquitto, Subscriber, wait_until
from daemons import Daemon
from fakes import FakeCamera, ListReporter

from edgepose.cli.main import main
from edgepose.closed_loop.closed_loop import ClosedLoop
from edgepose.closed_loop.processor import Processor, ProcessorTiming
from edgepose.config import closed_loop as loop_config
from edgepose.config.closed_loop import GpioConfig, RuleConfig
from edgepose.errors import ConfigError
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose, Skeleton

gpiozero = pytest.importorskip("gpiozero", reason="needs gpiozero (pip install gpiozero)")
mock = pytest.importorskip("gpiozero.pins.mock")

SKELETON = Skeleton(("snout", "tail"))
UNSURE = {"when": {"score": {"keypoint": "snout", "below": 0.5}}}


@pytest.fixture
def board() -> Iterator[Any]:
    """Mock pins in place of soldered ones: board.pin(17).state."""
    before, gpiozero.Device.pin_factory = gpiozero.Device.pin_factory, mock.MockFactory()
    yield gpiozero.Device.pin_factory
    gpiozero.Device.pin_factory.reset()
    gpiozero.Device.pin_factory = before


Make = Callable[..., tuple[ClosedLoop, ListReporter]]


@pytest.fixture
def made(board: Any) -> Iterator[Make]:
    loops: list[ClosedLoop] = []

    def make(gpio: GpioConfig | None = None, **rules: Any) -> tuple[ClosedLoop, ListReporter]:
        converted = {name: msgspec.convert(rule, RuleConfig) for name, rule in rules.items()}
        reporter = ListReporter()
        loops.append(ClosedLoop(converted, gpio or GpioConfig(), SKELETON, reporter=reporter))
        return loops[-1], reporter

    yield make
    for loop in loops:
        loop.close()


def frame(index: int = 0) -> Frame:
    return Frame(np.zeros((4, 4, 3), np.uint8), "bgr", index, time.monotonic_ns(), time.time_ns() // 1000)


def pose(score: float) -> Pose:
    return Pose(np.zeros((2, 2), np.float32), np.array([score, 1], np.float32))


def test_a_pin_is_high_while_its_rule_holds(made: Make, board: Any) -> None:
    loop, reporter = made(lick={**UNSURE, "pin": 17})
    states = []
    for index, score in enumerate((0.9, 0.1, 0.2, 0.9)):
        loop.posed(frame(index), pose(score))
        states.append(board.pin(17).state)
    assert states == [False, True, True, False]
    assert [(kind, text.split(",")[0]) for kind, text, _ in reporter.events] == [
        ("rule_on", "lick: frame 1"),
        ("rule_off", "lick: frame 3"),
    ]
    assert re.fullmatch(r"lick: frame 1, pin 17 high, \d+\.\d\d ms after the frame", reporter.events[0][1])
    assert loop.latency.percentiles()[2] < 50


def test_a_pulse_ends_by_itself_and_a_newer_one_prolongs_it(made: Make, board: Any) -> None:
    loop, _ = made(lick={**UNSURE, "pin": 17, "pulse_ms": 300, "event": False})
    begin = time.monotonic()
    for score in (0.1, 0.9, 0.1):
        loop.posed(frame(), pose(score))
        time.sleep(0.1)
    wait_until(lambda: not board.pin(17).state, "the end of the pulse")
    assert 0.45 < time.monotonic() - begin < 2


def test_outputs_are_low_at_the_end(made: Make, board: Any) -> None:
    loop, _ = made(lick={**UNSURE, "pin": 17})
    loop.posed(frame(), pose(0.1))
    pin = board.pin(17)
    assert pin.state
    loop.close()
    assert pin.function == "input"  # nobody drives it


def test_each_edge_of_an_input_is_an_event_with_its_clock(made: Make, board: Any) -> None:
    _, reporter = made(GpioConfig(inputs={"trigger": 23}))
    pin = board.pin(23)
    for drive in (pin.drive_high, pin.drive_low, pin.drive_high):
        drive()
    wait_until(lambda: len(reporter.events) == 3, "the edges")
    assert [(kind, text.split(",")[0], count) for kind, text, count in reporter.events] == [
        ("ttl_in", "trigger rising", 1),
        ("ttl_in", "trigger falling", 2),
        ("ttl_in", "trigger rising", 3),
    ]
    clocks = [int(re.search(r"(\d+) ns", text)[1]) for _, text, _ in reporter.events]
    assert clocks == reporter.mono_ns == sorted(clocks)
    assert time.monotonic_ns() - clocks[-1] < 5e9


def test_pulses_for_synchronising_are_events_with_their_frame(made: Make, board: Any) -> None:
    loop, reporter = made(GpioConfig(sync=loop_config.SyncConfig(pin=24, every_s=0.2, pulse_ms=20)))
    highs, begin_s = 0, time.monotonic()
    for index in range(30):
        before = board.pin(24).state
        loop.posed(frame(index), pose(1))
        highs += board.pin(24).state and not before
        time.sleep(0.02)
    assert 2 <= len(reporter.events) <= 1 + (time.monotonic() - begin_s) / 0.2
    assert highs == len(reporter.events)
    assert reporter.events[0][1].startswith("pulse 1 on pin 24, frame 0, monotonic clock ")


def test_pins_that_cannot_be_used_are_an_error(board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {"lick": msgspec.convert({**UNSURE, "pin": 17}, RuleConfig)}
    taken = gpiozero.LED(17)
    with pytest.raises(ConfigError, match=r"rules and gpio: the pins cannot be used \(GPIOPinInUse: "):
        ClosedLoop(rules, GpioConfig(), SKELETON, reporter=Reporter())
    taken.close()
    monkeypatch.setitem(__import__("sys").modules, "gpiozero", None)
    with pytest.raises(ConfigError, match="gpiozero is missing; sudo apt install python3-gpiozero"):
        ClosedLoop(rules, GpioConfig(), SKELETON, reporter=Reporter())


# --- own code ----------------------------------------------------------------------------------------------


def write_module(folder: Path, body: str) -> loop_config.ProcessorConfig:
    name = f"own_{abs(hash(body)) % 10**8}"
    (folder / f"{name}.py").write_text(body, encoding="utf-8")
    return loop_config.ProcessorConfig(load=f"{name}:Own", folder=str(folder), arguments={"gain": 2})


GOOD = """
class Own:
    seen = []
    def __init__(self, gain): self.gain = gain
    def process(self, pose, **kwargs):
        self.seen.append((pose.shape, kwargs, self.gain))
        return pose
    def close(self): self.seen.append("closed")
"""


def feed(processor: Processor, count: int = 5) -> None:
    camera = FakeCamera(count)
    while (one := camera.read()) is not None:
        processor.posed(one, pose(0.7))
        time.sleep(0.01)


def test_own_code_gets_each_pose_as_in_deeplabcut_live(tmp_path: Path) -> None:
    settings = write_module(tmp_path, GOOD)
    reporter = ListReporter()
    processor = Processor(settings, SKELETON, reporter=reporter)
    processor.start()
    feed(processor)
    processor.close()
    seen = __import__(settings.load.split(":")[0]).Own.seen
    assert seen[-1] == "closed"
    shape, kwargs, gain = seen[0]
    assert (shape, gain, kwargs["frame"], kwargs["keypoints"]) == ((2, 3), 2, 0, ("snout", "tail"))
    assert abs(kwargs["frame_time"] - time.time()) < 60
    assert reporter.alerts == {}


OWN = "class Own:\n    def __init__(self, gain): pass\n"
FAULTS = {
    "raises": (f"{OWN}    def process(self, pose, **k): return 1 / 0\n", "ZeroDivisionError: division by zero ("),
    "exits": (f"import sys\n{OWN}    def process(self, pose, **k): sys.exit(3)\n", "SystemExit: 3 ("),
    "is no code": ("class Own(:\n", "SyntaxError: "),
    "has another class": ("class Other: pass\n", "AttributeError: module "),
    "wants other arguments": ("class Own: pass\n", "TypeError: Own() takes no arguments"),
    "has no process": (OWN, "TypeError: Own has no method process(pose, **kwargs)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_own_code_that_fails_is_switched_off_and_reported(fault: str, tmp_path: Path) -> None:
    body, text = FAULTS[fault]
    reporter = ListReporter()
    processor = Processor(write_module(tmp_path, body), SKELETON, reporter=reporter)
    processor.start()
    feed(processor)
    wait_until(lambda: reporter.alerts, "the alert")
    (told,) = [text for kind, text, _ in reporter.events if kind == "processor_off"]
    assert f"is switched off: {text}" in told
    assert "\n" not in told
    assert reporter.alerts == {"processor": told}
    feed(processor)
    processor.close()


def test_own_code_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    timing = ProcessorTiming(slow_s=0.2, close_s=0.2)
    body = f"import time\n{OWN}    def process(self, pose, **k): time.sleep(30)\n"
    reporter = Reporter()
    processor = Processor(write_module(tmp_path, body), SKELETON, reporter=reporter, timing=timing)
    processor.start()
    begin = time.monotonic()
    feed(processor, 40)
    assert reporter.alerts["processor"].endswith("has been at work on one pose for more than 0.2 s")
    processor.close()
    assert time.monotonic() - begin < 5


def test_the_alert_about_slow_code_ends_when_the_code_returns(tmp_path: Path) -> None:
    timing = ProcessorTiming(slow_s=0.1)
    body = f"import time\n{OWN}    def process(self, pose, frame, **k): time.sleep(0.3 * (frame == 0))\n"
    reporter = Reporter()
    processor = Processor(write_module(tmp_path, body), SKELETON, reporter=reporter, timing=timing)
    processor.start()
    feed(processor, 20)
    assert set(reporter.alerts) == {"processor"}
    wait_until(lambda: not reporter.alerts, "the end of the alert")
    processor.close()


# --- the daemon --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_daemon_closes_the_loop_and_lives_on_when_own_code_fails(
    tmp_path: Path,
    demo_model: Path,
    mosquitto: Mosquitto,
    subscribe: Callable[..., Subscriber],
    run: Callable[..., Daemon],
) -> None:
    body = (
        "class Own:\n    count = 0\n    def __init__(self, after): self.after = after\n"
        "    def process(self, pose, **kwargs):\n        self.count += 1\n"
        "        if self.count > self.after: raise RuntimeError('out of pellets')\n"
    )
    (tmp_path / "feeder.py").write_text(body, encoding="utf-8")
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    config = tmp_path / "edgepose.yaml"
    config.write_text(
        f"device: cage-07\nmodel: {demo_model}\ninference: {{threads: 1}}\n"
        "camera: {source: synthetic, size_wh: [320, 240], rate_hz: 25}\n"
        "rules:\n  left:\n    when: {in_zone: {keypoint: snout, zone: [[0, 0], [160, 0], [160, 240], [0, 240]]}}\n"
        "    pin: 17\n"
        "  sure: {when: {score: {keypoint: snout, below: 1}}, pin: 18, pulse_ms: 5}\n"
        "gpio: {sync: {pin: 24, every_s: 0.5}}\n"
        "processor: {load: 'feeder:Own', arguments: {after: 10}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\n",
        encoding="utf-8",
    )
    os.environ["GPIOZERO_PIN_FACTORY"] = "mock"
    try:
        assert main(["check", "-c", str(config)]) == 0
        daemon = run(config)
    finally:
        del os.environ["GPIOZERO_PIN_FACTORY"]

    def events(kind: str) -> list[dict[str, Any]]:
        return [event for event in subscriber.of("event") if event["kind"] == kind]

    wait_until(
        lambda: len(events("ttl_out")) >= 3 and events("processor_off"), "pulses, and the end of the own code", 40
    )
    assert "RuntimeError: out of pellets" in events("processor_off")[0]["text"]
    assert events("rule_on")
    seqs = [one["seq"] for one in subscriber.of("pose")]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    steps_s = np.diff([event["t_us"] for event in events("ttl_out")]) / 1e6
    assert ((steps_s > 0.4) & (steps_s < 1)).all()
    count = len(seqs)
    wait_until(lambda: len(subscriber.of("pose")) > count + 20, "poses")
    daemon.process.terminate()  # not `stop`: the log has the traceback of the own code
    assert daemon.process.wait(60) == 0
    health = subscriber.of("health")[-1]
    assert health["stage_ms"]["rules"][0] > 0
    assert "out of pellets" in health["alerts"]["processor"]


def test_check_says_what_is_wrong_with_own_code(
    tmp_path: Path, demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "edgepose.yaml"
    config.write_text(
        f"model: {demo_model}\ncamera: {{source: synthetic}}\nprocessor: {{load: 'nothing_here:Own'}}\n",
        encoding="utf-8",
    )
    main(["check", "-c", str(config)])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("processor"))
    assert line.split(maxsplit=2)[1:] == [
        "FAIL",
        f"nothing_here:Own in {tmp_path}: ModuleNotFoundError: No module named 'nothing_here'",
    ]
