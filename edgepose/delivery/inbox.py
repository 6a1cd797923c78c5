"""Commands from the broker: read, carried out one after the other by a thread of their own, and answered.

What is not carried out is answered with the reason, and counted."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgepose.core.commands import COMMANDS, LONGEST_ID, Command, ReplyMessage
from edgepose.core.errors import EdgeposeError
from edgepose.core.messages import decode, topic_name

log = logging.getLogger(__name__)

LONGEST = 4096  # bytes of a command
WAITING = 16  # commands at a time
REMEMBERED = 200  # ids, against repeats

Handler = Callable[[Any], dict[str, Any]]
"""Takes its Command and returns the reply's result, or raises EdgeposeError."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an answer goes."""

    topic: str
    properties: Properties | None


class Rejected(Exception):  # noqa: N818  it is no error of ours
    """reason: one word to count by. The message answers whoever asked."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Inbox:
    """enabled: names of commands that are carried out. answer: sends a reply. rejected: commands that were not carried
    out, by reason."""

    def __init__(
        self, device: str, boot: str, enabled: Collection[str], answer: Callable[[Address, ReplyMessage], None]
    ) -> None:
        self.rejected: Counter[str] = Counter()
        self._device, self._boot, self._enabled, self._answer = device, boot, enabled, answer
        self._handlers: Mapping[str, Handler] = {}
        self._ids: deque[str] = deque(maxlen=REMEMBERED)
        self._queue: queue.Queue[tuple[str, Command, Address]] = queue.Queue(WAITING)

    def start(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        threading.Thread(target=self._work, name="commands", daemon=True).start()

    def take(self, message: paho.MQTTMessage, *, late: bool) -> None:
        """late: it waited at the broker while we were away. Never raises, never waits."""
        name, payload = message.topic.rsplit("/", 1)[1], bytes(message.payload)
        address = self._address(message, name)
        try:
            command = self._read(name, payload, late=late or message.retain)
            self._accept(name, command, address)
        except Rejected as exc:
            self.rejected[exc.reason] += 1
            self._reply(address, name, _id_of(payload), error=str(exc))

    def _read(self, name: str, payload: bytes, *, late: bool) -> Command:
        if name not in COMMANDS:
            raise Rejected("unknown", f"no such command; there are {', '.join(COMMANDS)}")
        if name not in self._enabled:
            raise Rejected("disabled", f"not enabled on this device: add {name} to `commands` in its config")
        if late:
            raise Rejected("late", "sent while the device was away, or retained; send it again, not retained")
        if len(payload) > LONGEST:
            raise Rejected("too_large", f"longer than {LONGEST} bytes")
        try:
            return decode(payload or b"{}", COMMANDS[name])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Rejected("malformed", f"cannot read it: {exc}") from None

    def _accept(self, name: str, command: Command, address: Address) -> None:
        if command.id is not None and command.id in self._ids:
            raise Rejected("repeated", "a command with this id was carried out already")
        try:
            self._queue.put_nowait((name, command, address))
        except queue.Full:
            raise Rejected("busy", "too many commands at a time; try again") from None
        if command.id is not None:
            self._ids.append(command.id)

    def _work(self) -> None:
        while True:
            name, command, address = self._queue.get()
            try:
                self._reply(address, name, command.id, result=self._handlers[name](command))
            except EdgeposeError as exc:
                self.rejected["failed"] += 1
                self._reply(address, name, command.id, error=str(exc))
            except Exception as exc:  # a bug in one command must not end all
                log.exception("command %s", name)
                self.rejected["failed"] += 1
                self._reply(address, name, command.id, error=f"failed: {exc!r}")

    def _reply(
        self, address: Address, name: str, number: str | None, error: str = "", result: dict[str, Any] | None = None
    ) -> None:
        reply = ReplyMessage(
            device=self._device,
            boot=self._boot,
            command=name[:LONGEST_ID],
            id=number,
            ok=not error,
            error=error,
            result=result or {},
        )
        self._answer(address, reply)

    def _address(self, message: paho.MQTTMessage, name: str) -> Address:
        """MQTT 5's response topic with its correlation data, or /reply/<name>."""
        asked = message.properties
        topic = getattr(asked, "ResponseTopic", None)
        if not topic or any(mark in topic for mark in "+#\0") or topic.startswith("$"):
            known = name if name in COMMANDS else "unknown"
            return Address(topic_name(self._device, f"reply/{known}"), None)
        properties = None
        if (correlation := getattr(asked, "CorrelationData", None)) is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        return Address(topic, properties)


class _OnlyId(msgspec.Struct):
    id: str | None = None


def _id_of(payload: bytes) -> str | None:
    """Of a command that may be malformed otherwise."""
    try:
        number = decode(payload[:LONGEST], _OnlyId).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return number if number is None or len(number) <= LONGEST_ID else None
