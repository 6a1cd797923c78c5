"""Delivery over a real broker: nothing is lost, nothing is out of order, every trouble is logged once."""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from brokers import Mosquitto, Subscriber, wait_until
from delivering import DEVICE, QUICK, at, health, new_delivery, pose
from fakes import SIZE_WH

from edgepose.config.schema import MqttConfig
from edgepose.delivery.delivery import MqttDelivery
from edgepose.delivery.spool_disk import SpoolDisk
from edgepose.errors import BrokerError, EdgeposeError
from edgepose.mqtt.connection import probe_broker
from edgepose.protocol.messages import HealthMessage
from edgepose.system.reporter import Reporter


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


@pytest.mark.slow
def test_a_broker_that_dies_and_returns_loses_nothing(
    mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber], deliver_to: Callable[..., MqttDelivery]
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

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    wait_until(lambda: len(subscriber.seqs()) > 200, "poses to flow")
    mosquitto.freeze()
    wait_until(lambda: delivery.spooled > 100, "poses to pile up on the disk")
    mosquitto.kill()
    mosquitto.start()
    wait_until(lambda: not delivery.spooled, "the backlog to go out")
    stop.set()
    producer.join()
    wait_until(lambda: len(set(subscriber.seqs())) == len(produced), "all poses")
    assert sorted(set(subscriber.seqs())) == produced
    late = [pose for pose in subscriber.poses() if pose["replay"]]
    assert len(late) > 100
    assert all(batch["replay"] for batch in subscriber.of("poses"))
    assert not any(pose["replay"] for pose in subscriber.of("pose"))
    assert {status["state"] for status in subscriber.of("status")} == {"online"}
    assert len(subscriber.of("status")) >= 2
    assert len(subscriber.of("info")) >= 2


def test_after_an_outage_live_poses_go_first(
    mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber], deliver_to: Callable[..., MqttDelivery]
) -> None:
    delivery = deliver_to(at(mosquitto))
    for seq in range(2000):
        delivery.deliver(pose(seq))
    wait_until(lambda: delivery.spooled >= 2000, "all of it on the disk")
    delivery.deliver(pose(2000))
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    delivery.deliver(pose(2001))
    delivery.wait_delivered()
    wait_until(lambda: 1999 in subscriber.seqs(), "the backlog")
    seqs = subscriber.seqs()
    assert seqs.index(2001) < seqs.index(1999)


def test_what_was_acknowledged_is_sent_again_to_a_broker_that_forgot_it(
    mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber], deliver_to: Callable[..., MqttDelivery]
) -> None:
    """Nobody was subscribed when the broker took them, and a kill makes it forget everything."""
    mosquitto.start()
    delivery = deliver_to(at(mosquitto))
    for seq in range(100):
        delivery.deliver(pose(seq))
    delivery.wait_delivered()
    mosquitto.kill()
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    wait_until(lambda: len(set(subscriber.seqs())) == 100, "all poses again")
    assert all(pose["replay"] for pose in subscriber.poses())


def test_what_a_broker_took_before_it_vanished_counts_as_delivered_only_when_it_is_back(
    mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber], deliver_to: Callable[..., MqttDelivery]
) -> None:
    """A daemon that waits for the end, as with a video, would end and delete what the broker has forgotten."""
    mosquitto.start()
    delivery = deliver_to(at(mosquitto))
    for seq in range(10):
        delivery.deliver(pose(seq))
    delivery.wait_delivered()
    mosquitto.kill()
    wait_until(lambda: not delivery._outbox.empty(), "doubt, once the connection has ended")
    assert not delivery._link.online
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    delivery.wait_delivered()
    wait_until(lambda: len(set(subscriber.seqs())) == 10, "all poses again")


