"""Messages that are too large for a broker: nothing else waits for them, and they arrive once the limit is raised."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from brokers import Mosquitto, Subscriber, wait_until
from chaos_proxy import Proxy
from delivering import pose
from refusals import OFTEN, new_device

from edgepose.config.schema import MqttConfig
from edgepose.delivery.delivery import MqttDelivery
from edgepose.mqtt.limits import SizeLimit

OPEN = ("allow_anonymous true", "max_queued_messages 1000000")
SMALL, MIDDLE, LARGE = 200, 2_000, 1_000_000  # bytes: less than a pose; than a batch of them; enough


@pytest.fixture
def device(mosquitto: Mosquitto) -> Iterator[Callable[..., MqttDelivery]]:
    """device(protocol, port, ...) starts one. more: values of ReconnectTiming."""
    with contextlib.ExitStack() as exits:

        def make(
            protocol: str = "5", port: int | None = None, retry_refused_s: float = 1.0, **more: float
        ) -> MqttDelivery:
            mqtt = MqttConfig(host="127.0.0.1", port=port or mosquitto.port, protocol=protocol)
            soonest_s = retry_refused_s / 5
            again = replace(OFTEN, retry_refused_s=retry_refused_s, retry_refused_soonest_s=soonest_s)
            timing = replace(again, reconnect=replace(OFTEN.reconnect, **more))
            made = new_device(mqtt, timing=timing)
            exits.callback(made.close)
            return made

        yield make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "restart"),
    [("message_size_limit", False), ("message_size_limit", True), ("max_packet_size", True)],  # the third, only so
    ids=["answer, reload", "answer, restart", "announced, restart"],
)
def test_poses_that_are_too_large_are_counted_and_arrive_when_the_limit_is_raised(
    option: str,
    restart: bool,
    mosquitto: Mosquitto,
    device: Callable[..., MqttDelivery],
    subscribe: Callable[..., Subscriber],
    caplog: pytest.LogCaptureFixture,
) -> None:
    mosquitto.start(*OPEN, f"{option} {SMALL}")
    early = subscribe(mosquitto.port)
    delivery = device()
    for seq in range(100):
        delivery.deliver(pose(seq))
    wait_until(lambda: delivery.reporter.alerts.keys() >= {"pose", "info", "health", "event"}, "the alerts")
    everything = 100 + delivery.reporter.kept  # the events of the alerts are too large too
    wait_until(lambda: delivery.given_up == {"refused_too_large": everything}, "the refusals")
    assert delivery.reporter.alerts["pose"].endswith("refuses edgepose/cage-07/pose: too large; raise its limit")
    mosquitto.configure(*OPEN, f"{option} {LARGE}")
    if restart:
        mosquitto.kill()
        mosquitto.start()
    else:
        mosquitto.reload()
    late = subscribe(mosquitto.port)
    wait_until(lambda: delivery.reporter.alerts.keys() <= {"pose", "poses", "event"}, "the first success")
    delivery.deliver(pose(100))
    wait_until(lambda: len(set(late.seqs())) == 101, "all poses", 30)
    wait_until(lambda: (delivery.reporter.alerts, delivery.given_up) == ({}, {}), "the end of all alerts")
    assert sum("refuses edgepose/cage-07/pose:" in line for line in caplog.messages) == 1
    assert {status["state"] for status in early.of("status")} == {"online"}
    assert late.of("info")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["message_size_limit", "max_packet_size"])
def test_a_backlog_that_is_too_large_goes_out_pose_by_pose(
    option: str,
    mosquitto: Mosquitto,
    device: Callable[..., MqttDelivery],
    subscribe: Callable[..., Subscriber],
    caplog: pytest.LogCaptureFixture,
) -> None:
    delivery = device(refused_s=2.0)
    for seq in range(100):
        delivery.deliver(pose(seq))
    wait_until(lambda: delivery.spooled >= 100, "the backlog")
    mosquitto.start(*OPEN, f"{option} {MIDDLE}")
    subscriber = subscribe(mosquitto.port)
    wait_until(lambda: len(set(subscriber.seqs())) == 100, "all poses")
    assert all(pose["replay"] for pose in subscriber.of("pose"))
    assert "refuses edgepose/cage-07/poses: too large" in caplog.text  # the alert ends when a smaller batch is taken
    assert delivery.given_up == {}
    wait_until(lambda: delivery.reporter.alerts == {}, "the alert to end, since nothing more is refused")


def test_the_announced_limit_is_asked_for_anew(
    tmp_path: Path,
    mosquitto: Mosquitto,
    device: Callable[..., MqttDelivery],
    subscribe: Callable[..., Subscriber],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A broker announces it to new connections only. Here a new connection leads to another broker."""
    mosquitto.start(*OPEN, f"max_packet_size {SMALL}")
    proxy = Proxy(mosquitto.port)
    delivery = device(port=proxy.port)
    delivery.deliver(pose(1))
    wait_until(lambda: delivery.given_up, "the refusal")
    (tmp_path / "generous").mkdir()
    generous = Mosquitto(tmp_path / "generous")
    try:
        generous.start()
        subscriber = subscribe(generous.port)
        proxy.target_port = generous.port
        wait_until(lambda: subscriber.seqs() == [1], "the pose")
        wait_until(lambda: (delivery.reporter.alerts, delivery.given_up) == ({}, {}), "the end of all alerts")
        assert not any("connection lost" in line for line in caplog.messages)
    finally:
        generous.kill()
        proxy.close()


