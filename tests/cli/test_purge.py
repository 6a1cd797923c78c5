"""`edgepose purge` on a real broker: it removes everything of a device that is gone, and nothing of one that runs."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from brokers import Mosquitto, free_port, retained, wait_until
from delivering import at, health, new_delivery, pose
from mouse_messages import pose as mouse_pose
from mouse_messages import send, status
from paho.mqtt import publish

from edgepose.cli.main import main
from edgepose.cli.terminal_view import TerminalView
from edgepose.delivery.delivery import MqttDelivery
from edgepose.errors import EdgeposeError
from edgepose.mqtt.connection import Connection
from edgepose.mqtt.purge import Purge, PurgeTiming
from edgepose.mqtt.subscriber import Subscriber
from edgepose.protocol.home_assistant import discovery_topic
from edgepose.protocol.topics import is_purged

OWN = [f"edgepose/cage-07/{leaf}" for leaf in ("health", "info", "status")]
DISCOVERY = discovery_topic("cage-07")


def run_purge(port: int, device: str = "cage-07") -> int:
    return main(["purge", "--broker", f"mqtt://127.0.0.1:{port}", device])


def purge(mosquitto: Mosquitto, password: str | None = None, alive_s: float = 0.3, **settings: str) -> list[str]:
    """Purges without a command line, with shorter waits. Returns the lines that it reports."""
    connection, lines = Connection(at(mosquitto, **settings), "purge", password), []
    try:
        Purge(connection, "cage-07", lines.append, PurgeTiming(quiet_s=0.1, alive_s=alive_s)).run()
    finally:
        connection.cut()
    return lines


def leave(mosquitto: Mosquitto) -> None:
    """Leaves on the broker what a device leaves that ran and was stopped."""
    delivery = new_delivery(at(mosquitto, home_assistant=True))
    delivery.start(health)
    delivery.deliver(pose(1))
    delivery.wait_delivered()
    delivery.close()
    assert sorted(retained(mosquitto.port)) == [*OWN, DISCOVERY]


@pytest.mark.slow
def test_nothing_is_left_of_a_device_that_is_gone(mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    mosquitto.start()
    leave(mosquitto)
    send(mosquitto.port, status(device="cage-08"), "status", retain=True)
    publish.single("edgepose/cage-07/command/ping", b"{}", 1, retain=True, port=mosquitto.port)
    assert run_purge(mosquitto.port) == 0
    assert list(retained(mosquitto.port)) == ["edgepose/cage-08/status"]
    removed = [DISCOVERY, "edgepose/cage-07/command/ping", *OWN]
    assert capsys.readouterr().out.splitlines() == [f"removed {topic}" for topic in removed]
    assert run_purge(mosquitto.port) == 0
    assert capsys.readouterr().out == "the broker keeps nothing of cage-07\n"


def test_a_running_device_is_not_purged(
    mosquitto: Mosquitto,
    deliver_to: Callable[..., MqttDelivery],
    capsys: pytest.CaptureFixture[str],
) -> None:
    mosquitto.start()
    delivery = deliver_to(at(mosquitto))
    delivery.deliver(pose(0))
    delivery.wait_delivered()
    stop, seqs = threading.Event(), itertools.count(1)

    def produce() -> None:
        while not stop.wait(0.01):
            delivery.deliver(pose(next(seqs)))

    producer = threading.Thread(target=produce)
    producer.start()
    before = retained(mosquitto.port)
    assert sorted(before) == OWN
    assert run_purge(mosquitto.port) == 1
    stop.set()
    producer.join()
    assert capsys.readouterr().err == "edgepose: cage-07 is running and would publish all of it again; stop it first\n"
    assert retained(mosquitto.port) == before


def test_an_old_online_status_does_not_stop_the_purge(mosquitto: Mosquitto) -> None:
    """A broker that is killed while the device is connected sends no last will."""
    mosquitto.start()
    send(mosquitto.port, status(), "status", retain=True)
    lines = purge(mosquitto)
    assert lines[0] == "the broker says that cage-07 is online; waiting 0.3 s for a sign of life"
    assert lines[1:] == ["removed edgepose/cage-07/status"]
    assert retained(mosquitto.port) == {}


@pytest.mark.parametrize("payload", [b"online", b"\xff", b"{"])
def test_a_status_that_nobody_can_read_is_removed(payload: bytes, mosquitto: Mosquitto) -> None:
    mosquitto.start()
    publish.single("edgepose/cage-07/status", payload, 1, retain=True, port=mosquitto.port)
    assert purge(mosquitto) == ["removed edgepose/cage-07/status"]
    assert retained(mosquitto.port) == {}


def test_what_the_broker_refuses_is_reported(mosquitto: Mosquitto, tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic read #\ntopic readwrite all-told\nuser lab\ntopic read edgepose/#\n", encoding="utf-8")
    mosquitto.start("allow_anonymous true", "persistence true")
    leave(mosquitto)
    mosquitto.save()
    mosquitto.kill()
    users = mosquitto.add_users(lab="word")
    mosquitto.start("allow_anonymous true", "persistence true", users, f"acl_file {rules}")
    refused = f"the broker refuses to remove {', '.join(OWN)}; give --broker a user who may write there"
    with pytest.raises(EdgeposeError, match=re.escape(refused)):
        purge(mosquitto, "word", username="lab")
    assert sorted(retained(mosquitto.port)) == [*OWN, DISCOVERY]


@pytest.mark.parametrize("device", ["", "+", "#", "cage/07"])
def test_one_device_at_a_time(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_purge(free_port(), device) == 2
    assert "not a device's name" in capsys.readouterr().err


def test_without_a_broker_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_purge(free_port()) == 1
    assert "connection refused; start the broker" in capsys.readouterr().err


def test_subscribers_ignore_the_empty_messages_of_a_purge(mosquitto: Mosquitto) -> None:
    mosquitto.start()
    leave(mosquitto)
    board = TerminalView(Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}"))

    def shows(seq: int) -> bool:
        board.receive(0.05)
        return "cage-07" in board.devices and board.devices["cage-07"].pose == mouse_pose(seq)

    wait_until(lambda: board.receive(0.05) or "cage-07" in board.devices, "the device")
    purge(mosquitto)
    send(mosquitto.port, mouse_pose(3), "pose")
    wait_until(lambda: shows(3), "what came after the purge")
    assert board.subscriber.malformed == 0
    board.subscriber.close()


@pytest.mark.parametrize(("leaf", "purged"), [("info", True), ("health", True), ("pose", False), ("command", False)])
def test_only_a_retained_topic_can_be_purged(leaf: str, purged: bool) -> None:
    assert is_purged(leaf, b"") is purged
    assert not is_purged(leaf, b"{}")
