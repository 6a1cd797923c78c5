"""Commands through a real broker to a real pipeline: each is carried out once and answered, or rejected and counted."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from asker import Asker, asking
from brokers import Mosquitto, Subscriber, wait_until
from chaos_proxy import Proxy
from delivering import BOOT, DEVICE, info, new_delivery
from fakes import SIZE_WH, FakeCamera, FakeEstimator
from paho.mqtt import publish

from edgepose.camera.supervisor import CameraSupervisor
from edgepose.config.schema import MqttConfig
from edgepose.daemon.board import BoardSensors
from edgepose.daemon.command_handlers import CommandHandlers
from edgepose.daemon.dispatcher import MOST_WAITING, CommandDispatcher
from edgepose.daemon.health import HealthMonitor as DaemonsHealth
from edgepose.daemon.pipeline import Pipeline
from edgepose.daemon.settings import read_settings
from edgepose.errors import EdgeposeError
from edgepose.protocol.commands import COMMANDS, LONGEST_COMMAND, CommandRejectedError, Health, ReplyMessage
from edgepose.protocol.messages import HealthMessage, InfoMessage, Settings
from edgepose.protocol.topics import topic_name
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose

RESPONSE = {"ResponseTopic": "answers/here", "CorrelationData": b"\x00\x01"}


class Device:
    """The parts of `edgepose run`, with a fake camera and a fake model.

    Attributes:
        gate: the command `health` waits until it is set.
        waiting: set when the command `health` waits.
    """

    def __init__(
        self, mqtt: MqttConfig, folder: Path, commands: tuple[str, ...], frame_s: float, more_handlers: dict[str, Any]
    ) -> None:
        self.stop, self.gate, self.waiting = threading.Event(), threading.Event(), threading.Event()
        self.file = folder / "settings.json"
        self.gate.set()
        settings = read_settings(self.file)
        self.reporter = Reporter()
        about = info(tags={"subject": "m3"}, settings=settings)
        self.delivery = new_delivery(mqtt, self.stop, about, reporter=self.reporter)
        self.camera = CameraSupervisor(lambda: FakeCamera(10**9, live=True, period_s=0.01), reporter=self.reporter)
        self.pipeline = Pipeline(
            self.camera,
            FakeEstimator(),
            self.delivery,
            DEVICE,
            reporter=self.reporter,
            settings=settings,
        )
        self.handlers = CommandHandlers(
            self.pipeline,
            self.delivery,
            SimpleNamespace(versions=list),
            self.file,
            self.health,
            self.stop,
            on_mark=lambda _: None,
            reporter=self.reporter,
            frame_s=frame_s,
        )
        handlers = dict(self.handlers.by_name())
        send_health = handlers["health"]

        def wait_first(command: Health) -> dict[str, Any]:
            self.waiting.set()
            assert self.gate.wait(20)
            return send_health(command)

        handlers["health"] = wait_first
        self.dispatcher = CommandDispatcher(DEVICE, BOOT, commands, {**handlers, **more_handlers})
        self._thread = threading.Thread(target=self.pipeline.run, args=(self.stop,))

    def start(self) -> None:
        self.delivery.start(self.health, self.dispatcher, self.pipeline.first_seq)
        self._thread.start()
        wait_until(lambda: self.delivery.connects, "the device to connect")

    def health(self) -> HealthMessage:
        recording = SimpleNamespace(recorded=lambda: None)
        board = BoardSensors(Path("/"))
        model = SimpleNamespace(estimator=SimpleNamespace(describe=lambda: "fake", delegate="cpu"))
        parts = (self.camera, self.pipeline, self.delivery, recording, board, model)
        return DaemonsHealth(DEVICE, *parts, stages={}, reporter=self.reporter).message()

    def end(self) -> None:
        self.gate.set()
        self.stop.set()
        self._thread.join(10)
        self.delivery.close()


@pytest.fixture
def new_device(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Callable[..., Device]]:
    """new_device(...) makes and starts a device that carries out every command; it ends with the test."""
    made: list[Device] = []

    def start(
        commands: tuple[str, ...] = tuple(COMMANDS),
        *,
        frame_s: float = 3.0,
        handlers: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Device:
        mqtt = MqttConfig(**{"host": "127.0.0.1", "port": mosquitto.port, **settings})
        made.append(Device(mqtt, tmp_path / "state", commands, frame_s, handlers or {}))
        made[-1].start()
        return made[-1]

    yield start
    for device in made:
        device.end()


@pytest.fixture
def asker(mosquitto: Mosquitto) -> Iterator[Asker]:
    """Sends commands through a broker that it has started."""
    mosquitto.start()
    with asking(mosquitto.port) as made:
        yield made


# --- each command, in each way of asking ------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["5 with a response topic", "5 without", "3.1.1"])
def test_every_command_is_carried_out_and_answered(
    way: str, mosquitto: Mosquitto, new_device: Callable[..., Device]
) -> None:
    mosquitto.start()
    device = new_device(protocol="3.1.1" if way == "3.1.1" else "5")
    more = RESPONSE if way == "5 with a response topic" else {}
    sent = {
        "ping": {},
        "health": {},
        "snapshot": {},
        "set": {"rate_hz": 50.5, "region": [0, 0, 32, 16]},
        "mark": {"phase": "start", "text": "light on"},
        "model": {"action": "list"},
        "restart": {},
    }
    assert set(sent) == set(COMMANDS)
    with asking(mosquitto.port, "3.1.1" if way == "3.1.1" else "5") as asker:
        results = {}
        for name, fields in sent.items():
            reply = asker.ask(name, {**fields, "id": f"{name}-1"}, **more)
            assert (reply["ok"], reply["error"], reply["id"]) == (True, "", f"{name}-1")
            assert (reply["command"], reply["device"], reply["boot"]) == (name, DEVICE, BOOT)
            results[name] = reply["result"]
        wait_until(device.stop.is_set, "the device to stop")
    if more:
        assert {(topic, correlation) for topic, _, correlation in asker.heard} == {("answers/here", b"\x00\x01")}
    else:
        assert [topic for topic, _, _ in asker.heard] == [f"edgepose/{DEVICE}/reply/{name}" for name in sent]
    assert set(results["ping"]) == {"version"}
    assert results["health"]["poses"] > 0
    jpeg = results["snapshot"]["jpeg"]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(jpeg), np.uint8), 1)
    assert picture.shape == (SIZE_WH[1], SIZE_WH[0], 3)
    assert picture.any()  # the pose, in a black frame
    expected = Settings(rate_hz=50.5, region=(0, 0, 32, 16))
    assert results["set"] == {"rate_hz": 50.5, "min_score": 0.0, "region": [0, 0, 32, 16]}
    assert device.pipeline.settings == read_settings(device.file) == expected
    assert device.handlers.restarting
    assert device.delivery.rejected == {}


def test_a_mark_has_its_place_among_the_poses_and_its_tags(
    asker: Asker, subscribe: Callable[[int], Subscriber], new_device: Callable[..., Device], mosquitto: Mosquitto
) -> None:
    subscriber = subscribe(mosquitto.port)
    new_device()
    wait_until(lambda: len(subscriber.seqs()) > 5, "poses")
    asker.ask("mark", {"phase": "stop", "text": "Käfig 7 ✓"})
    wait_until(lambda: subscriber.of("event"), "the event")
    (event,) = subscriber.of("event")
    assert (event["kind"], event["text"], event["tags"]) == ("mark_stop", "Käfig 7 ✓", {"subject": "m3"})
    order = [message.get("seq", 0) for topic, message, _ in subscriber.messages if topic.endswith(("/pose", "/event"))]
    at = order.index(event["seq"])
    assert order[at - 1] <= event["seq"] <= order[at - 1] + 1


def test_a_set_is_an_event_and_a_set_of_nothing_returns_the_settings(
    asker: Asker, subscribe: Callable[[int], Subscriber], new_device: Callable[..., Device], mosquitto: Mosquitto
) -> None:
    subscriber = subscribe(mosquitto.port)
    device = new_device()
    assert asker.ask("set")["result"] == {"rate_hz": None, "min_score": 0.0, "region": None}
    assert not device.file.exists()
    asker.ask("set", {"min_score": 0.4})
    wait_until(lambda: subscriber.of("event"), "the event")
    assert json.loads(subscriber.of("event")[0]["text"]) == {"rate_hz": None, "min_score": 0.4, "region": None}
    wait_until(lambda: subscriber.of("info")[-1]["settings"]["min_score"] == 0.4, "the new /info")
    asker.ask("set", {"min_score": 0.4})
    asker.ask("set", {"min_score": None})
    wait_until(lambda: len(subscriber.of("event")) == 2, "one event for each change")


# --- what is not carried out ------------------------------------------------------------------------------------


def test_only_ping_is_carried_out_unless_the_config_names_more(asker: Asker, new_device: Callable[..., Device]) -> None:
    device = new_device(("ping",))
    for name in COMMANDS:
        reply = asker.ask(name, {"id": "1"} if name == "ping" else {})
        assert reply["ok"] == (name == "ping")
        if name != "ping":
            assert reply["error"] == f"not enabled on this device: add {name} to `commands` in its config"
    assert device.delivery.rejected == {"disabled": len(COMMANDS) - 1}
    assert not device.stop.is_set()
    assert device.pipeline.settings == Settings()


MALFORMED: list[tuple[str, bytes, str]] = [
    ("ping", b"hello", 'not a JSON object such as {"rate_hz": 5}; for a command without fields'),
    ("ping", b"5", 'not a JSON object such as {"rate_hz": 5}; for a command without fields'),
    ("ping", b"[]", 'not a JSON object such as {"rate_hz": 5}; for a command without fields'),
    ("ping", b'{"id": "1"', 'not a JSON object such as {"rate_hz": 5}; for a command without fields'),
    ("ping", b"\xff\x00", 'not a JSON object such as {"rate_hz": 5}; for a command without fields'),
    ("ping", b'{"id": 7}', "ping: id: expected text or nothing, got a whole number"),
    ("set", b'{"rate": 5}', "set: rate: unknown key; did you mean 'rate_hz'?"),
    ("set", b'{"rate_hz": "5"}', "set: rate_hz: expected a number or nothing, got text"),
    ("set", b'{"rate_hz": 1e99}', "set: rate_hz: expected a number <= 1000.0"),
    ("set", b'{"region": [0, 0, 9, 9]}', "set: region[2]: expected a whole number >= 16"),
    ("mark", b'{"phase": "strat"}', "mark: phase: 'strat' is not known; did you mean 'start'?"),
    ("set", b'{"region": ' + b"[" * 4000, 'not a JSON object such as {"rate_hz": 5}; for a command without fields'),
]


def test_what_is_malformed_unknown_or_huge_is_answered_with_the_reason(
    asker: Asker, new_device: Callable[..., Device]
) -> None:
    device = new_device()
    for name, payload, error in MALFORMED:
        reply = asker.ask(name, payload)
        assert not reply["ok"]
        assert reply["error"].startswith(error)
    assert asker.ask("fly", {"id": "u"}) | {"result": 0} == {
        "v": 2,
        "device": DEVICE,
        "boot": BOOT,
        "command": "fly",
        "id": "u",
        "ok": False,
        "error": f"no such command; there are {', '.join(COMMANDS)}",
        "result": 0,
    }
    assert asker.ask("x" * 1000)["command"] == "x" * 64
    assert asker.ask("")["error"].startswith("no such command")
    assert {topic for topic, _, _ in asker.heard[-3:]} == {f"edgepose/{DEVICE}/reply/unknown"}
    assert asker.ask("ping", b" " * (LONGEST_COMMAND - 2) + b"{}")["ok"]
    assert asker.ask("ping", b" " * (LONGEST_COMMAND - 1) + b"{}")["error"] == "longer than 4096 bytes"
    asker.send("ping", b" " * 70_000)  # more than a packet may have that the broker sends us: it drops it
    assert asker.ask("ping", {"id": "after"})["id"] == "after"
    assert device.delivery.rejected == {"malformed": len(MALFORMED), "unknown": 3, "too_large": 1}
    assert device.delivery.connects == 1


def test_what_an_older_protocol_lets_through_is_too_large(
    mosquitto: Mosquitto, new_device: Callable[..., Device]
) -> None:
    mosquitto.start()
    device = new_device(protocol="3.1.1")
    with asking(mosquitto.port, "3.1.1") as asker:
        assert asker.ask("ping", b" " * 1_000_000)["error"] == "longer than 4096 bytes"
    assert (device.delivery.rejected, device.delivery.connects) == ({"too_large": 1}, 1)


def test_a_retained_command_is_never_carried_out(asker: Asker, new_device: Callable[..., Device]) -> None:
    asker.send("restart", retain=True)
    device = new_device()
    wait_until(lambda: len(asker.heard) == 1, "the reply")
    assert asker.ask("restart", retain=True)["error"].startswith("a retained command")
    assert asker.ask("restart", b"", retain=True)["error"].startswith("a retained command")  # that removes it
    assert device.delivery.rejected == {"retained": 3}
    assert not device.stop.is_set()
    assert asker.ask("ping")["ok"]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_was_sent_while_the_device_was_away_is_late(
    protocol: str, mosquitto: Mosquitto, new_device: Callable[..., Device]
) -> None:
    """This holds for any number of commands and for a slow network: brokers send them a window at a time."""
    mosquitto.start()
    proxy = Proxy(mosquitto.port)
    with asking(mosquitto.port) as asker:
        new_device(protocol=protocol, port=proxy.port).end()
        topic = topic_name(DEVICE, "command/mark")
        publish.multiple([(topic, b'{"id": "%d"}' % i, 1, False) for i in range(70)], port=mosquitto.port)
        asker.send("restart", retain=True)
        proxy.mode = "delay"
        device = new_device(protocol=protocol, port=proxy.port)
        wait_until(lambda: sum(device.delivery.rejected.values()) >= 71, "all that was kept")
        proxy.mode = "pass"
        wait_until(lambda: asker.ask("ping")["ok"], "what comes now to be new")
    assert device.delivery.rejected["late"] >= 70
    assert set(device.delivery.rejected) == {"late", "retained"}
    assert {reply["error"] for reply in asker.replies() if reply["command"] == "mark"} == {
        "sent while the device was away; send it again"
    }
    proxy.close()


def test_an_id_is_carried_out_once_also_when_it_comes_again_late(
    asker: Asker, new_device: Callable[..., Device], mosquitto: Mosquitto
) -> None:
    device = new_device()
    assert asker.ask("mark", {"id": "a"})["ok"]
    again = asker.ask("mark", {"id": "a"})
    assert (again["ok"], again["id"]) == (False, "a")
    assert again["error"] == "a command with this id came before, and is carried out once"
    assert asker.ask("mark", {"id": "b"})["ok"]
    assert asker.ask("mark")["ok"]
    assert asker.ask("mark")["ok"]  # without an id nobody can tell
    assert device.delivery.rejected == {"repeated": 1}
    late = CommandRejectedError("late", "sent while the device was away; send it again")
    for refusal in (None, late):  # a broker repeats what was not acknowledged when the connection broke
        device.dispatcher.submit("mark", b'{"id": "a"}', lambda _: None, refusal)
    assert device.delivery.rejected == {"repeated": 3}


def test_more_at_a_time_than_wait_are_busy_and_hold_nothing_up(asker: Asker, new_device: Callable[..., Device]) -> None:
    device = new_device()
    device.gate.clear()
    asker.send("health", {"id": "slow"})
    wait_until(device.waiting.is_set, "it to be in work")
    for i in range(MOST_WAITING + 4):
        asker.send("ping", {"id": f"{i}"})
    wait_until(lambda: len(asker.heard) == 4, "the replies to those that find no room")
    assert [reply["id"] for reply in asker.replies()] == [f"{MOST_WAITING + i}" for i in range(4)]
    assert {reply["error"] for reply in asker.replies()} == {"too many commands at a time, or about to stop; try again"}
    delivered = device.delivery.delivered
    wait_until(lambda: device.delivery.delivered > delivered + 20, "poses, which go on")
    device.gate.set()
    wait_until(lambda: len(asker.heard) == MOST_WAITING + 5, "all replies")
    assert asker.ask("ping", {"id": f"{MOST_WAITING}"})["ok"]  # it was not carried out, so its id is free
    assert device.delivery.rejected == {"busy": 4}


# --- where the answer goes --------------------------------------------------------------------------------------

HOSTILE = [
    "",
    "#",
    "answers/#",
    "answers/+/x",
    "+",
    "$SYS/broker/uptime",
    "$share/group/answers",
    "answers/" * 200,
    "/" * 150,
    "a" * 60_000,
    f"edgepose/{DEVICE}/command/ping",
    f"edgepose/{DEVICE}/command/restart",
    "edgepose/cage-08/command/restart",
    f"edgepose/{DEVICE}/pose",
    f"edgepose/{DEVICE}/status",
]


def test_no_response_topic_does_harm(
    asker: Asker, subscribe: Callable[[int], Subscriber], new_device: Callable[..., Device], mosquitto: Mosquitto
) -> None:
    """An answer there would itself be a pose or a command, or the broker would disconnect the device for it."""
    subscriber = subscribe(mosquitto.port)  # which checks every message
    device = new_device()
    for topic in HOSTILE:
        assert asker.ask("ping", ResponseTopic=topic, CorrelationData=b"1")["ok"], topic
    assert {(topic, correlation) for topic, _, correlation in asker.heard} == {(f"edgepose/{DEVICE}/reply/ping", None)}
    assert len(asker.heard) == len(HOSTILE)
    assert (device.delivery.connects, device.delivery.rejected) == (1, {})
    poses = len(subscriber.seqs())
    wait_until(lambda: len(subscriber.seqs()) > poses, "poses, which go on")


@pytest.mark.parametrize("topic", ["answers/here", f"edgepose/{DEVICE}/reply/mine", "answers/Käfig 7", "answers//"])
def test_usual_response_topics_are_used(topic: str, asker: Asker, new_device: Callable[..., Device]) -> None:
    new_device()
    asker.ask("ping", ResponseTopic=topic, CorrelationData=bytes(range(256)) * 100)
    assert asker.heard[0][0] == topic
    assert asker.heard[0][2] == bytes(range(256)) * 100


def test_replies_that_the_broker_refuses_are_counted_and_fill_no_memory(
    mosquitto: Mosquitto, new_device: Callable[..., Device], tmp_path: Path
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite edgepose/+/pose\ntopic readwrite edgepose/+/command/#\ntopic read #\n")
    mosquitto.start("allow_anonymous true", f"acl_file {rules}")
    device = new_device()
    with asking(mosquitto.port) as asker:
        for i in range(20):
            asker.send("ping", ResponseTopic=f"secret/{i}")
            asker.send("ping", ResponseTopic=f"edgepose/{DEVICE}/reply/{i}")
        wait_until(lambda: device.delivery.rejected.get("unanswered") == 40, "the refusals")
        assert asker.heard == []
    alerts = device.delivery.reporter.alerts
    assert set(alerts) <= {"reply", "info", "status", "health", "event"}
    assert "refuses replies to commands: not authorized; correct its access list" in alerts["reply"]
    assert device.delivery.connects == 1


def test_a_picture_larger_than_the_broker_takes_is_an_error_in_the_reply(
    mosquitto: Mosquitto, new_device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    mosquitto.start("allow_anonymous true", "max_packet_size 1500")
    device = new_device()
    black = FakeEstimator.estimate
    chance = np.random.default_rng(1)

    def noisy(self: FakeEstimator, frame: Frame, _region: object = None) -> Pose:
        frame.image[:] = chance.integers(0, 256, frame.image.shape)
        return black(self, frame)

    monkeypatch.setattr(FakeEstimator, "estimate", noisy)
    with asking(mosquitto.port) as asker:
        reply = asker.ask("snapshot", {"id": "1"}, **RESPONSE)
        assert (reply["ok"], reply["id"], reply["result"]) == (False, "1", {})
        assert "more than the broker takes; raise its limit" in reply["error"]
        assert asker.heard[0][2] == b"\x00\x01"
        # Whoever sends just as much as the broker takes gets an answer that is more than that.
        asker.send("ping", ResponseTopic="answers/here", CorrelationData=bytes(1400))
        wait_until(lambda: device.delivery.rejected == {"unanswered": 1}, "the answer to be given up")
        assert asker.ask("ping")["ok"]
    assert device.delivery.connects == 1


# --- trouble ------------------------------------------------------------------------------------------------------


def test_a_message_that_nobody_can_read_costs_one_connection(
    asker: Asker, subscribe: Callable[[int], Subscriber], new_device: Callable[..., Device], mosquitto: Mosquitto
) -> None:
    """U+FEFF is allowed in MQTT, and paho takes it for a broken packet; the broker would send it again for ever."""
    subscriber = subscribe(mosquitto.port)
    device = new_device()
    asker.send("ping", ResponseTopic="answers/\ufeff")
    wait_until(lambda: device.delivery.connects == 2, "the device to come back")
    assert asker.ask("ping")["ok"]
    poses = device.pipeline.poses
    wait_until(lambda: len(set(subscriber.seqs())) > poses, "poses, which go on")
    seqs = sorted(set(subscriber.seqs()))
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert device.delivery.connects == 2


def test_settings_that_cannot_be_kept_are_not_in_effect(
    asker: Asker, new_device: Callable[..., Device], tmp_path: Path
) -> None:
    (tmp_path / "state").touch()  # where the folder should be
    device = new_device()
    reply = asker.ask("set", {"rate_hz": 5})
    assert not reply["ok"]
    assert "cannot keep the settings (" in reply["error"]
    assert device.pipeline.settings == Settings()
    assert asker.ask("set")["result"]["rate_hz"] is None
    assert device.delivery.rejected == {"failed": 1}


def test_a_region_has_to_lie_within_the_frame(asker: Asker, new_device: Callable[..., Device]) -> None:
    device = new_device()
    reply = asker.ask("set", {"region": [40, 0, 32, 32], "rate_hz": 5})
    assert reply["error"] == "region [40, 0, 32, 32] (x, y, w, h) does not lie within the frame, which is 64x48"
    assert device.pipeline.settings == Settings()
    device.pipeline.settings = Settings(region=(40, 0, 32, 32))  # of a camera that was larger
    assert asker.ask("set", {"rate_hz": 5})["result"]["region"] == [40, 0, 32, 32]
    assert device.health().alerts["region"].startswith("[40, 0, 32, 32] is not within the 64x48 frame")
    assert asker.ask("set", {"region": None})["result"] == {"rate_hz": 5.0, "min_score": 0.0, "region": None}


def test_without_frames_a_snapshot_says_so(
    asker: Asker, new_device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = new_device(frame_s=0.1)
    estimate = FakeEstimator.estimate
    monkeypatch.setattr(FakeEstimator, "estimate", lambda *args: device.stop.wait(20) and estimate(*args))
    for name, fields in (("snapshot", {}), ("set", {"region": [0, 0, 16, 16]})):
        assert asker.ask(name, fields)["error"] == "no frame came within 0.1 s; does the camera give frames?"
    assert asker.ask("ping")["ok"]


@pytest.mark.parametrize(
    "error", [EdgeposeError("disk \udcff\n full"), ValueError("odd \udcff"), RecursionError(), KeyError(b"\xff")]
)
def test_whatever_a_command_raises_it_is_answered_and_the_next_one_is_carried_out(
    error: Exception, asker: Asker, new_device: Callable[..., Device], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Health) -> dict[str, Any]:
        raise error

    device = new_device(handlers={"health": fail})
    reply = asker.ask("health", {"id": "1"})
    assert (reply["ok"], reply["id"], reply["result"]) == (False, "1", {})
    assert reply["error"]
    assert asker.ask("ping")["ok"]
    assert device.delivery.rejected == {"failed": 1}


def test_a_result_that_cannot_be_sent_is_an_error(
    asker: Asker, new_device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    new_device(handlers={"ping": lambda command: {"odd": object()}})
    assert asker.ask("ping")["error"].startswith("failed: TypeError(")


def test_a_command_in_work_at_the_end_is_answered_before_the_last_word(
    asker: Asker, subscribe: Callable[[int], Subscriber], new_device: Callable[..., Device], mosquitto: Mosquitto
) -> None:
    subscriber = subscribe(mosquitto.port)
    device = new_device()
    device.gate.clear()
    asker.send("health", {"id": "slow"})
    asker.send("restart", {"id": "next"})
    wait_until(device.waiting.is_set, "the first one to be carried out")
    asker.ask("restart", b"5")  # its answer shows that the one before has come, too
    device.end()
    wait_until(lambda: subscriber.of("status")[-1]["state"] == "stopped", "the last word")
    told = [topic.split("/")[2] for topic, _, _ in subscriber.messages if topic.split("/")[2] in ("reply", "status")]
    assert told == ["status", "reply", "reply", "reply", "status"]
    answers: list[ReplyMessage] = []
    device.dispatcher.submit("ping", b'{"id": "after"}', answers.append)
    assert not answers[0].ok
    assert device.delivery.rejected["busy"] == 1


def test_two_threads_that_change_the_info_lose_neither_change(
    new_device: Callable[..., Device], mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    mosquitto.start()
    device = new_device()
    device.end()
    replace, sizes = msgspec.structs.replace, [(64 + i, 48) for i in range(50)]

    def slowly(info: InfoMessage, **changes: Any) -> InfoMessage:
        found = replace(info, **changes)
        time.sleep(0.002)  # for the other thread
        return found

    monkeypatch.setattr(msgspec.structs, "replace", slowly)
    resizing = threading.Thread(target=lambda: [device.delivery.change_info(size_wh=size) for size in sizes])
    resizing.start()
    device.delivery.change_info(settings=Settings(rate_hz=5))
    resizing.join(30)
    assert (device.delivery._info.settings.rate_hz, device.delivery._info.size_wh) == (5, sizes[-1])


# --- by hand ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("mosquitto_rr") is None, reason="needs mosquitto_rr (apt install mosquitto-clients)")
def test_by_hand_with_mosquitto_rr(mosquitto: Mosquitto, new_device: Callable[..., Device]) -> None:
    mosquitto.start()
    new_device()

    def ask(name: str, payload: str) -> dict[str, Any]:
        where = ["-h", "127.0.0.1", "-p", f"{mosquitto.port}", "-V", "5", "-W", "10"]
        words = ["mosquitto_rr", *where, "-t", f"edgepose/{DEVICE}/command/{name}", "-e", "reply/me", "-m", payload]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
        return dict(json.loads(done.stdout))

    assert ask("ping", "{}")["ok"]
    assert ask("set", '{"rate_hz": 5}')["result"]["rate_hz"] == 5
    assert ask("set", '{"rate_hz": null}')["result"]["rate_hz"] is None
    assert ask("set", "rate_hz=5")["error"].startswith("not a JSON object such as ")
    assert base64.b64decode(ask("snapshot", "")["result"]["jpeg"])[:2] == b"\xff\xd8"
