"""Connections that end, hang, or are taken over: noticed, logged once, and replaced without a restart."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from brokers import Mosquitto, Subscriber, wait_until
from chaos_proxy import Proxy
from delivering import pose
from refusals import OFTEN, new_device

from edgepose.config.schema import MqttConfig, SpoolConfig
from edgepose.delivery.delivery import MqttDelivery
from edgepose.delivery.timing import DeliveryTiming
from edgepose.mqtt.reconnect import Reconnect, ReconnectTiming
from edgepose.system.reporter import Reporter

HOST = "127.0.0.1"


@pytest.fixture
def exits() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def device(exits: contextlib.ExitStack, tmp_path: Path) -> Callable[..., MqttDelivery]:
    """device(port, ...) starts one, each with a spool of its own; more: settings of the broker."""
    made: list[MqttDelivery] = []

    def make(port: int, timing: DeliveryTiming = OFTEN, **settings: object) -> MqttDelivery:
        folders = {name: str(tmp_path / f"{name}-{len(made)}") for name in ("folder", "ram_folder")}
        mqtt = MqttConfig(host=HOST, port=port, **settings)  # type: ignore[arg-type]
        made.append(new_device(mqtt, spool=SpoolConfig(**folders), timing=timing))
        exits.callback(made[-1].close)
        return made[-1]

    return make


def logged(lines: list[str], text: str) -> int:
    return sum(text in line for line in lines)


@pytest.mark.slow
def test_a_copied_card_is_named_and_forgotten_when_it_is_gone(
    mosquitto: Mosquitto,
    device: Callable[..., MqttDelivery],
    caplog: pytest.LogCaptureFixture,
) -> None:
    timing = replace(OFTEN, reconnect=replace(OFTEN.reconnect, calm_s=2.0))
    mosquitto.start()
    mine, copy = device(mosquitto.port, timing), device(mosquitto.port, timing)
    wait_until(
        lambda: "client_id" in mine.reporter.alerts and "client_id" in copy.reporter.alerts,
        "the two to throw each other out",
    )
    for delivery in (mine, copy):
        assert "another client connects as edgepose-cage-07-" in delivery.reporter.alerts["client_id"]
        assert "perhaps a copied SD card" in delivery.reporter.alerts["client_id"]
    copy.close()
    wait_until(lambda: mine.reporter.alerts == {}, "the alert to end")
    assert logged(caplog.messages, "another client connects as") == 2  # once each
    assert logged(caplog.messages, "connection lost") <= 2  # the first time nobody knows


def test_a_copied_card_is_suspected_where_the_broker_gives_no_reason(
    mosquitto: Mosquitto, device: Callable[..., MqttDelivery]
) -> None:
    mosquitto.start()
    mine, copy = (device(mosquitto.port, protocol="3.1.1") for _ in range(2))
    wait_until(
        lambda: "client_id" in mine.reporter.alerts and "client_id" in copy.reporter.alerts, "both to suspect it", 30
    )
    assert "a message is too large for it, or another client connects as edge" in mine.reporter.alerts["client_id"]


def test_a_broker_that_dies_before_it_has_our_subscription(
    mosquitto: Mosquitto,
    device: Callable[..., MqttDelivery],
    subscribe: Callable[..., Subscriber],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server((HOST, mosquitto.port)) as server:
        server.settimeout(10)
        delivery = device(mosquitto.port)
        delivery.deliver(pose(1))
        for _ in range(6):
            caller, _ = server.accept()
            with caller:
                caller.recv(1000)
                caller.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK: success, no properties
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    delivery.deliver(pose(2))
    wait_until(lambda: 2 in subscriber.seqs(), "the pose")
    wait_until(lambda: delivery.delivered >= 2, "the pose that had to wait")
    assert logged(caplog.messages, "connection lost") == 1


def test_a_connection_that_is_half_open_is_left(
    mosquitto: Mosquitto,
    exits: contextlib.ExitStack,
    device: Callable[..., MqttDelivery],
    subscribe: Callable[..., Subscriber],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing comes and nothing goes, and neither side closes the connection."""
    mosquitto.start()
    subscriber = subscribe(mosquitto.port)
    proxy = Proxy(mosquitto.port)
    exits.callback(proxy.close)
    delivery = device(proxy.port, replace(OFTEN, ack_timeout_s=0.5, connect_s=0.5))
    wait_until(lambda: delivery.connects == 1, "the connection")
    proxy.mode = "stall"
    for seq in range(100):
        delivery.deliver(pose(seq))
    wait_until(lambda: "does not answer" in delivery.reporter.alerts.get("broker", ""), "another attempt")
    assert logged(caplog.messages, "connection lost (no acknowledgement for 0.5 s)") == 1
    proxy.mode = "pass"
    wait_until(lambda: set(subscriber.seqs()) == set(range(100)), "all poses")
    wait_until(lambda: "broker" not in delivery.reporter.alerts, "a connection that stays")