def test_while_the_broker_is_away_nothing_that_it_may_forget_grows_old(
    mosquitto: Mosquitto,
    subscribe: Callable[[int], Subscriber],
    deliver_to: Callable[..., MqttDelivery],
) -> None:
    """The broker has saved the sessions, but not the messages, and does not say since when it runs.

    The device keeps acknowledged messages for no time at all, as if the broker were away for longer than that.
    """
    timing = replace(QUICK, doubt_s=0.3, keep_acked_s=0.0)
    mosquitto.start("allow_anonymous true", "persistence true", "sys_interval 0")
    subscriber = subscribe(mosquitto.port)
    delivery = deliver_to(at(mosquitto), timing=timing)
    wait_until(lambda: delivery.connects, "the connection")
    mosquitto.save()
    for seq in range(100):
        delivery.deliver(pose(seq))
    delivery.wait_delivered()
    wait_until(lambda: len(subscriber.seqs()) == 100, "all poses")
    mosquitto.kill()
    mosquitto.start()
    wait_until(lambda: len(subscriber.seqs()) == 200, "all poses again")


def test_an_absent_broker_is_reported_once_and_awaited(
    mosquitto: Mosquitto, deliver_to: Callable[..., MqttDelivery], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    delivery = deliver_to(at(mosquitto))
    delivery.deliver(pose(1))
    wait_until(lambda: caplog.messages, "the first failure")
    mosquitto.start()
    delivery.wait_delivered()
    assert delivery.delivered == 2  # the pose, and the event that something is wrong
    refused, connected = (line for line in caplog.messages if "broker" in line)
    assert refused == (
        f"broker 127.0.0.1:{mosquitto.port}: connection refused; start the broker, or correct mqtt.host and mqtt.port; "
        "keeping poses and trying again"
    )
    assert connected == f"broker 127.0.0.1:{mosquitto.port}: connected, 2 messages waiting"


def test_a_broker_that_refuses_us_is_reported_and_awaited(
    mosquitto: Mosquitto, deliver_to: Callable[..., MqttDelivery], caplog: pytest.LogCaptureFixture, tmp_path: Path
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
    assert "refused: Not authorized; correct mqtt.username and the password" in caplog.messages[0]
    assert "refused" in delivery.reporter.alerts["broker"]
    word.write_text("right\n", encoding="utf-8")  # read again at every attempt
    delivery.wait_delivered()
    assert delivery.delivered == 2  # the pose, and the event that something is wrong
    assert delivery.reporter.alerts == {}


def test_a_message_the_broker_refuses_is_counted_and_not_repeated(
    mosquitto: Mosquitto, deliver_to: Callable[..., MqttDelivery], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite edgepose/+/status\n", encoding="utf-8")
    mosquitto.start("allow_anonymous true", f"acl_file {rules}")
    delivery = deliver_to(at(mosquitto))
    for seq in range(100):
        delivery.deliver(pose(seq))
    delivery.wait_delivered()
    wait_until(lambda: delivery.reporter.alerts.keys() >= {"pose", "info", "health", "event"}, "the alerts")
    delivery.wait_delivered()
    everything = 100 + delivery.reporter.kept  # the events of the alerts are refused too
    assert delivery.given_up == {"refused_not_authorized": everything}
    assert (delivery.delivered, delivery.waiting) == (0, 0)
    assert "access list" in delivery.reporter.alerts["pose"]
    wait_until(lambda: delivery._outbox.spool._disk.refused.total() == everything, "all of it to be set aside")
    assert sum("refuses edgepose/cage-07/pose: not authorized" in line for line in caplog.messages) == 1


def test_without_a_broker_close_ends_and_the_next_start_sends_the_rest(
    mosquitto: Mosquitto,
    subscribe: Callable[[int], Subscriber],
    deliver_to: Callable[..., MqttDelivery],
    caplog: pytest.LogCaptureFixture,
) -> None:
    delivery = new_delivery(at(mosquitto))
    delivery.start(health)
    delivery.deliver(pose(1))
    delivery.close()
    assert re.search(r"(1 message|2 messages) not delivered yet; the next start sends", caplog.messages[-1])
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    deliver_to(at(mosquitto)).wait_delivered()
    wait_until(lambda: subscriber.seqs() == [1], "the pose of the first run")


def test_two_daemons_of_one_device_do_not_share_a_spool(
    mosquitto: Mosquitto, deliver_to: Callable[..., MqttDelivery]
) -> None:
    deliver_to(at(mosquitto))
    with pytest.raises(EdgeposeError, match="another edgepose already runs as device cage-07"):
        new_delivery(at(mosquitto))


def test_a_source_that_can_wait_waits_while_the_disk_is_full(
    mosquitto: Mosquitto, deliver_to: Callable[..., MqttDelivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SpoolDisk, "room", lambda self: False)
    stop = threading.Event()
    delivery = deliver_to(at(mosquitto), stop=stop, wait=True, timing=replace(QUICK, memory_messages=10))
    taken: list[int] = []

    def produce() -> None:
        for seq in range(12):
            delivery.deliver(pose(seq))
            taken.append(seq)

    producer = threading.Thread(target=produce)
    producer.start()
    wait_until(lambda: delivery.waiting == 10, "the memory to fill")
    producer.join(1.0)
    assert delivery.waiting == 10
    assert len(taken) <= 10
    stop.set()
    producer.join(10)
    wait_until(lambda: delivery.waiting == 12 + delivery.reporter.kept, "the poses, and the event of an alert")
    assert delivery.given_up == {}


def test_a_broker_that_never_acknowledges_is_left_and_tried_anew(
    deliver_to: Callable[..., MqttDelivery],
) -> None:
    """Neither paho nor the keep-alive notices such a broker: it answers the connection, and then nothing."""
    timing = replace(QUICK, ack_timeout_s=0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        connections = []
        deliver_to(MqttConfig(host="127.0.0.1", port=server.getsockname()[1]), timing=timing).deliver(pose(1))
        for _ in range(2):
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK, success, no properties
            connections.append(connection)
        for connection in connections:
            connection.close()


def test_the_window_keeps_to_the_brokers_receive_maximum(
    mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber], deliver_to: Callable[..., MqttDelivery]
) -> None:
    mosquitto.start("allow_anonymous true", "max_inflight_messages 3")
    subscriber = subscribe(mosquitto.port)
    delivery = deliver_to(at(mosquitto))
    for seq in range(50):
        delivery.deliver(pose(seq))
    delivery.wait_delivered()
    assert delivery._link._window == 3
    wait_until(lambda: len(subscriber.seqs()) == 50, "all poses")


def test_a_bug_in_what_the_device_says_of_itself_ends_no_delivery(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    mosquitto.start()
    delivery = new_delivery(at(mosquitto))
    broken = [True]

    def moody() -> HealthMessage:
        if broken.pop() if broken else False:
            raise ValueError("no health")
        return health()

    delivery.start(moody)
    wait_until(lambda: caplog.messages, "the failure")
    delivery.deliver(pose(1))
    delivery.wait_delivered()
    assert delivery.delivered >= 1  # so young a broker may be another one than before, and gets it twice
    delivery.close()


def test_what_nobody_heard_is_sent_again_when_somebody_listens(
    mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber], deliver_to: Callable[..., MqttDelivery]
) -> None:
    mosquitto.start()
    delivery = deliver_to(at(mosquitto))
    for seq in range(50):
        delivery.deliver(pose(seq))
    delivery.wait_delivered()
    subscriber = subscribe(mosquitto.port)
    delivery.deliver(pose(50))
    wait_until(lambda: len(set(subscriber.seqs())) == 51, "what was said to nobody")
    delivery.wait_delivered()
    assert len(subscriber.seqs()) == 51


def test_events_of_before_the_start_are_sent_and_waited_for(
    mosquitto: Mosquitto, subscribe: Callable[[int], Subscriber]
) -> None:
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    delivery = new_delivery(at(mosquitto), reporter=Reporter(most_events=50))
    for number in range(53):
        delivery.reporter.event("started", str(number))
    delivery.start(health, first_seq=70)
    delivery.wait_delivered()
    delivery.close()
    wait_until(lambda: len(subscriber.of("event")) == 50, "all events that found room")
    assert [event["text"] for event in subscriber.of("event")] == [str(number) for number in range(50)]
    assert {event["seq"] for event in subscriber.of("event")} == {70}
    assert delivery.given_up == {"events": 3}