def test_an_answer_counts_also_when_it_is_the_last_word(
    mosquitto: Mosquitto, device: Callable[..., MqttDelivery], subscribe: Callable[..., Subscriber]
) -> None:
    """mosquitto before 2.0.22 with an unbounded queue refuses a message and closes the connection."""
    mosquitto.start("allow_anonymous true", "max_queued_messages 0", f"message_size_limit {MIDDLE}")
    subscriber = subscribe(mosquitto.port)
    delivery = device(retry_refused_s=300.0)  # each new attempt with the large one would cost the connection again
    large = msgspec.structs.replace(pose(1), model="m" * MIDDLE)
    for message in (large, pose(2)):
        delivery.deliver(message)
    wait_until(lambda: delivery.given_up == {"refused_too_large": 1}, "the refusal")
    wait_until(lambda: subscriber.seqs() == [2], "what is small enough")


def test_what_an_earlier_run_set_aside_is_tried_again(
    mosquitto: Mosquitto, device: Callable[..., MqttDelivery], subscribe: Callable[..., Subscriber]
) -> None:
    mosquitto.start(*OPEN, f"message_size_limit {SMALL}")
    first = device()
    first.deliver(pose(1))
    wait_until(lambda: first.given_up, "the refusal")
    first.close()
    mosquitto.kill()
    mosquitto.start(*OPEN)
    subscriber = subscribe(mosquitto.port)
    second = device()
    wait_until(lambda: subscriber.seqs() == [1], "the pose")
    wait_until(lambda: second.given_up == {}, "the count")


@pytest.mark.slow
def test_a_broker_of_mqtt_3_that_cuts_the_connection_gets_what_it_takes(
    mosquitto: Mosquitto,
    device: Callable[..., MqttDelivery],
    subscribe: Callable[..., Subscriber],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """MQTT 3.1.1 has no way to say what is wrong."""
    delivery = device("3.1.1", calm_s=5.0, refused_s=5.0)
    for seq in range(100):
        delivery.deliver(pose(seq))
    wait_until(lambda: delivery.spooled >= 100, "the backlog")
    mosquitto.start(*OPEN, f"max_packet_size {MIDDLE}")
    subscriber = subscribe(mosquitto.port)
    wait_until(lambda: len(set(subscriber.seqs())) == 100, "all poses", 30)
    assert all(pose["replay"] for pose in subscriber.of("pose"))
    assert "it cuts our connections short: a message is too large" in delivery.reporter.alerts["client_id"]
    assert sum("connection lost" in line for line in caplog.messages) == 1
    wait_until(lambda: delivery.reporter.alerts == {}, "the alerts to end")


def test_a_limit_is_learnt_from_two_messages_that_were_alone() -> None:
    limit = SizeLimit()
    for size in (500, 400):
        limit.cut(size)  # perhaps, but it has never taken anything
    limit.took(300)
    limit.cut(300)  # it has taken as much
    limit.cut(500)
    limit.cut(None)  # another cause
    limit.cut(400)
    assert limit.allows(10**6)
    limit.cut(600)
    assert (limit.allows(399), limit.allows(400), limit.exceeded) == (True, False, False)
    limit.announce(300)
    assert (limit.allows(300), limit.allows(301), limit.exceeded) == (True, False, True)
    limit.forget()
    limit.announce(2**28)
    assert limit.allows(10**6)
