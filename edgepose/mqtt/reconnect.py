"""Reports trouble with the broker, and decides how long to wait before the next attempt."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass

from edgepose.config.schema import MqttConfig
from edgepose.mqtt.broker import CLOSED, TAKEN_OVER, client_id, where
from edgepose.mqtt.limits import remedy
from edgepose.protocol.topics import TOPICS, topic_name
from edgepose.system.reporter import Reporter
from edgepose.system.wording import count

log = logging.getLogger(__name__)

FLAPS = 4  # connections cut short one after the other


@dataclass(frozen=True, slots=True)
class ReconnectTiming:
    """Sets how long a connection or a pause lasts, in seconds.

    Attributes:
        stable_s: a connection that has held for this time was a good one.
        calm_s: when one has held for this time, no other client uses our client id any more.
        refused_s: a topic of which no message was refused for this time is not refused any more.
        longest_pause_s: the longest pause before the next attempt.
    """

    stable_s: float = 10.0
    calm_s: float = 60.0
    refused_s: float = 600.0
    longest_pause_s: float = 30.0


class Reconnect:
    """Concludes from attempts to connect, and from how connections end, what is wrong with the broker.

    Attributes:
        client: our client id.
    """

    def __init__(
        self, mqtt: MqttConfig, device: str, reporter: Reporter, timing: ReconnectTiming = ReconnectTiming()
    ) -> None:
        self.client = client_id(device)
        self._mqtt, self._device, self._reporter, self._timing = mqtt, device, reporter, timing
        self._refused_s: dict[str, float] = {}  # monotonic clock of the last refusal, by what it is about
        self._logged = True  # True before the first connection, and when a trouble was logged since the last one
        self._short_connections = 0  # one after the other
        self._attempts = 0  # since the last good connection

    @property
    def flapping(self) -> bool:
        """True while connections are cut short again and again."""
        return self._short_connections >= FLAPS

    def connected(self, waiting: int) -> None:
        """Ends earlier troubles, because the broker has accepted us. waiting: number of messages to send."""
        self._reporter.alert("broker", None)
        for about in list(self._refused_s):
            self.healed(about)
        if self._logged:
            log.info("%s: connected%s", where(self._mqtt), f", {count(waiting, 'message')} waiting" if waiting else "")
        self._logged = False

    def failed(self, trouble: str) -> None:
        """Reports that an attempt to connect has failed.

        The broker cannot be reached, so the short connections before came from its restart, and do not count.
        """
        self._short_connections = 0
        self.report(trouble)

    def report(self, trouble: str) -> bool:
        """Reports why there is no connection. Returns True when it has been logged now."""
        logged = self._reporter.alert("broker", f"{trouble}; keeping poses and trying again")
        self._logged = self._logged or logged
        return logged

    def refused(self, about: str, reason: str) -> None:
        """Reports that the broker refuses a message or a subscription, until `healed`, a new connection, or a while.

        about: the topic, without the device where it is one of its own; `reply` for all replies.
        """
        self._refused_s[about] = time.monotonic()
        ours = about in TOPICS or about.startswith("command/")
        what = topic_name(self._device, about) if ours else "replies to commands" if about == "reply" else about
        self._alert(about, f"refuses {what}: {reason.replace('_', ' ')}; {remedy(reason)}")

    def healed(self, about: str) -> bool:
        """Notes that the broker has taken a message. Returns True when it had refused those before."""
        if self._refused_s.pop(about, None) is None:
            return False
        self._reporter.alert(about, None)
        return True

    def steady(self, seconds: float) -> None:
        """Ends the alerts that are over once a connection has held for this time."""
        if seconds > self._timing.calm_s:
            self._reporter.alert("client_id", None)
            self._short_connections = 0
        for about, at_s in list(self._refused_s.items()):
            if time.monotonic() - at_s > self._timing.refused_s:
                self.healed(about)

    def judge(self, seconds: float, reason: str) -> None:
        """Judges a connection that ended after this time. Many short ones are caused by another client or a message."""
        self._short_connections += 1
        if seconds > self._timing.stable_s:
            self._attempts = self._short_connections = 0
        if TAKEN_OVER in reason:
            self._alert("client_id", f"another client connects as {self.client}, {_CLONE}")
        elif self.flapping and reason == CLOSED:  # also mosquitto 2.0.11 gives no reason
            size = "a message is too large for it, or " if self._mqtt.protocol == "3.1.1" else ""
            text = f"it cuts our connections short: {size}another client connects as {self.client}, {_CLONE}"
            self._alert("client_id", text)

    def pauses(self) -> list[float]:
        """Returns the seconds to wait before the next attempt, in parts of at most one second."""
        whole, rest = divmod(self._pause_s(), 1.0)
        return [1.0] * int(whole) + [rest]

    def _pause_s(self) -> float:
        """Exponential backoff with full jitter, so that a hundred devices do not all come back at once.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        longest = min(self._timing.longest_pause_s, 2.0**self._attempts)
        self._attempts = min(self._attempts + 1, 10)  # after some hours of an outage 2.0**n is too large for a float
        return random.uniform(0, longest)  # noqa: S311  no secret

    def _alert(self, about: str, text: str) -> None:
        self._reporter.alert(about, f"{where(self._mqtt)}: {text}")


_CLONE = "perhaps a copied SD card: give each its own machine id"
