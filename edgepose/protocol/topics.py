"""The MQTT topics of a device: their names, their payloads, and whether the broker keeps the last message.

To add a topic, add a row to `TOPICS` and an example to `examples`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepose.protocol.messages import (
    BatchMessage,
    EventMessage,
    HealthMessage,
    InfoMessage,
    Message,
    PoseMessage,
    StatusMessage,
)


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the topic table. All messages are sent with QoS 1.

    Attributes:
        leaf: the last level of the topic's name.
        payload: the struct of the messages.
        retained: True when the broker keeps the last message for later subscribers.
    """

    leaf: str
    payload: type[Message]
    retained: bool


TOPICS = {
    "pose": Topic("pose", PoseMessage, retained=False),
    "poses": Topic("poses", BatchMessage, retained=False),
    "event": Topic("event", EventMessage, retained=False),
    "info": Topic("info", InfoMessage, retained=True),
    "status": Topic("status", StatusMessage, retained=True),
    "health": Topic("health", HealthMessage, retained=True),
}


def topic_name(device: str, leaf: str) -> str:
    return f"edgepose/{device}/{leaf}"


def split_topic(name: str) -> tuple[str, str] | None:
    """Returns (device, leaf) of one of our topics, None for any other. The leaf of a command or a reply is `command`
    or `reply`."""
    parts = name.split("/")
    leaves = {3: TOPICS.keys(), 4: {"command", "reply"}}.get(len(parts), set())
    return (parts[1], parts[2]) if parts[0] == "edgepose" and leaves and parts[2] in leaves else None


def is_purged(leaf: str, payload: bytes | bytearray) -> bool:
    """Returns True when the message says that a retained message was removed from the broker."""
    return not payload and leaf in TOPICS and TOPICS[leaf].retained
