"""The thread that talks to the broker: connects, for ever anew, sends what the outbox has, a few messages at a time,
and hands the answers back. All its state is its own; others only `notify`, `wake` and `close`.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import paho.mqtt.client as paho
from paho.mqtt.properties import Properties

from edgepose.clock import boot_us
from edgepose.core.config import Mqtt
from edgepose.core.errors import BrokerError, ConfigError
from edgepose.core.messages import TOPICS, topic_name
from edgepose.delivery.broker import client_id, read_password, where
from edgepose.delivery.connection import CONNECT_S, Connection, ConnectionLostError, Will
from edgepose.delivery.disk_tier import PERMANENT
from edgepose.delivery.outbox import Outbox, Parcel
from edgepose.delivery.patience import Patience

log = logging.getLogger(__name__)

WINDOW = 20  # unacknowledged at a time; brokers allow at least this many
BACKLOG_WINDOW = 4  # of these, messages of the backlog: a live pose never waits behind many
BACKLOG_HZ = 8000.0  # poses of a backlog a second at most: readers get the live ones through the same queue
HEALTH_S = 30.0
ACK_TIMEOUT_S = 10.0  # of a broker that answers and acknowledges nothing; only a new connection mends that
SESSION_S = 7 * 86_400  # the broker keeps our session so long: without it, it has lost its memory
DOUBT_S = 2.0  # how long the broker may take to say when it was started
LAST_WORD_S = 2.0
UPTIME = "$SYS/broker/uptime"
_TICK_S = 0.1
_NO_READER = 0x10  # MQTT 5's "No matching subscribers", a success
ANSWERS = 100  # replies to commands that may wait
_OVERHEAD = 32  # bytes of a PUBLISH besides topic and payload, at most


@dataclass(frozen=True, slots=True)
class Notice:
    """A message that nobody keeps: only the newest matters, or whoever asked will ask again."""

    topic: str
    payload: bytes
    retain: bool
    properties: Properties | None = None


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


class Link:
    """connects: how often the broker has accepted us. online: now."""

    def __init__(self, mqtt: Mqtt, device: str, will: bytes, outbox: Outbox) -> None:
        self.connects = 0
        self.online = False
        self.patience = Patience(mqtt, client_id(device))
        self._mqtt, self._device, self._outbox = mqtt, device, outbox
        self._will = Will(topic_name(device, "status"), will)
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        outbox.wake = self.wake
        self._notices: deque[Notice] = deque()
        self._in_flight: dict[int, Parcel | Notice] = {}  # by message id, in the order they were sent
        self._backlog_due = 0.0  # monotonic clock
        self._ending = threading.Event()

    def start(self, voice: Voice) -> None:
        self._thread = threading.Thread(target=self._run, args=(voice,), name="mqtt", daemon=True)
        self._thread.start()

    def notify(self, leaf: str, payload: bytes) -> None:
        """Sends a message that only the newest of matters, when there is a connection."""
        self._notices.append(self._notice(leaf, payload))
        self.wake()

    def answer(self, topic: str, payload: bytes, properties: Properties | None) -> None:
        """Once, while there is a connection: who asked will ask again. Dropped when too many wait."""
        if len(self._notices) < ANSWERS:
            self._notices.append(Notice(topic, payload, retain=False, properties=properties))
            self.wake()

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # it is being woken already, or has ended
            self._wake_out.send(b"\0")

    def close(self) -> None:
        """Says the last words where there is a connection. Never hangs."""
        self._ending.set()
        self.wake()
        self._thread.join(LAST_WORD_S + CONNECT_S)
        self._wake_out.close()
        if not self._thread.is_alive():
            self._wake_in.close()

    # --- the thread ------------------------------------------------------------------------------------------

    def _run(self, voice: Voice) -> None:
        while not self._ending.is_set():
            try:
                password = read_password(self._mqtt)
                connection = Connection(self._mqtt, self.patience.client, password, self._will, session_s=SESSION_S)
            except (BrokerError, ConfigError) as exc:
                self.patience.tell(str(exc))
            else:
                self._live(connection, voice)
            self._ending.wait(self.patience.pause_s())

    def _live(self, connection: Connection, voice: Voice) -> None:
        """Serves one connection to its end."""
        self._since = time.monotonic()
        try:
            self._greet(connection, voice)
            self._serve(connection, voice)
        except ConnectionLostError as exc:
            self.patience.tell(f"{where(self._mqtt)}: connection lost ({exc})")
            self.patience.judge(time.monotonic() - self._since, str(exc))
        except Exception:  # a bug must not end delivery: a new connection is a new start
            log.exception("%s: the connection is given up", where(self._mqtt))
        finally:
            self.online = False
            connection.cut()
            self._outbox.lost([parcel for parcel in self._in_flight.values() if isinstance(parcel, Parcel)])
            self._in_flight.clear()

    def _greet(self, connection: Connection, voice: Voice) -> None:
        self.online = True
        self.connects += 1
        self.patience.connected()
        left = self._outbox.waiting + self._outbox.backlog.poses
        log.info("%s: connected%s", where(self._mqtt), f", {left} poses waiting" if left else "")
        self._window = min(WINDOW, connection.welcome.receive_maximum)
        self._largest = connection.welcome.largest
        self._progress = time.monotonic()
        self._doubt_ends = time.monotonic() + DOUBT_S
        connection.subscribe(topic_name(self._device, "command/+"))
        if connection.welcome.session:
            connection.subscribe(UPTIME, qos=0)
        else:
            self._send_again(float("inf"))
        self._notices.clear()
        voice.on_connected()
        self._health_due = 0.0

    def _serve(self, connection: Connection, voice: Voice) -> None:
        said_by = 0.0  # monotonic clock; 0 before the end
        while not said_by or (self._unsaid() and time.monotonic() < said_by):
            if self._ending.is_set() and not said_by:
                said_by = time.monotonic() + LAST_WORD_S
                voice.last_words()
            self._send(connection)
            connection.step(_TICK_S, self._wake_in)
            self._take_answers(connection, voice)
            self._watch(voice)
        if not self._unsaid():
            connection.goodbye()

    def _unsaid(self) -> bool:
        """Whether a notice is not acknowledged yet."""
        return bool(self._notices) or any(isinstance(parcel, Notice) for parcel in self._in_flight.values())

    def _send(self, connection: Connection) -> None:
        while len(self._in_flight) < self._window:
            parcel = self._notices.popleft() if self._notices else self._next()
            if parcel is None:
                return
            notice = parcel if isinstance(parcel, Notice) else self._notice(parcel.leaf, parcel.payload)
            if len(notice.topic) + len(notice.payload) + _OVERHEAD > self._largest:
                self._refuse(parcel, PERMANENT)
                continue
            number = -1  # of a message that did not get out
            try:
                number = connection.publish(
                    notice.topic, notice.payload, retain=notice.retain, properties=notice.properties
                )
            finally:
                self._in_flight[number] = parcel

    def _next(self) -> Parcel | None:
        now = time.monotonic()
        backlog = sum(isinstance(parcel, Parcel) and parcel.batch is not None for parcel in self._in_flight.values())
        may = backlog < BACKLOG_WINDOW and now >= self._backlog_due and not self._ending.is_set()
        parcel = self._outbox.take(backlog=may)
        if parcel and parcel.batch:
            self._backlog_due = max(self._backlog_due, now - _TICK_S) + parcel.batch.poses / BACKLOG_HZ
        return parcel

    def _notice(self, leaf: str, payload: bytes) -> Notice:
        return Notice(topic_name(self._device, leaf), payload, retain=TOPICS[leaf].retained)

    def _take_answers(self, connection: Connection, voice: Voice) -> None:
        taken = []
        for number, reason in connection.acks:
            parcel = self._in_flight.pop(number, None)
            if parcel is None:
                continue
            self._progress = time.monotonic()
            if reason.is_failure:
                self._refuse(parcel, str(reason).lower().replace(" ", "_"))
                continue
            self.patience.alerts.pop(self._short(parcel), None)
            if isinstance(parcel, Parcel):
                parcel.unheard = reason.value == _NO_READER
                taken.append(parcel)
        connection.acks.clear()
        if taken:
            self._outbox.acknowledge(taken)
        for message, late in connection.inbox:
            if message.topic == UPTIME:
                self._compare(connection, message.payload)
            else:
                voice.on_message(message, late=late)
        connection.inbox.clear()

    def _refuse(self, parcel: Parcel | Notice, reason: str) -> None:
        about = self._short(parcel)
        remedy = "raise its limit" if reason == PERMANENT else "correct its access list"
        self.patience.alert(about, f"refuses {topic_name(self._device, about)}: {reason.replace('_', ' ')}; {remedy}")
        if isinstance(parcel, Parcel):
            self._outbox.refuse(parcel, reason)

    def _short(self, parcel: Parcel | Notice) -> str:
        """The topic without the device, where it is one of ours."""
        if isinstance(parcel, Parcel):
            return parcel.leaf
        return parcel.topic.removeprefix(topic_name(self._device, ""))

    def _watch(self, voice: Voice) -> None:
        now = time.monotonic()
        if not self._in_flight:
            self._progress = now
        if now - self._progress > ACK_TIMEOUT_S:
            raise ConnectionLostError(f"no acknowledgement for {ACK_TIMEOUT_S:g} s")
        if now > self._doubt_ends:
            self._send_again(float("inf"))
        if now >= self._health_due:
            self._health_due = now + HEALTH_S
            if self._doubt_ends == float("inf"):
                self._outbox.forget_old()
            self.patience.steady(now - self._since)
            voice.on_heartbeat()

    def _compare(self, connection: Connection, payload: bytes | bytearray) -> None:
        """Whether the broker was started since it acknowledged our messages; `payload` is such as b"59 seconds"."""
        match = re.match(rb"(\d+)", payload)
        if match and self._doubt_ends < float("inf"):
            self._send_again(boot_us() / 1e6 - int(match[1]))
        connection.unsubscribe(UPTIME)

    def _send_again(self, before_s: float) -> None:
        """What it acknowledged before that (boot clock) it has forgotten. Once for each connection."""
        self._doubt_ends = float("inf")
        if again := self._outbox.forgotten(0.0, before_s):
            log.info("%s: it may have lost %d poses that it acknowledged; sending them again", where(self._mqtt), again)
