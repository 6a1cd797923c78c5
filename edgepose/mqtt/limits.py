"""Finds why a broker refuses messages, and how large a message it takes: as it announces, or as its behaviour shows."""

from __future__ import annotations

import math
import time

from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

TOO_LARGE = "too_large"  # a reason in one word, by which refused messages are counted
_PERHAPS_TOO_LARGE = {TOO_LARGE, "implementation_specific_error", "unspecified_error"}
RELEARN_S = 3600.0  # for this long we believe that the limit is what the broker's behaviour last showed
AT_ONCE_S = 1.0  # a connection that ends within this time after a message may have ended because of it
_OVERHEAD = 32  # bytes of a PUBLISH besides topic, payload and properties, at most


def reason_word(reason: ReasonCode) -> str:
    """Returns the reason in one word, such as not_authorized."""
    word = str(reason).lower().replace(" ", "_")
    return TOO_LARGE if word == "packet_too_large" else word


def may_be_size(reason: str) -> bool:
    """Returns True when the broker may take a smaller message."""
    return reason in _PERHAPS_TOO_LARGE


def remedy(reason: str) -> str:
    """Returns what the operator can do about a refusal."""
    if reason == TOO_LARGE:
        return "raise its limit"
    return "correct its access list, or mqtt.username" if reason == "not_authorized" else "its log may say why"


def packet_bytes(topic: str, payload: bytes, properties: Properties | None) -> int:
    """Returns the size of a PUBLISH packet, at most."""
    packed = len(properties.pack()) if properties else 0  # type: ignore[no-untyped-call]
    return len(topic.encode()) + len(payload) + packed + _OVERHEAD


class SizeLimit:
    """The largest message that the broker takes.

    A broker of MQTT 3.1.1 cannot announce a limit. It cuts the connection when a message is too large, again and again,
    because the message is sent again. When that has happened twice with a single message on its way, we conclude that
    the message is too large, unless the broker has taken one as large before.

    Attributes:
        exceeded: True when a message was larger than the broker has announced.
    """

    def __init__(self) -> None:
        self.exceeded = False
        self._announced = self._learnt = math.inf
        self._learnt_s = 0.0  # monotonic clock
        self._suspect = math.inf
        self._taken = 0  # the largest

    def announce(self, largest: int) -> None:
        """Takes the limit that the broker has announced for the connection, in bytes."""
        self._announced, self.exceeded = largest, False

    def allows(self, size: int) -> bool:
        """Returns True when a message of this size may be sent."""
        if time.monotonic() - self._learnt_s > RELEARN_S:
            self._learnt = math.inf
        self.exceeded = self.exceeded or size > self._announced
        return size <= min(self._announced, self._learnt)

    def took(self, size: int) -> None:
        """Notes that the broker has acknowledged a message of this size."""
        self._taken = max(self._taken, size)

    def cut(self, size: int | None) -> None:
        """Notes that a short connection was cut without a reason.

        size: bytes of the one message that had just been sent; None when there was none, or several.
        """
        if size is None or not 0 < self._taken < size:
            self._suspect = math.inf
            return
        if self._suspect < math.inf:
            self._learnt, self._learnt_s = min(size, self._suspect, self._learnt) - 1, time.monotonic()
        self._suspect = size

    def forget(self) -> None:
        """Forgets what was learnt, because the broker may be another one."""
        self._learnt = self._suspect = math.inf
        self._taken = 0
