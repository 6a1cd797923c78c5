"""What mosquitto's persistence costs, and what a kill -9 takes, for `delivery.py broker`."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from brokers import Mosquitto, wait_until
from delivery_device import next_pose, walk
from delivery_lab import DURABLE, Reader, lab, started_broker

from edgepose.config.schema import MqttConfig
from edgepose.mqtt.connection import Connection
from edgepose.protocol.codec import encode

OPEN = "allow_anonymous true"
QUEUES = tuple(line for line in DURABLE if line.startswith(("max_queued", "persistence")))
SETTINGS = {
    "default": (OPEN,),
    "persistence": (OPEN, "persistence true"),
    "every change": (OPEN, *QUEUES, "autosave_on_changes true", "autosave_interval 1"),
    "shipped": DURABLE,
}
TOPIC = "edgepose/cage-07/pose"
WINDOW = 20
SECONDS = 10.0
SAVED_S = 12.0  # until the shipped configuration has saved a new subscription
SESSION_S = 86_400
MANY = 3000


def measure_brokers() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, lines in SETTINGS.items():
        found[f"{name}: accepted/s, reader connected"] = _accepted_per_s(lines, online=True)
        found[f"{name}: accepted/s, reader away"] = _accepted_per_s(lines, online=False)
        found[f"{name}: lost of 50 by kill -9"] = _lost(lines, 50, kill=True)
        found[f"{name}: lost of {MANY}, reader away"] = _lost(lines, MANY, kill=False)
    for name in ("persistence", "every change", "shipped"):
        found[f"{name}: lost of a device's 300 by kill -9"] = _lost_of_a_device(SETTINGS[name])
    return found


def _accepted_per_s(lines: tuple[str, ...], *, online: bool) -> str:
    """Returns messages per second in the first and the last quarter of the time: one pose each, 20 unacknowledged."""
    acked_by = [0, 0, 0, 0]
    with _known_reader(lines, online=online) as broker:
        publisher, payload = Connection(_at(broker), "publisher", None), _payload()
        begin, sent, acked = time.monotonic(), 0, 0
        while (quarter := int((time.monotonic() - begin) / SECONDS * 4)) < 4:
            for _ in range(WINDOW - (sent - acked)):
                publisher.publish(TOPIC, payload)
                sent += 1
            acked += _acks(publisher)
            acked_by[quarter] = acked
    first, last = acked_by[0], acked_by[3] - acked_by[2]
    return f"{round(first * 4 / SECONDS)}, at last {round(last * 4 / SECONDS)} ({acked} in all)"


def _lost(lines: tuple[str, ...], count: int, *, kill: bool) -> int:
    """Returns how many messages are lost of those that the broker acknowledged while the reader was away."""
    with _known_reader(lines, online=False) as broker:
        publisher, payload = Connection(_at(broker), "publisher", None), _payload()
        sent = acked = 0
        while acked < count:
            for _ in range(min(WINDOW - (sent - acked), count - sent)):
                publisher.publish(TOPIC, payload)
                sent += 1
            acked += _acks(publisher)
        if kill:
            broker.kill()
            broker.start()
        reader = Connection(_at(broker), "reader", None, session_s=SESSION_S)
        came, end = 0, time.monotonic() + 3.0
        while time.monotonic() < end:
            reader.step(0.1)
            came += len(reader.inbox)
            reader.inbox.clear()
    return count - came


def _acks(publisher: Connection) -> int:
    publisher.step(0.1)
    count = len(publisher.acks)
    publisher.acks.clear()
    return count


def _lost_of_a_device(lines: tuple[str, ...]) -> int:
    """Of 300 poses that the broker acknowledged to edgepose while the reader was away: the device sends again what it
    sent in the last minute."""
    with lab(settings=lines) as (broker, device, reader):
        time.sleep(SAVED_S)
        reader.close()
        device.ask("feed", 300, 30)
        wait_until(lambda: not device.ask("tell")["waiting"], "the acknowledgements")
        broker.kill()
        broker.start()
        again = Reader(broker.port)
        time.sleep(10)
        again.close()
        return 300 - len(again.seqs)


@contextlib.contextmanager
def _known_reader(lines: tuple[str, ...], *, online: bool) -> Iterator[Mosquitto]:
    """Starts a broker that has a session of a reader, which is connected or away."""
    with started_broker(*lines) as broker:
        address = ["-p", str(broker.port), "-q", "1", "-t", "edgepose/#"]
        command = ["mosquitto_sub", *address, "-V", "5", "-i", "reader", "-c"]  # a session that is kept
        subprocess.run([*command, "-E"], check=True)  # subscribes and leaves
        time.sleep(SAVED_S)
        if not online:
            yield broker
            return
        reader = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield broker
        finally:
            reader.kill()
            reader.wait()


def _at(broker: Mosquitto) -> MqttConfig:
    return MqttConfig(host="127.0.0.1", port=broker.port)


def _payload() -> bytes:
    return encode(next_pose(next(walk()), 4_951_884_516, 100, 1_795_404_663_715_981))