def test_a_broker_that_swallows_acknowledgements_is_left(
    mosquitto: Mosquitto,
    exits: contextlib.ExitStack,
    device: Callable[..., MqttDelivery],
) -> None:
    """The broker answers our pings all the while."""
    mosquitto.start()
    proxy = Proxy(mosquitto.port)
    exits.callback(proxy.close)
    proxy.mode = "swallow"
    delivery = device(proxy.port, replace(OFTEN, ack_timeout_s=0.5))
    delivery.deliver(pose(1))
    wait_until(lambda: delivery.connects == 3, "new connections")
    proxy.mode = "pass"  # the next answers come, which says nothing of those that did not
    wait_until(lambda: delivery.delivered, "the acknowledgement")


def test_an_idle_connection_is_watched_too(mosquitto: Mosquitto, device: Callable[..., MqttDelivery]) -> None:
    mosquitto.start()
    delivery = device(mosquitto.port, replace(OFTEN, health_s=1e9, connect_s=0.5), keepalive_s=1)
    wait_until(lambda: delivery.connects and not delivery.waiting and not delivery._link._in_flight, "the connection")
    mosquitto.freeze()
    wait_until(lambda: "broker" in delivery.reporter.alerts, "the silence to be noticed")


def test_a_bug_while_connecting_is_reported_and_ends_nothing(
    mosquitto: Mosquitto,
    device: Callable[..., MqttDelivery],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mosquitto.start()
    healthy, gate = paho.Client.connect, threading.Event()

    def broken(*args: object, **more: object) -> object:
        if not gate.is_set():
            raise RuntimeError("a bug")
        return healthy(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(paho.Client, "connect", broken)
    delivery = device(mosquitto.port)
    wait_until(lambda: "a bug" in delivery.reporter.alerts.get("broker", ""), "the bug to be reported")
    gate.set()
    wait_until(lambda: delivery.connects == 1, "the connection")
    assert delivery.reporter.alerts == {}
    assert logged(caplog.messages, "a bug") == 1


def test_pauses_are_chosen_at_random_up_to_a_bound_that_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full jitter. After days of attempts the bound is still a number."""
    monkeypatch.setattr(random, "uniform", lambda low, high: low + high)
    waiting = Reconnect(MqttConfig(), "cage-07", Reporter())
    parts = [waiting.pauses() for _ in range(3000)]
    pauses = [sum(part) for part in parts]
    assert pauses[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert set(pauses[5:]) == {30}
    assert max(max(part) for part in parts) == 1  # systemd hears meanwhile that we are alive
    waiting.judge(ReconnectTiming().stable_s + 1, "")
    assert sum(waiting.pauses()) == 1


def test_trouble_is_logged_again_when_it_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter(quiet_s=0.2)
    waiting = Reconnect(MqttConfig(), "cage-07", reporter)
    for _ in range(100):
        waiting.report("trouble")
        waiting.refused("pose", "not_authorized")
    assert logged(caplog.messages, "trouble") == logged(caplog.messages, "refuses") == 1
    waiting.connected(0)
    assert reporter.alerts == {}
    time.sleep(0.3)
    waiting.report("trouble")
    waiting.refused("pose", "not_authorized")
    assert logged(caplog.messages, "trouble") == logged(caplog.messages, "refuses") == 2
    assert waiting.healed("pose")
    assert not waiting.healed("pose")
    assert reporter.alerts.keys() == {"broker"}
