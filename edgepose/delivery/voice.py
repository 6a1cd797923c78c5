"""What passes between `link`, which sends, and `mqtt`, which knows what there is to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import paho.mqtt.client as paho
from paho.mqtt.properties import Properties

from edgepose.mqtt.limits import packet_bytes

ANSWERS, ANSWERS_BYTES = 100, 16_000_000  # replies to commands that may wait


@dataclass(frozen=True, slots=True)
class Notice:
    """A message that nobody keeps: only the newest matters, or whoever asked will ask again."""

    topic: str
    payload: bytes
    retain: bool
    properties: Properties | None = None

    def size(self) -> int:
        """Bytes on the wire, at most."""
        return packet_bytes(self.topic, self.payload, self.properties)


def has_room(waiting: Sequence[Notice]) -> bool:
    """Whether one more reply may wait."""
    return len(waiting) < ANSWERS and sum(len(one.payload) for one in waiting) < ANSWERS_BYTES


class Voice(Protocol):
    """What the device says of itself."""

    def on_connected(self) -> None:
        """Notifies what every broker must know."""

    def on_heartbeat(self) -> None:
        """Every `HEALTH_S`, and when connected."""

    def last_words(self) -> None:
        """Before a clean end."""

    def on_message(self, message: paho.MQTTMessage, *, late: bool) -> None:
        """A command. late: it was sent while we were away."""
