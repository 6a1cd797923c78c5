"""Commands that come over MQTT: where their answers go, and which of them must not be carried out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgepose.protocol.commands import COMMANDS, CommandRejectedError, ReplyMessage
from edgepose.protocol.topics import split_topic, topic_name

_LONGEST_TOPIC, _MOST_LEVELS = 200, 100  # brokers throw out a client that answers on a longer topic


class CommandReceiver(Protocol):
    """It takes the commands of the inbox and carries them out."""

    @property
    def rejected(self) -> dict[str, int]:
        """Commands that were not carried out, by reason."""

    def start(self) -> None: ...

    def submit(
        self,
        name: str,
        payload: bytes,
        answer: Callable[[ReplyMessage], None],
        refusal: CommandRejectedError | None = None,
    ) -> None:
        """Has a command carried out. Never raises and never waits. refusal: why it must not be carried out."""

    def close(self, seconds: float) -> None:
        """Carries out what waits, for at most so long."""


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """The topic that a reply goes to, with its correlation data."""

    topic: str
    properties: Properties | None


def command_name(message: paho.MQTTMessage) -> str:
    return message.topic.rsplit("/", 1)[-1]


def refusal(message: paho.MQTTMessage, *, late: bool) -> CommandRejectedError | None:
    """Why the command must not be carried out. late: it waited at the broker while the device was away."""
    if message.retain:
        text = "a retained command would come back at every connection; send it not retained"
        return CommandRejectedError("retained", text)
    return CommandRejectedError("late", "sent while the device was away; send it again") if late else None


def reply_address(message: paho.MQTTMessage, device: str) -> ReplyAddress:
    """The response topic of MQTT 5 with the correlation data, or /reply/<name>."""
    properties = message.properties
    topic = getattr(properties, "ResponseTopic", "")
    if not _may_answer_on(topic):
        name = command_name(message)
        return ReplyAddress(topic_name(device, f"reply/{name if name in COMMANDS else 'unknown'}"), None)
    if (correlation := getattr(properties, "CorrelationData", None)) is None:
        return ReplyAddress(topic, None)
    answer = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    answer.CorrelationData = correlation
    return ReplyAddress(topic, answer)


def _may_answer_on(topic: str) -> bool:
    """Returns True for a topic that brokers accept, and where an answer cannot be taken for a pose or a command."""
    place = split_topic(topic)
    return (
        0 < len(topic) <= _LONGEST_TOPIC
        and topic.count("/") < _MOST_LEVELS
        and topic.isprintable()
        and not topic.startswith("$")
        and not {"+", "#"} & set(topic)
        and (place is None or place[1] == "reply")
    )
