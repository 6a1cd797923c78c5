"""What trouble with the broker is told, and how long to wait before the next attempt."""

from __future__ import annotations

import logging
import random
import time

from edgepose.config.schema import MqttConfig
from edgepose.mqtt.broker import CLOSED, TAKEN_OVER, client_id, where
from edgepose.mqtt.limits import remedy
from edgepose.protocol.topics import TOPICS, topic_name
from edgepose.system.reporter import Reporter

log = logging.getLogger(__name__)

STABLE_S = 10.0  # a connection that held so long was one
FLAPS = 4  # connections cut short one after the other
CALM_S = 60.0  # one that held so long: nobody else has our client id any more
REFUSED_S = 600.0  # a topic of which no message has been refused for so long is not refused any more
LONGEST_PAUSE_S = 30.0


class Reconnect:
    """client: our client id. flapping: connections are cut short again and again."""

    def __init__(self, mqtt: MqttConfig, device: str, reporter: Reporter) -> None:
        self.client = client_id(device)
        self._mqtt, self._device, self._reporter = mqtt, device, reporter
        self._refused_s: dict[str, float] = {}  # monotonic clock of the last refusal, by what it is about
        self._logged = True  # a trouble since the last connection
        self._short_lives = 0
        self._pauses = 0

    @property
    def flapping(self) -> bool:
        return self._short_lives >= FLAPS

    def connected(self, waiting: int) -> None:
        """The broker has accepted us: what it will refuse shows anew."""
        self._reporter.alert("broker", None)
        for about in list(self._refused_s):
            self.healed(about)
        if self._logged:
            messages = "1 message" if waiting == 1 else f"{waiting} messages"
            log.info("%s: connected%s", where(self._mqtt), f", {messages} waiting" if waiting else "")
        self._logged = False

    def failed(self, trouble: str) -> None:
        """There is no connection. A broker that is absent now and then cuts connections short by itself."""
        self._short_lives = 0
        self.report(trouble)

    def report(self, trouble: str) -> bool:
        """Why there is no connection. Returns True when the log has it now."""
        logged = self._reporter.alert("broker", f"{trouble}; keeping poses and trying again")
        self._logged = self._logged or logged
        return logged

    def refused(self, about: str, reason: str) -> None:
        """The broker does not take a message, or a subscription. `healed` ends that, or a new connection, or time.
        about: the topic, without the device where it is one of its own, or `reply`."""
        self._refused_s[about] = time.monotonic()
        ours = about in TOPICS or about.startswith("command/")
        what = topic_name(self._device, about) if ours else "replies to commands" if about == "reply" else about
        self._alert(about, f"refuses {what}: {reason.replace('_', ' ')}; {remedy(reason)}")

    def healed(self, about: str) -> bool:
        """The broker has taken a message; whether that is new."""
        if self._refused_s.pop(about, None) is None:
            return False
        self._reporter.alert(about, None)
        return True

    def steady(self, seconds: float) -> None:
        """The connection has held so long."""
        if seconds > CALM_S:
            self._reporter.alert("client_id", None)
            self._short_lives = 0
        for about, at_s in list(self._refused_s.items()):
            if time.monotonic() - at_s > REFUSED_S:
                self.healed(about)

    def judge(self, seconds: float, reason: str) -> None:
        """Of a connection that ended after so long. Those cut short again and again are somebody's doing."""
        self._short_lives += 1
        if seconds > STABLE_S:
            self._pauses = self._short_lives = 0
        if TAKEN_OVER in reason:
            self._alert("client_id", f"another client connects as {self.client}, {_CLONE}")
        elif self.flapping and reason == CLOSED:  # also mosquitto 2.0.11 gives no reason
            size = "a message is too large for it, or " if self._mqtt.protocol == "3.1.1" else ""
            text = f"it cuts our connections short: {size}another client connects as {self.client}, {_CLONE}"
            self._alert("client_id", text)

    def pauses(self) -> list[float]:
        """Seconds to wait before the next attempt, in parts of one at most."""
        whole, rest = divmod(self._pause_s(), 1.0)
        return [1.0] * int(whole) + [rest]

    def _pause_s(self) -> float:
        """Full jitter: a hundred devices do not all come back at once."""
        longest = min(LONGEST_PAUSE_S, 2.0**self._pauses)
        self._pauses = min(self._pauses + 1, 10)  # after some hours of an outage 2.0**n is too large for a float
        return random.uniform(0, longest)  # noqa: S311  no secret

    def _alert(self, about: str, text: str) -> None:
        self._reporter.alert(about, f"{where(self._mqtt)}: {text}")


_CLONE = "perhaps a copied SD card: give each its own machine id"
