"""Makes a broker, and with it Home Assistant, forget a device: removes every retained message of its topics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from edgepose.errors import BrokerError, EdgeposeError
from edgepose.mqtt.connection import Connection
from edgepose.protocol.home_assistant import discovery_topic
from edgepose.protocol.messages import StatusMessage
from edgepose.protocol.topics import TOPICS, topic_name
from edgepose.protocol.versions import UnreadableMessageError, read_message

_TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class PurgeTiming:
    """Sets how long a purge waits, in seconds.

    Attributes:
        answer_s: for an answer of the broker.
        quiet_s: after the last retained message, until it is believed that there are no more.
        alive_s: for a sign of life of a device that the broker calls online; a running one sends /health every 30 s.
    """

    answer_s: float = 5.0
    quiet_s: float = 1.0
    alive_s: float = 35.0


class Purge:
    """Removes what a broker keeps of a device. `report` gets a line for each thing that happens."""

    def __init__(
        self, connection: Connection, device: str, report: Callable[[str], None], timing: PurgeTiming = PurgeTiming()
    ) -> None:
        self._connection, self._device, self._report, self._timing = connection, device, report, timing

    def run(self) -> None:
        """Raises EdgeposeError where the device runs or the broker refuses, ConnectionLostError, BrokerError."""
        found = self._find_retained()
        self._refuse_running(found)
        refused = self._clear(list(found))
        remaining = [topic for topic in self._find_retained() if topic not in refused]
        for topic in found:
            if topic not in refused and topic not in remaining:
                self._report(f"removed {topic}")
        if refused:
            raise EdgeposeError(
                f"the broker refuses to remove {', '.join(refused)}; give --broker a user who may write there"
            )
        if remaining:
            raise EdgeposeError(
                f"{', '.join(remaining)}: was published again; stop the program that does it, and try again"
            )
        if not found:
            self._report(f"the broker keeps nothing of {self._device}")

    def _find_retained(self) -> dict[str, bytes]:
        """Returns what the broker keeps, by topic.

        Home Assistant's topic comes first, so that Home Assistant never sees the others empty.
        """
        connection, timing = self._connection, self._timing
        filters = (discovery_topic(self._device), topic_name(self._device, "#"))
        found: dict[str, bytes] = {}
        heard_s = time.monotonic()

        def is_complete() -> bool:
            nonlocal heard_s
            for message, _ in connection.inbox:
                if message.retain:
                    found[message.topic] = bytes(message.payload)
                    heard_s = time.monotonic()
            connection.inbox.clear()
            return len(connection.granted) >= len(filters) and time.monotonic() - heard_s > timing.quiet_s

        connection.granted.clear()
        connection.inbox.clear()
        connection.subscribe(*filters)
        if not self._wait(is_complete, timing.answer_s):
            raise BrokerError("the broker does not answer, or does not stop sending; try again")
        if any(reason.is_failure for reason in connection.granted.values()):
            raise BrokerError(f"the broker does not let us read {' and '.join(filters)}; give --broker a user who may")
        return dict(sorted(found.items(), key=lambda item: (item[0] != filters[0], item[0])))

    def _refuse_running(self, found: dict[str, bytes]) -> None:
        """Raises EdgeposeError where the device runs.

        A status may stay `online` for ever, because a broker that is killed sends no last will.
        """
        try:
            state = read_message(found[topic_name(self._device, "status")], StatusMessage).state
        except (KeyError, UnreadableMessageError):
            return
        if state != "online":
            return
        alive_s = self._timing.alive_s
        self._report(f"the broker says that {self._device} is online; waiting {alive_s:g} s for a sign of life")
        topics = {topic_name(self._device, leaf) for leaf in TOPICS}

        def is_alive() -> bool:
            return any(message.topic in topics and not message.retain for message, _ in self._connection.inbox)

        if self._wait(is_alive, alive_s):
            raise EdgeposeError(f"{self._device} is running and would publish all of it again; stop it first")

    def _clear(self, topics: list[str]) -> list[str]:
        """Returns the topics that the broker refuses to clear."""
        connection = self._connection
        sent = {connection.publish(topic, b"", retain=True): topic for topic in topics}
        if not self._wait(lambda: len(connection.acks) >= len(sent), self._timing.answer_s):
            raise BrokerError("the broker acknowledges nothing; try again")
        refused = [sent[number] for number, reason in connection.acks if reason.is_failure]
        connection.acks.clear()
        return refused

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Returns True when the condition came true in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._connection.step(_TICK_S)
        return True
