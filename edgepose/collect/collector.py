"""Listens to devices with a durable session, and writes their poses to files.

A message is acknowledged only when the journal has it on the disk: what a killed collector had not, the broker sends
again. Hours become files when nothing more has come of them for a while.
"""

from __future__ import annotations

import json
import logging
import random
import re
import threading
import time
from collections import Counter
from pathlib import Path

import msgspec
import paho.mqtt.client as paho

from edgepose.collect.hours import hour_path, write_hour
from edgepose.collect.journal import Journal
from edgepose.collect.reports import write_events, write_gaps
from edgepose.core.config import Mqtt
from edgepose.core.errors import BrokerError, ConfigError
from edgepose.core.messages import (
    TOPICS,
    BatchMessage,
    EventMessage,
    InfoMessage,
    PoseMessage,
    StatusMessage,
    decode,
    split_topic,
)
from edgepose.delivery.broker import where
from edgepose.delivery.connection import Connection, ConnectionLostError, UnreadableError

log = logging.getLogger(__name__)

SESSION_S = 30 * 86_400  # the broker keeps what comes while we are away
SETTLE_S = 60.0  # an hour is written when nothing has come of it for so long
LONGEST_S = 900.0  # and at the latest so long after its first pose
LARGEST = 1_000_000  # bytes of a message
REPORT_S = 60.0
_STREAMED = ("pose", "poses", "event")
_KEPT = ("info", "status")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_TICK_S = 0.2
_DEVICE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class Collector:
    """client_id: the same at every start, or the broker keeps messages for somebody who never comes back.
    share: name of a group of collectors that split the load.

    poses, duplicates: what has come since the start. rejected: messages, by reason."""

    def __init__(
        self, mqtt: Mqtt, password: str | None, client_id: str, folder: Path, share: str | None = None
    ) -> None:
        self.poses = self.duplicates = 0
        self.rejected: Counter[str] = Counter()
        self._mqtt, self._password, self._name, self._folder, self._share = mqtt, password, client_id, folder, share
        self._journal = Journal(folder / "journal.db")
        self._arrivals: dict[tuple[str, int], tuple[float, float]] = dict.fromkeys(self._journal.hours(), (0.0, 0.0))
        self._infos: dict[str, InfoMessage] = {}
        self._changed_events: set[str] = set()
        self._told = ""
        self._pause_s = _FIRST_PAUSE_S

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; then writes what it has. Raises EdgeposeError when the folder cannot be written."""
        anew = False
        while not stop.is_set():
            try:
                connection = Connection(
                    self._mqtt,
                    self._name,
                    self._password,
                    session_s=SESSION_S,
                    anew=anew,
                    acknowledge=False,
                    largest=LARGEST,
                )
                anew = False
                try:
                    self._serve(connection, stop)
                    connection.goodbye()
                except UnreadableError:
                    self._keep(connection)  # what came before it, since a new session does not bring it again
                    anew = True
                    raise
                finally:
                    connection.cut()
            except (BrokerError, ConfigError) as exc:
                self._tell(str(exc))
            except ConnectionLostError as exc:
                self._tell(f"{where(self._mqtt)}: connection lost ({exc})")
            self.write_settled()
            stop.wait(random.uniform(0, self._pause_s))  # noqa: S311  no secret
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self.write_all()
        self._journal.close()

    def _serve(self, connection: Connection, stop: threading.Event) -> None:
        prefix = f"$share/{self._share}/" if self._share else ""
        connection.subscribe(*(f"{prefix}edgepose/+/{leaf}" for leaf in _STREAMED))
        connection.subscribe(*(f"edgepose/+/{leaf}" for leaf in _KEPT))  # retained: a shared subscription gets none
        while len(connection.granted) < len(_STREAMED) + len(_KEPT) and not stop.is_set():
            connection.step(_TICK_S)
        if refused := {str(reason) for reason in connection.granted if reason.is_failure}:
            raise ConnectionLostError(f"it refuses our subscriptions: {', '.join(refused)}; correct its access list")
        self._told, self._pause_s = "", _FIRST_PAUSE_S
        log.info("%s: listening%s", where(self._mqtt), "" if connection.welcome.session else ", in a new session")
        report_due = time.monotonic() + REPORT_S
        while not stop.is_set():
            connection.step(_TICK_S)
            if connection.inbox:
                self._take(connection)
            self.write_settled()
            if time.monotonic() > report_due:
                report_due = time.monotonic() + REPORT_S
                log.info("%s", self.summary())

    def _take(self, connection: Connection) -> None:
        """All that has come, acknowledged when it is on the disk."""
        for message in self._keep(connection):
            if message.qos:
                connection.acknowledge(message)

    def _keep(self, connection: Connection) -> list[paho.MQTTMessage]:
        """In one transaction."""
        messages = [message for message, _ in connection.inbox]
        connection.inbox.clear()
        with self._journal.transaction():
            for message in messages:
                self._read(message)
        return messages

    def _read(self, message: paho.MQTTMessage) -> None:
        place = split_topic(message.topic)
        if place is None or not _DEVICE.fullmatch(place[0]):
            self.rejected["topic"] += 1
            return
        try:
            found = decode(bytes(message.payload), TOPICS[place[1]].payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.rejected["malformed"] += 1
            return
        poses = found.poses if isinstance(found, BatchMessage) else [found]
        for one in poses:
            if one.device != place[0]:
                self.rejected["another_device"] += 1
            elif isinstance(one, PoseMessage):
                self._add(one)
            elif isinstance(one, EventMessage):
                if self._journal.add_event(one):
                    self._changed_events.add(one.device)
            elif isinstance(one, InfoMessage):
                self._keep_info(one)
            elif isinstance(one, StatusMessage) and not message.retain:
                log.info("%s is %s", one.device, one.state)

    def _add(self, pose: PoseMessage) -> None:
        if not self._journal.add(pose):
            self.duplicates += 1
            return
        self.poses += 1
        key, now = (pose.device, pose.t_us // 3_600_000_000), time.monotonic()
        self._arrivals[key] = self._arrivals.get(key, (now, now))[0], now

    def _keep_info(self, info: InfoMessage) -> None:
        if self._infos.get(info.device) != info:
            self._infos[info.device] = info
            folder = self._folder / info.device
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / ".info.json"
            temporary.write_text(json.dumps(msgspec.to_builtins(info), indent=1), encoding="utf-8")
            temporary.replace(folder / "info.json")

    # --- files -----------------------------------------------------------------------------------------------

    def write_settled(self) -> None:
        now = time.monotonic()
        due = [key for key, (first, last) in self._arrivals.items() if now - last > SETTLE_S or now - first > LONGEST_S]
        self._write(due)

    def write_all(self) -> None:
        self._write(list(self._arrivals))
        self._write_reports()

    def _write(self, hours: list[tuple[str, int]]) -> None:
        for device, hour in hours:
            write_hour(hour_path(self._folder, device, hour), self._journal.poses(device, hour))
            self._journal.done(device, hour)
            del self._arrivals[device, hour]
        if hours:
            self._write_reports()

    def _write_reports(self) -> None:
        for device in self._changed_events:
            write_events(self._folder / device / "events.csv", self._journal.events(device))
        self._changed_events.clear()
        write_gaps(self._folder / "gaps.csv", self._journal.streams)

    def summary(self) -> str:
        gaps = sum(last - first + 1 for stream in self._journal.streams.values() for first, last in stream.gaps())
        devices = len({device for device, _ in self._journal.streams})
        rejected = f", {sum(self.rejected.values())} messages rejected" if self.rejected else ""
        return f"{devices} devices, {self.poses} poses, {self.duplicates} came twice, {gaps} missing{rejected}"

    def _tell(self, trouble: str) -> None:
        if self._told != trouble:
            log.warning("%s; trying again", trouble)
            self._told = trouble
