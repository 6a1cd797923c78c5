"""Delivery over a real broker: nothing is lost, nothing is out of order, every trouble is told once."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import Mosquitto, Subscriber, wait_until
from fakes import SIZE_WH, SKELETON

from edgepose.core.config import Mqtt
from edgepose.core.errors import BrokerError
from edgepose.core.messages import HealthMessage, InfoMessage, Keypoint, PoseMessage, StatusMessage
from edgepose.delivery import mqtt as mqtt_module
from edgepose.delivery.broker import probe_broker
from edgepose.delivery.mqtt import MqttDelivery

DEVICE, BOOT = "cage-07", "b"


def pose(seq: int) -> PoseMessage:
    return PoseMessage(
        device=DEVICE,
        boot=BOOT,
        seq=seq,
        frame=seq,
        t_us=1,
        synced=True,
        replay=False,
        latency_ms=1.0,
        model="fake@000000",
        size_wh=SIZE_WH,
        keypoints={"snout": Keypoint(1.0, 2.0, 0.9)},
    )


def health() -> HealthMessage:
    counts = dict.fromkeys(("t_us", "captured", "poses", "delivered", "waiting"), 0)
    return HealthMessage(
        device=DEVICE,
        boot=BOOT,
        uptime_s=0.0,
        fps=0.0,
        skipped={},
        dropped={},
        stage_ms={},
        rss_mb=0.0,
        runtime="",
        **counts,
    )


def new_delivery(settings: Mqtt) -> MqttDelivery:
    status = StatusMessage(device=DEVICE, boot=BOOT, state="online", run="r")
    info = InfoMessage(device=DEVICE, boot=BOOT, model="fake@000000", skeleton=SKELETON, size_wh=None, versions={})
    return MqttDelivery(settings, status, info, threading.Event())


@pytest.fixture(autouse=True)
def short_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some brokers here never take what is left."""
    monkeypatch.setattr(mqtt_module, "DRAIN_S", 0.2)
    monkeypatch.setattr(mqtt_module, "LAST_WORD_S", 0.5)


@pytest.fixture
def deliver_to() -> Iterator[Callable[[Mqtt], MqttDelivery]]:
    """deliver_to(settings) makes and starts a delivery, which is closed at the end."""
    made: list[MqttDelivery] = []

    def make(settings: Mqtt) -> MqttDelivery:
        made.append(new_delivery(settings))
        made[-1].start(health)
        return made[-1]

    yield make
    for delivery in made:
        delivery.close()


def at(broker: Mosquitto, **settings: object) -> Mqtt:
    return Mqtt(host="127.0.0.1", port=broker.port, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_poses_arrive_once_in_order_and_the_rest_is_retained(
    protocol: str, mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber]
) -> None:
    mosquitto.start()
    early = subscribe(mosquitto.port)
    delivery = new_delivery(at(mosquitto, protocol=protocol))
    delivery.start(health)
    for seq in range(500):
        delivery.deliver(pose(seq))
    delivery.wait_delivered()
    late = subscribe(mosquitto.port)
    wait_until(lambda: len(late.messages) == 3, "the retained topics")
    assert {topic: retained for topic, _, retained in late.messages} == {
        f"edgepose/{DEVICE}/{leaf}": True for leaf in ("status", "info", "health")
    }
    assert late.of("status")[0]["state"] == "online"
    assert late.of("info")[0]["size_wh"] == list(SIZE_WH)
    delivery.close()
    wait_until(lambda: early.of("status")[-1]["state"] == "stopped", "the last word")
    assert early.seqs() == list(range(500))
    assert (delivery.delivered, delivery.waiting) == (500, 0)


def test_a_broker_that_dies_and_returns_loses_nothing(
    mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber], deliver_to: Callable[[Mqtt], MqttDelivery]
) -> None:
    mosquitto.start("allow_anonymous true", "persistence true", "max_queued_messages 0")
    subscriber = subscribe(mosquitto.port)
    mosquitto.save()
    delivery = deliver_to(at(mosquitto))
    stop, produced = threading.Event(), []

    def produce() -> None:
        while not stop.wait(0.001):
            delivery.deliver(pose(len(produced)))
            produced.append(len(produced))

    producer = threading.Thread(target=produce)
    producer.start()
    wait_until(lambda: len(subscriber.seqs()) > 200, "poses to flow")
    mosquitto.freeze()
    wait_until(lambda: delivery.waiting > 100, "poses to pile up")
    # What the broker acknowledged and had not passed on would die with it; that is its loss, not ours.
    wait_until(lambda: len(subscriber.seqs()) >= delivery.delivered, "what it took to arrive")
    mosquitto.kill()
    mosquitto.start()
    wait_until(lambda: delivery.waiting < 20, "the backlog to go out")
    stop.set()
    producer.join()
    wait_until(lambda: len(set(subscriber.seqs())) == len(produced), "all poses")
    assert list(dict.fromkeys(subscriber.seqs())) == produced
    assert {status["state"] for status in subscriber.of("status")} == {"online"}
    assert len(subscriber.of("status")) >= 2
    assert len(subscriber.of("info")) >= 2


