"""A client that sends commands to a device, in each of the ways that MQTT has, and receives the replies."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import paho.mqtt.client as paho
from brokers import wait_until
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgepose.protocol.codec import decode
from edgepose.protocol.schemas import schemas

_VALID = jsonschema.Draft202012Validator(schemas()["reply"])
_NUMBERS = itertools.count()


class Asker:
    """A client.

    Attributes:
        heard: (topic, reply, correlation data) of every reply on edgepose/+/reply/# and answers/#, in order. Each is
            checked against its schema.
    """

    def __init__(self, port: int, protocol: str = "5", device: str = "cage-07") -> None:
        self.heard: list[tuple[str, dict[str, Any], bytes | None]] = []
        self.problems: list[str] = []
        self._device, self._ready = device, False
        version = MQTTProtocolVersion.MQTTv5 if protocol == "5" else MQTTProtocolVersion.MQTTv311
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "", protocol=version)
        self.client.max_queued_messages_set(0)
        self.client.on_connect = lambda client, *_: client.subscribe([("edgepose/+/reply/#", 1), ("answers/#", 1)])
        self.client.on_subscribe = lambda *_: setattr(self, "_ready", True)
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_until(lambda: self._ready, "the asker's subscription")

    def send(self, name: str, payload: bytes | dict[str, Any] = b"{}", *, retain: bool = False, **more: Any) -> None:
        """Sends a command; returns when the broker has it. more: MQTT 5 properties, such as ResponseTopic."""
        properties = None
        if more:
            properties = Properties(PacketTypes.PUBLISH)
            for key, value in more.items():
                setattr(properties, key, value)
        data = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        topic = f"edgepose/{self._device}/command/{name}"
        self.client.publish(topic, data, qos=1, retain=retain, properties=properties).wait_for_publish(10)

    def ask(self, name: str, payload: bytes | dict[str, Any] = b"{}", **more: Any) -> dict[str, Any]:
        """Sends a command, and returns the next reply. Only one caller may wait at a time."""
        count = len(self.heard)
        self.send(name, payload, **more)
        wait_until(lambda: len(self.heard) > count, f"the reply to {name}")
        return self.heard[count][1]

    def replies(self) -> list[dict[str, Any]]:
        return [reply for _, reply, _ in list(self.heard)]

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        reply: dict[str, Any] = decode(bytes(message.payload), dict[str, Any])
        self.problems += [error.message for error in _VALID.iter_errors(msgspec.to_builtins(reply))]
        self.heard.append((message.topic, reply, getattr(message.properties, "CorrelationData", None)))


@contextlib.contextmanager
def asking(port: int, protocol: str = "5", device: str = "cage-07") -> Iterator[Asker]:
    asker = Asker(port, protocol, device)
    try:
        yield asker
    finally:
        asker.client.disconnect()
        asker.client.loop_stop()
    assert asker.problems == []
