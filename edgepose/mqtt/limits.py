"""What the broker does not take, and how large a message it takes: as it says, or as it shows."""

from __future__ import annotations

import math
import time

from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

TOO_LARGE = "too_large"  # the reason to count a refused message by, in one word
_PERHAPS_TOO_LARGE = {TOO_LARGE, "implementation_specific_error", "unspecified_error"}
RELEARN_S = 3600.0  # so long what a broker has shown is believed
AT_ONCE_S = 1.0  # a connection that ends so soon after a message was sent may have ended because of it
_OVERHEAD = 32  # bytes of a PUBLISH besides topic, payload and properties, at most


def reason_word(reason: ReasonCode) -> str:
    word = str(reason).lower().replace(" ", "_")
    return TOO_LARGE if word == "packet_too_large" else word


def may_be_size(reason: str) -> bool:
    """Whether a smaller message may fare better."""
    return reason in _PERHAPS_TOO_LARGE


def remedy(reason: str) -> str:
    if reason == TOO_LARGE:
        return "raise its limit"
    return "correct its access list, or mqtt.username" if reason == "not_authorized" else "its log may tell why"


def packet_bytes(topic: str, payload: bytes, properties: Properties | None) -> int:
    packed = len(properties.pack()) if properties else 0  # type: ignore[no-untyped-call]
    return len(topic.encode()) + len(payload) + packed + _OVERHEAD


class Limit:
    """A broker of MQTT 3.1.1 cannot say how much it takes. It cuts the connection when it gets more, again and again,
    for the message comes again. What was alone on its way when that happened twice is taken to be too large, unless
    the broker has taken as much before.

    exceeded: by a message, what the broker said."""

    def __init__(self) -> None:
        self.exceeded = False
        self._announced = self._learnt = math.inf
        self._learnt_s = 0.0  # monotonic clock
        self._suspect = math.inf
        self._taken = 0  # the largest

    def announce(self, largest: int) -> None:
        """For this connection."""
        self._announced, self.exceeded = largest, False

    def allows(self, size: int) -> bool:
        if time.monotonic() - self._learnt_s > RELEARN_S:
            self._learnt = math.inf
        self.exceeded = self.exceeded or size > self._announced
        return size <= min(self._announced, self._learnt)

    def took(self, size: int) -> None:
        """The broker has acknowledged it."""
        self._taken = max(self._taken, size)

    def cut(self, size: int | None) -> None:
        """A short connection was cut without a word. size: of the one message that had just been sent, if any."""
        if size is None or not 0 < self._taken < size:
            self._suspect = math.inf
            return
        if self._suspect < math.inf:
            self._learnt, self._learnt_s = min(size, self._suspect, self._learnt) - 1, time.monotonic()
        self._suspect = size

    def forget(self) -> None:
        """The broker may be another one."""
        self._learnt = self._suspect = math.inf
        self._taken = 0