def test_an_absent_broker_is_told_once_and_awaited(
    mosquitto: Mosquitto, deliver_to: Callable[[Mqtt], MqttDelivery], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    delivery = deliver_to(at(mosquitto))
    delivery.deliver(pose(1))
    wait_until(lambda: caplog.messages, "the first failure")
    mosquitto.start()
    wait_until(lambda: delivery.delivered == 1, "the connection")
    assert caplog.messages == [
        f"broker 127.0.0.1:{mosquitto.port}: connection refused; start the broker, or correct mqtt.host and mqtt.port; "
        "keeping poses and trying again",
        f"broker 127.0.0.1:{mosquitto.port}: connected, 1 poses waiting",
    ]


def test_a_broker_that_refuses_us_is_told_and_awaited(
    mosquitto: Mosquitto, deliver_to: Callable[[Mqtt], MqttDelivery], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    mosquitto.start("allow_anonymous false", mosquitto.add_users(pi="right"))
    word = tmp_path / "password"
    word.write_text("wrong\n", encoding="utf-8")
    settings = at(mosquitto, username="pi", password_file=str(word))
    with pytest.raises(BrokerError, match="Not authorized; correct mqtt"):
        probe_broker(settings)
    delivery = deliver_to(settings)
    delivery.deliver(pose(1))
    wait_until(lambda: caplog.messages, "the refusal")
    assert "refused: Not authorized; correct mqtt.username and mqtt.password_file" in caplog.messages[0]
    assert delivery.waiting == 1
    word.write_text("right\n", encoding="utf-8")
    probe_broker(settings)
    accepted = deliver_to(settings)
    accepted.deliver(pose(2))
    accepted.wait_delivered()
    assert accepted.delivered == 1


def test_a_message_the_broker_refuses_is_counted_and_not_repeated(
    mosquitto: Mosquitto, deliver_to: Callable[[Mqtt], MqttDelivery], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite edgepose/+/status\n", encoding="utf-8")
    mosquitto.start("allow_anonymous true", f"acl_file {rules}")
    delivery = deliver_to(at(mosquitto))
    for seq in range(100):
        delivery.deliver(pose(seq))
    delivery.wait_delivered()
    assert delivery.refused == {"refused_not_authorized": 100}
    assert (delivery.delivered, delivery.waiting) == (0, 0)
    assert sum("refuses edgepose/cage-07/pose: Not authorized" in line for line in caplog.messages) == 1


def test_without_a_broker_close_ends_and_tells_what_is_left(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = new_delivery(at(mosquitto))
    delivery.start(health)
    delivery.deliver(pose(1))
    delivery.close()
    assert "1 poses were not delivered" in caplog.messages[-1]


def test_a_full_outbox_waits_and_at_a_stop_gives_way(mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_module, "OUTBOX", 10)
    stop = threading.Event()
    delivery = new_delivery(at(mosquitto))
    delivery._stop = stop
    delivery.start(health)
    taken: list[int] = []

    def produce() -> None:
        for seq in range(12):
            delivery.deliver(pose(seq))
            taken.append(seq)

    producer = threading.Thread(target=produce)
    producer.start()
    wait_until(lambda: len(taken) == 10, "the outbox to fill")
    producer.join(0.3)
    assert len(taken) == 10
    stop.set()
    producer.join(10)
    assert delivery.waiting == 12
    delivery.close()


def test_a_broker_that_never_acknowledges_is_left_and_tried_anew(
    deliver_to: Callable[[Mqtt], MqttDelivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither paho nor the keep-alive notices such a broker: the scripted one answers the connection, then nothing."""
    monkeypatch.setattr(mqtt_module, "ACK_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        connections = []
        deliver_to(Mqtt(host="127.0.0.1", port=server.getsockname()[1])).deliver(pose(1))
        for _ in range(2):
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK, success, no properties
            connections.append(connection)
        for connection in connections:
            connection.close()


def test_the_window_keeps_to_the_brokers_receive_maximum(
    mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber], deliver_to: Callable[[Mqtt], MqttDelivery]
) -> None:
    mosquitto.start("allow_anonymous true", "max_inflight_messages 3")
    subscriber = subscribe(mosquitto.port)
    delivery = deliver_to(at(mosquitto))
    for seq in range(50):
        delivery.deliver(pose(seq))
    delivery.wait_delivered()
    assert delivery._window == 3
    wait_until(lambda: len(subscriber.seqs()) == 50, "all poses")


def test_a_sending_thread_that_fails_is_told_to_whoever_delivers(mosquitto: Mosquitto) -> None:
    mosquitto.start()
    delivery = new_delivery(at(mosquitto))

    def broken() -> HealthMessage:
        raise ValueError("no health")

    delivery.start(broken)
    wait_until(lambda: delivery._failure, "the failure")
    with pytest.raises(BrokerError, match="no health"):
        delivery.deliver(pose(1))
    with pytest.raises(BrokerError, match="no health"):
        delivery.wait_delivered()
    delivery.close()
