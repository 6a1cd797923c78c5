"""What trouble with the broker is told, and how long to wait before the next attempt."""

from __future__ import annotations

import logging
import random
import time
from collections import deque

from edgepose.core.config import Mqtt
from edgepose.delivery.broker import where

log = logging.getLogger(__name__)

STABLE_S = 10.0  # a connection that held so long was one
FLAPS, FLAPS_WITHIN_S = 4, 60.0  # connections cut short one after the other: somebody else has our client id
LONGEST_PAUSE_S = 30.0


class Patience:
    """client: our client id. alerts: what is wrong with the broker, in words, by what it is about."""

    def __init__(self, mqtt: Mqtt, client: str) -> None:
        self.client = client
        self.alerts: dict[str, str] = {}
        self._mqtt = mqtt
        self._told: set[str] = set()  # of this outage
        self._short_lives: deque[float] = deque(maxlen=FLAPS)
        self._pauses = 0

    def connected(self) -> None:
        self._told.clear()
        self.alerts.pop("broker", None)

    def tell(self, trouble: str) -> None:
        """Each trouble once, not at every attempt."""
        self.alerts["broker"] = trouble
        if trouble not in self._told:
            log.warning("%s; keeping poses and trying again", trouble)
            self._told.add(trouble)

    def alert(self, about: str, text: str) -> None:
        """Told when it is new."""
        text = f"{where(self._mqtt)}: {text}"
        if self.alerts.get(about) != text:
            log.warning("%s", text)
        self.alerts[about] = text

    def steady(self, seconds: float) -> None:
        """The connection has held so long."""
        if seconds > FLAPS_WITHIN_S:
            self.alerts.pop("client_id", None)

    def judge(self, seconds: float, reason: str) -> None:
        """Of a connection that ended after so long. Those cut short again and again are somebody else's doing."""
        if seconds > STABLE_S:
            self._pauses = 0
        if seconds < STABLE_S or "taken over" in reason:
            self._short_lives.append(time.monotonic())
        many = len(self._short_lives) == FLAPS and self._short_lives[-1] - self._short_lives[0] < FLAPS_WITHIN_S
        if "taken over" in reason or many:
            text = f"another client connects as {self.client}, perhaps a copied SD card: give each its own machine id"
            self.alert("client_id", text)

    def pause_s(self) -> float:
        """Full jitter: a hundred devices do not all come back at once."""
        longest = min(LONGEST_PAUSE_S, 2.0**self._pauses)
        self._pauses += 1
        return random.uniform(0, longest)  # noqa: S311  no secret
