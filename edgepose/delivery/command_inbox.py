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

from edgepose.errors import EdgeposeError
from edgepose.protocol.codec import decode
from edgepose.protocol.commands import COMMANDS, LONGEST_ID, Command, ReplyMessage
from edgepose.protocol.topics import split_topic, topic_name
from edgepose.system.strict import convert

log = logging.getLogger(__name__)

LONGEST = 4096  # bytes of a command
LONGEST_TOPIC, MOST_LEVELS = 200, 100  # of a response topic: for longer ones brokers throw out whoever answers
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
        self._queue: queue.SimpleQueue[tuple[str, Command, Address] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="commands", daemon=True)

    def start(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Carries out what waits, for so long at most; what comes from here on is rejected."""
        self._closed = True
        self._queue.put(None)
        self._thread.join(seconds)

    def take(self, message: paho.MQTTMessage, *, late: bool) -> None:
        """late: it waited at the broker while we were away. Never raises, never waits. By one thread."""
        name, payload = message.topic.rsplit("/", 1)[-1], bytes(message.payload)
        address, data = self._address(message, name), None
        try:
            data = _fields(payload)
            command = self._read(name, data)
            self._check_new(command, late=late, retained=message.retain)
        except Rejected as exc:
            self.rejected[exc.reason] += 1
            self._reply(address, name, _id_of(data), error=str(exc))
        else:
            self._queue.put((name, command, address))

    def _read(self, name: str, data: dict[str, Any]) -> Command:
        if name not in COMMANDS:
            raise Rejected("unknown", f"no such command; there are {', '.join(COMMANDS)}")
        if name not in self._enabled:
            raise Rejected("disabled", f"not enabled on this device: add {name} to `commands` in its config")
        try:
            return convert(data, COMMANDS[name], name, EdgeposeError)
        except EdgeposeError as exc:
            raise Rejected("malformed", str(exc)) from None

    def _check_new(self, command: Command, *, late: bool, retained: bool) -> None:
        """An id that is known comes first: whoever is told to send it again would have it done twice."""
        if command.id is not None and command.id in self._ids:
            raise Rejected("repeated", "a command with this id came before, and is carried out once")
        if retained:
            raise Rejected("retained", "a retained command would come back at every connection; send it not retained")
        if late:
            raise Rejected("late", "sent while the device was away; send it again")
        if self._closed or self._queue.qsize() >= WAITING:
            raise Rejected("busy", "too many commands at a time, or about to stop; try again")
        if command.id is not None:
            self._ids.append(command.id)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            name, command, address = item
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
            ok=result is not None,
            error=error.encode(errors="replace").decode(),  # a file's name need not be text
            result=result or {},
        )
        self._answer(address, reply)

    def _address(self, message: paho.MQTTMessage, name: str) -> Address:
        """MQTT 5's response topic with its correlation data, or /reply/<name>."""
        asked = message.properties
        topic = getattr(asked, "ResponseTopic", "")
        if not _may_answer_on(topic):
            known = name if name in COMMANDS else "unknown"
            return Address(topic_name(self._device, f"reply/{known}"), None)
        properties = None
        if (correlation := getattr(asked, "CorrelationData", None)) is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        return Address(topic, properties)


def _may_answer_on(topic: str) -> bool:
    """Whether it is a topic that brokers take, and not one where an answer would be taken for a pose or a command."""
    of_ours = split_topic(topic)
    return (
        0 < len(topic) <= LONGEST_TOPIC
        and topic.count("/") < MOST_LEVELS
        and topic.isprintable()
        and not topic.startswith("$")
        and not {"+", "#"} & set(topic)
        and (of_ours is None or of_ours[1] == "reply")
    )


def _fields(payload: bytes) -> dict[str, Any]:
    """Raises Rejected."""
    if len(payload) > LONGEST:
        raise Rejected("too_large", f"longer than {LONGEST} bytes")
    try:
        return decode(payload or b"{}", dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Rejected("malformed", f"not JSON ({exc})") from None


def _id_of(data: dict[str, Any] | None) -> str | None:
    """Of a command that may be malformed otherwise."""
    number = (data or {}).get("id")
    return number if isinstance(number, str) and len(number) <= LONGEST_ID else None
