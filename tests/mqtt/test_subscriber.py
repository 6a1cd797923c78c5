"""The subscriber of `watch` and the demo: real brokers that end, refuse us, or speak older MQTT."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import msgspec
import pytest
from brokers import free_port, wait_until
from mouse_messages import pose, send, status
from paho.mqtt import publish
from rich.console import Console

from edgepose.cli.terminal_view import TerminalView, compose
from edgepose.config.schema import MqttConfig
from edgepose.errors import BrokerError, UsageError
from edgepose.mqtt.demo_broker import embedded
from edgepose.mqtt.subscriber import Subscriber
from edgepose.protocol.codec import encode

VERSION_1 = Path(__file__).parents[1] / "version_1"


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "mqtt://",
        "mqtt://host:port",
        "mqtt://host/topic",
        "mqtt://host:99999",
        "mqtt://broker..lan",
        "bla bla",
    ],
)
def test_bad_broker_urls(url):
    with pytest.raises(UsageError, match="mqtt://HOST:PORT"):
        Subscriber(url)


def test_broker_urls():
    subscriber = Subscriber("mqtt://me:a%40b@host:1884")
    assert subscriber.mqtt == MqttConfig(host="host", port=1884, username="me")
    assert subscriber._password == "a@b"
    assert Subscriber("host").mqtt.port == 1883


def hear(board: TerminalView, condition, what: str) -> None:
    def listen() -> bool:
        board.receive(0.05)
        return bool(condition())

    wait_until(listen, what)


def test_listens_to_a_real_broker_and_survives_its_death(mosquitto):
    mosquitto.start()
    board = TerminalView(Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}"))
    hear(board, lambda: board.subscriber.connected, "the connection")
    send(mosquitto.port, status(), "status", retain=True)
    send(mosquitto.port, pose(3), "pose")
    publish.single("edgepose/cage-07/pose", b'{"v": 1}', port=mosquitto.port)
    publish.single("edgepose/cage-07/pose", b"\xff not JSON", port=mosquitto.port)
    broken = encode(pose(1)).replace(b"snout", b"sn\xffut")
    publish.single("edgepose/cage-07/pose", broken, port=mosquitto.port)
    publish.single("edgepose/cage-07/health", msgspec.json.encode({"v": 2}), port=mosquitto.port)
    hear(board, lambda: board.subscriber.malformed == 4, "four unreadable messages")
    assert board.devices["cage-07"].pose == pose(3)
    mosquitto.kill()
    hear(board, lambda: not board.subscriber.connected and board.subscriber.trouble, "the loss")
    mosquitto.start()
    hear(board, lambda: board.subscriber.connected, "the connection to come back")
    send(mosquitto.port, pose(4), "pose")
    hear(board, lambda: board.devices["cage-07"].pose == pose(4), "poses to come back")
    board.subscriber.close()


def test_older_messages_are_converted_and_newer_ones_reported(mosquitto):
    mosquitto.start()
    board = TerminalView(Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}"))
    hear(board, lambda: board.subscriber.connected, "the connection")
    for leaf in ("pose", "status", "health", "info", "event"):
        payload = (VERSION_1 / f"{leaf}.json").read_bytes()
        publish.single(f"edgepose/cage-07/{leaf}", payload, port=mosquitto.port)
    later = json.dumps({**json.loads(encode(pose(1))), "v": 3}).encode()
    publish.single("edgepose/cage-08/pose", later, port=mosquitto.port)
    hear(board, lambda: board.subscriber.newer, "the newer message")
    state = board.devices["cage-07"]
    assert (state.pose.seq, state.pose.animals[0].keypoints["snout"].x) == (1000, 1000.0)
    assert (state.status.state, state.info.model, state.event.kind) == ("online", "m@1", "started")
    assert (board.subscriber.malformed, board.subscriber.newer) == (0, {"cage-08": 3})
    board.subscriber.close()


def test_one_device_alone(mosquitto):
    mosquitto.start()
    board = TerminalView(Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", "cage-08"))
    hear(board, lambda: board.subscriber.connected, "the connection")
    send(mosquitto.port, pose(1), "pose")
    send(mosquitto.port, pose(1, device="cage-08"), "pose")
    hear(board, lambda: board.devices, "a device")
    assert list(board.devices) == ["cage-08"]
    board.subscriber.close()


def test_a_device_that_is_not_there_is_named_with_those_that_are(mosquitto):
    mosquitto.start()
    board = TerminalView(Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", "cage-7"))
    hear(board, lambda: board.subscriber.connected, "the connection")
    send(mosquitto.port, status(), "status")
    hear(board, lambda: board.subscriber.others, "the status of another device")
    screen = Console(width=100)
    with screen.capture() as shown:
        screen.print(compose(board, 0.0, 100, 30))
    assert "waiting for cage-7; online here: cage-07" in shown.get()
    board.subscriber.close()


def test_a_broker_that_denies_is_an_error(mosquitto):
    mosquitto.start("allow_anonymous false", mosquitto.add_users(me="right"))
    board = TerminalView(Subscriber(f"mqtt://me:wrong@127.0.0.1:{mosquitto.port}"))
    with pytest.raises(BrokerError, match="refused: Not authorized; give --broker mqtt://USER@HOST, and the"):
        hear(board, lambda: False, "the refusal")
    board = TerminalView(Subscriber(f"mqtt://me:right@127.0.0.1:{mosquitto.port}"))
    hear(board, lambda: board.subscriber.connected, "the connection")
    board.subscriber.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # amqtt leaves sockets open
def test_falls_back_to_mqtt_3():
    pytest.importorskip("amqtt", reason="needs amqtt (pip install 'edgepose[demo]')")
    port = free_port()
    with embedded(port):
        board = TerminalView(Subscriber(f"mqtt://127.0.0.1:{port}"))
        hear(board, lambda: board.subscriber.connected, "the connection")
        send(port, pose(2), "pose")
        hear(board, lambda: "cage-07" in board.devices, "a pose")
        board.subscriber.close()
    gc.collect()
