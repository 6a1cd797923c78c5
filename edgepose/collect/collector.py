"""Receives what devices publish, with a durable session, and gives it to an archive.

A message is acknowledged only when the archive has it on the disk, so the broker sends again what a killed collector
has not written.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections import Counter

import paho.mqtt.client as paho

from edgepose.collect.archive import Archive, poses_of
from edgepose.collect.journal import Arrival
from edgepose.collect.newer_messages import NewerMessage
from edgepose.config.schema import MqttConfig
from edgepose.errors import BrokerError, ConfigError
from edgepose.mqtt.broker import where
from edgepose.mqtt.connection import Connection, ConnectionLostError, UnreadableError
from edgepose.protocol.messages import BatchMessage, EventMessage, InfoMessage, PoseMessage, StatusMessage
from edgepose.protocol.topics import TOPICS, is_purged, split_topic
from edgepose.protocol.versions import NewerVersionError, UnreadableMessageError, read_message
from edgepose.system.wording import count

log = logging.getLogger(__name__)

SESSION_S = 30 * 86_400  # for this time the broker keeps what comes while we are away
LARGEST = 1_000_000  # largest message, in bytes
REPORT_S = 60.0
_STREAMED = ("pose", "poses", "event")
_KEPT = ("info", "status")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_TICK_S = 0.2
_SOON_S = 10.0  # a connection that is lost within this time may have been taken over by another collector of our name
_DEVICE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
_OUR_FILES = ("journal.db", "gaps.csv")  # in the folder where each device has a folder


class Collector:
    """Receives messages until `stop` is set.

    Attributes:
        rejected: number of messages that were not taken, by reason.
    """

    def __init__(
        self, mqtt: MqttConfig, password: str | None, client_id: str, archive: Archive, share: str | None = None
    ) -> None:
        """client_id: the same at every start, or the broker keeps messages for a client that never comes back.
        share: name of a group of collectors that divide the devices' messages among them."""
        self.rejected: Counter[str] = Counter()
        self._mqtt, self._password, self._name, self._archive, self._share = mqtt, password, client_id, archive, share
        self._warned = ""  # the last warning, until we listen again
        self._pause_s = _FIRST_PAUSE_S
        self._listening_s = -_SOON_S

    def run(self, stop: threading.Event) -> None:
        """Receives until `stop`, then writes what it has. Raises EdgeposeError when the folder cannot be written."""
        new_session = False
        while not stop.is_set():
            try:
                connection = Connection(
                    self._mqtt,
                    self._name,
                    self._password,
                    session_s=SESSION_S,
                    new_session=new_session,
                    acknowledge=False,
                    largest=LARGEST,
                )
                new_session = False
                try:
                    self._serve(connection, stop)
                    connection.goodbye()
                except UnreadableError:
                    self._keep(connection)  # what came before, because a new session does not bring it again
                    new_session = True
                    raise
                finally:
                    connection.cut()
            except (BrokerError, ConfigError) as exc:
                self._warn(str(exc))
            except ConnectionLostError as exc:
                again = time.monotonic() - self._listening_s < _SOON_S
                hint = "; where that goes on, two collectors have one --name" if again else ""
                self._warn(f"{where(self._mqtt)}: connection lost ({exc}){hint}")
            self._wait(stop)
        self._archive.finish()

    def _wait(self, stop: threading.Event) -> None:
        """Waits before the next attempt, and meanwhile writes what is due."""
        until = time.monotonic() + random.uniform(0, self._pause_s)  # noqa: S311  no secret
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        while (left := until - time.monotonic()) > 0 and not stop.wait(min(left, self._archive.write_due())):
            pass

    def _serve(self, connection: Connection, stop: threading.Event) -> None:
        prefix = f"$share/{self._share}/" if self._share else ""
        connection.subscribe(*(f"{prefix}edgepose/+/{leaf}" for leaf in _STREAMED))
        connection.subscribe(*(f"edgepose/+/{leaf}" for leaf in _KEPT))  # retained: a shared subscription gets none
        while len(connection.granted) < len(_STREAMED) + len(_KEPT) and not stop.is_set():
            connection.step(_TICK_S)
        if refused := {str(reason) for reason in connection.granted.values() if reason.is_failure}:
            raise ConnectionLostError(f"it refuses our subscriptions: {', '.join(refused)}; correct its access list")
        self._warned, self._pause_s, self._listening_s = "", _FIRST_PAUSE_S, time.monotonic()
        log.info("%s: listening%s", where(self._mqtt), "" if connection.welcome.session else ", in a new session")
        report_due, pause_s = time.monotonic() + REPORT_S, 0.0
        while not stop.is_set():
            connection.step(min(pause_s, _TICK_S))
            if connection.inbox:
                self._take(connection)
            pause_s = self._archive.write_due()
            if time.monotonic() > report_due:
                report_due = time.monotonic() + REPORT_S
                self._archive.report()
                log.info("%s", self.summary())

    def _take(self, connection: Connection) -> None:
        """Keeps everything that has come, and acknowledges it when it is on the disk."""
        for message in self._keep(connection):
            if message.qos:
                connection.acknowledge(message)

    def _keep(self, connection: Connection) -> list[paho.MQTTMessage]:
        """Writes everything that has come in one transaction. Returns the messages."""
        messages = [message for message, _ in connection.inbox]
        connection.inbox.clear()
        arrivals: list[Arrival] = []
        events: list[EventMessage] = []
        newer: list[NewerMessage] = []
        for message in messages:
            self._read(message, arrivals, events, newer)
        self._archive.write(arrivals, events, newer)
        return messages

    def _read(
        self,
        message: paho.MQTTMessage,
        arrivals: list[Arrival],
        events: list[EventMessage],
        newer: list[NewerMessage],
    ) -> None:
        origin, payload = _origin(message), bytes(message.payload)
        if origin is None:
            self.rejected["topic"] += 1
            return
        device, leaf = origin
        if is_purged(leaf, payload):
            return
        try:
            found = read_message(payload, TOPICS[leaf].payload)
        except NewerVersionError as exc:
            if leaf in _STREAMED:  # the broker itself keeps the others for whoever comes
                newer.append(NewerMessage(device, exc.version, leaf, payload))
            return
        except UnreadableMessageError:
            self.rejected["malformed"] += 1
            return
        if isinstance(found, PoseMessage | BatchMessage):
            own = poses_of(found, device)
            self.rejected["another_device"] += (len(found.poses) if isinstance(found, BatchMessage) else 1) - len(own)
            arrivals += self._archive.accept(device, leaf, payload, own)
        elif found.device != device:
            self.rejected["another_device"] += 1
        elif isinstance(found, EventMessage):
            events.append(found)
        elif isinstance(found, InfoMessage):
            self._archive.keep_info(found)
        elif isinstance(found, StatusMessage) and not message.retain:
            log.info("%s is %s", device, found.state)

    def summary(self) -> str:
        """Returns a line: what has come since the start, and how much is missing at all."""
        rejected = sum(self.rejected.values())
        return self._archive.summary() + (f", {count(rejected, 'message')} rejected" if rejected else "")

    def _warn(self, trouble: str) -> None:
        if self._warned != trouble:
            log.warning("%s; trying again", trouble)
            self._warned = trouble


def _origin(message: paho.MQTTMessage) -> tuple[str, str] | None:
    """Returns device and leaf; None for a topic that is not ours, or whose device cannot be the name of a folder."""
    try:
        found = split_topic(message.topic)
    except UnicodeDecodeError:
        return None
    return found if found and _DEVICE.fullmatch(found[0]) and not found[0].startswith(_OUR_FILES) else None
