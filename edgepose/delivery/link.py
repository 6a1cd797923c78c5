"""Talks to the broker in a thread: it connects, again and again, sends what the outbox has, a few messages at a time,
and hands the answers back. All its state is its own; other threads only notify, wake and close it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgepose.config.schema import MqttConfig
from edgepose.delivery.outbox import Outbox, Parcel
from edgepose.delivery.timing import DeliveryTiming
from edgepose.errors import BrokerError, ConfigError
from edgepose.mqtt.broker import CLOSED, TAKEN_OVER, read_password, where
from edgepose.mqtt.connection import Connection, ConnectionLostError, UnreadableError, Will
from edgepose.mqtt.limits import AT_ONCE_S, TOO_LARGE, SizeLimit, packet_bytes, reason_word
from edgepose.mqtt.reconnect import Reconnect
from edgepose.protocol.topics import TOPICS, topic_name
from edgepose.system.clock import boot_us
from edgepose.system.reporter import Reporter

log = logging.getLogger(__name__)

WINDOW = 20  # unacknowledged messages; brokers allow at least this many
SPOOL_WINDOW = 4  # of these, messages of the spool: a live pose never waits behind many
REPLIES, REPLIES_BYTES = 100, 16_000_000  # replies to commands that may wait
SESSION_S = 7 * 86_400  # the broker keeps our session for this time; a broker without it has lost its memory
UPTIME = "$SYS/broker/uptime"
_TICK_S = 0.1
_NO_SUBSCRIBER = 0x10  # MQTT 5's "No matching subscribers", a success


@dataclass(frozen=True, slots=True)
class Notice:
    """A message that is not kept: only the newest matters, or whoever asked for it will ask again."""

    topic: str
    payload: bytes
    retain: bool
    properties: Properties | None = None

    def size(self) -> int:
        """Returns its bytes on the wire, at most."""
        return packet_bytes(self.topic, self.payload, self.properties)


class LinkOwner(Protocol):
    """It gives the device's own messages and takes commands. The link's thread calls it."""

    def on_connected(self) -> None:
        """Notifies what every broker must know."""

    def on_heartbeat(self) -> None:
        """Called when connected, and then once in every period of /health."""

    def on_closing(self) -> None:
        """Notifies the last words, before a clean end."""

    def on_message(self, message: paho.MQTTMessage, *, late: bool) -> None:
        """Takes a command. late: it was sent while we were away."""


class Link:
    """The link to the broker.

    Attributes:
        connects: how often the broker has accepted us.
        online: True while there is a connection.
        unanswered: number of replies that nobody got.
        beats: grows while the thread is at work, whether there is a broker or not.
    """

    def __init__(  # noqa: PLR0913  everything that one device's link needs
        self,
        mqtt: MqttConfig,
        device: str,
        will: bytes,
        outbox: Outbox,
        *,
        reporter: Reporter,
        timing: DeliveryTiming = DeliveryTiming(),
    ) -> None:
        """will: the payload of /status that the broker sends when the connection breaks."""
        self.connects = self.unanswered = self.beats = 0
        self.online = False
        self._mqtt, self._device, self._outbox, self._timing = mqtt, device, outbox, timing
        self._reporter = reporter
        self._reconnect = Reconnect(mqtt, device, reporter, timing.reconnect)
        self._will = Will(topic_name(device, "status"), will)
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        outbox.wake = self.wake
        self._notices: deque[Notice] = deque()
        self._in_flight: dict[int, Parcel | Notice] = {}  # by message id, in the order they were sent
        self._limit = SizeLimit()
        self._sent_s, self._sent_bytes = 0.0, 0  # of the last message: monotonic clock, size
        self._commands = topic_name(device, "command/+")
        self._new_session = False  # because the old one holds what nobody can read
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, owner: LinkOwner) -> None:
        self._thread = threading.Thread(target=self._run, args=(owner,), name="mqtt", daemon=True)
        self._thread.start()

    def notify(self, leaf: str, payload: bytes) -> None:
        """Sends a message of which only the newest matters, when there is a connection."""
        self._notices.append(self._notice(leaf, payload))
        self.wake()

    def announce(self, topic: str, payload: bytes) -> None:
        """Sends a retained message on a topic that is not the device's own."""
        self._notices.append(Notice(topic, payload, retain=True))
        self.wake()

    def answer(self, topic: str, properties: Properties | None, *payloads: bytes) -> None:
        """Sends the first payload that is not too large for the broker, once: who asked will ask again.

        It is given up when there is no connection, or when too many wait.
        """
        notices = (Notice(topic, payload, retain=False, properties=properties) for payload in payloads)
        notice = next((one for one in notices if self._limit.allows(one.size())), None)
        if notice is None or not _has_room(list(self._notices)):
            self.unanswered += 1
            return
        self._notices.append(notice)
        self.wake()

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # it is being woken already, or has ended
            self._wake_out.send(b"\0")

    def close(self) -> None:
        """Says the last words where there is a connection. Never hangs."""
        self._ending.set()
        self.wake()
        if self._thread is not None:
            self._thread.join(self._timing.last_word_s + self._timing.connect_s)
        self._wake_out.close()
        if self._thread is None or not self._thread.is_alive():
            self._wake_in.close()

    # --- the thread ------------------------------------------------------------------------------------------

    def _run(self, owner: LinkOwner) -> None:
        while not self._ending.is_set():
            try:
                self._live(self._connect(), owner)
            except (BrokerError, ConfigError) as exc:
                self._reconnect.failed(str(exc))
            except Exception as exc:  # a bug must not end the delivery: a new connection is a new start
                if self._reconnect.report(f"{where(self._mqtt)}: the connection is given up ({exc!r})"):
                    log.exception("This is where it happened:")
            for _ in map(self._ending.wait, self._reconnect.pauses()):
                self.beats += 1

    def _connect(self) -> Connection:
        return Connection(
            self._mqtt,
            self._reconnect.client,
            read_password(self._mqtt),
            self._will,
            session_s=SESSION_S,
            new_session=self._new_session,
            connect_s=self._timing.connect_s,
        )

    def _live(self, connection: Connection, owner: LinkOwner) -> None:
        """Serves one connection to its end."""
        self._since, self._new_session, reason = time.monotonic(), False, ""
        try:
            self._greet(connection, owner)
            self._serve(connection, owner)
        except ConnectionLostError as exc:
            reason, self._new_session = str(exc), isinstance(exc, UnreadableError)
            self._take_answers(connection, owner)  # that came before the end
        finally:
            self.online = False
            connection.cut()
            self._judge(reason)
            self._outbox.lost([parcel for parcel in self._in_flight.values() if isinstance(parcel, Parcel)])
            self._in_flight.clear()

    def _judge(self, reason: str) -> None:
        """Concludes from the end of a connection what is wrong: with the broker, or with the one message in flight."""
        now = time.monotonic()
        self._reconnect.judge(now - self._since, reason)
        if reason and TAKEN_OVER not in reason:  # which `judge` has reported
            self._reconnect.report(f"{where(self._mqtt)}: connection lost ({reason})")
        if now - self._since > self._timing.reconnect.stable_s:
            self._limit.forget()
        elif self._reconnect.flapping and reason == CLOSED:
            at_once = len(self._in_flight) == 1 and now - self._sent_s < AT_ONCE_S
            self._limit.cut(self._sent_bytes if at_once else None)

    def _greet(self, connection: Connection, owner: LinkOwner) -> None:
        self.online = True
        self.connects += 1
        self._reconnect.connected(self._outbox.waiting + self._outbox.spool.poses)
        self._window = self._safe_window(connection)
        self._limit.announce(connection.welcome.largest)
        self._progress = time.monotonic()
        self._doubt_ends = time.monotonic() + self._timing.doubt_s
        connection.catch_up(self._commands)
        if connection.welcome.session:
            connection.subscribe(UPTIME, qos=0)
        else:
            self._send_again(float("inf"))
        self._notices.clear()
        self._outbox.retry_refused()
        owner.on_connected()
        self._health_due = 0.0

    def _serve(self, connection: Connection, owner: LinkOwner) -> None:
        closing_until = 0.0  # monotonic clock; 0 before the end
        while not closing_until or (self._has_notices() and time.monotonic() < closing_until):
            if self._ending.is_set() and not closing_until:
                closing_until = time.monotonic() + self._timing.last_word_s
                owner.on_closing()
            self._send(connection)
            connection.step(_TICK_S, self._wake_in)
            self.beats += 1
            self._take_answers(connection, owner)
            self._watch(connection, owner)
            if self._limit.exceeded and time.monotonic() - self._since > self._timing.retry_refused_s:
                break  # a broker says only to a new connection how much it takes by now
        if not self._has_notices():
            connection.goodbye()

    def _safe_window(self, connection: Connection) -> int:
        """Returns the number of messages at a time: one, to see which, while something makes the broker cut us off."""
        return 1 if self._reconnect.flapping else min(WINDOW, connection.welcome.receive_maximum)

    def _has_notices(self) -> bool:
        """Returns True when a notice is not acknowledged yet."""
        return bool(self._notices) or any(isinstance(parcel, Notice) for parcel in self._in_flight.values())

    def _send(self, connection: Connection) -> None:
        while len(self._in_flight) < self._window:
            parcel = self._notices.popleft() if self._notices else self._next()
            if parcel is None:
                return
            notice = parcel if isinstance(parcel, Notice) else Notice(self._topic(parcel), parcel.payload, retain=False)
            size = notice.size()
            if not self._limit.allows(size):
                self._refuse(parcel, TOO_LARGE)
                continue
            number = -1  # of a message that did not get out
            self._sent_s, self._sent_bytes = time.monotonic(), size
            try:
                number = connection.publish(
                    notice.topic, notice.payload, retain=notice.retain, properties=notice.properties
                )
            finally:
                self._in_flight[number] = parcel

    def _next(self) -> Parcel | None:
        spooled = sum(isinstance(parcel, Parcel) and parcel.batch is not None for parcel in self._in_flight.values())
        return self._outbox.take(spooled=spooled < SPOOL_WINDOW and not self._ending.is_set())

    def _topic(self, parcel: Parcel) -> str:
        """Returns the topic of the device that made the poses, which may have had another name then."""
        return topic_name((parcel.batch and parcel.batch.device) or self._device, parcel.leaf)

    def _notice(self, leaf: str, payload: bytes) -> Notice:
        return Notice(topic_name(self._device, leaf), payload, retain=TOPICS[leaf].retained)

    def _take_answers(self, connection: Connection, owner: LinkOwner) -> None:
        taken = []
        for number, reason in connection.acks:
            if number == next(iter(self._in_flight), None):  # later answers do not make up for one that was lost
                self._progress = time.monotonic()
            parcel = self._in_flight.pop(number, None)
            if parcel is not None and self._is_taken(parcel, reason) and isinstance(parcel, Parcel):
                taken.append(parcel)
        connection.acks.clear()
        if taken:
            self._outbox.acknowledge(taken)
        if (granted := connection.granted.get(self._commands)) is not None:
            if granted.is_failure:
                self._reconnect.refused("command/+", reason_word(granted))
            else:
                self._reconnect.healed("command/+")
        for message, late in connection.inbox:
            if message.topic == UPTIME:
                self._compare_uptime(connection, message.payload)
            else:
                owner.on_message(message, late=late)
        connection.inbox.clear()

    def _is_taken(self, parcel: Parcel | Notice, reason: ReasonCode) -> bool:
        if reason.is_failure:
            self._refuse(parcel, reason_word(reason))
            return False
        if self._window == 1:
            self._limit.took(self._sent_bytes)
        if self._reconnect.healed(self._about(parcel)):
            self._outbox.retry_refused()
        if isinstance(parcel, Parcel):
            parcel.unheard = reason.value == _NO_SUBSCRIBER
        return True

    def _refuse(self, parcel: Parcel | Notice, reason: str) -> None:
        self._reconnect.refused(self._about(parcel), reason)
        if isinstance(parcel, Parcel):
            self._outbox.refuse(parcel, reason)
        elif not parcel.retain:
            self.unanswered += 1

    def _about(self, parcel: Parcel | Notice) -> str:
        """Returns what an alert about the message is about: its topic, without the device; all replies are `reply`."""
        if isinstance(parcel, Parcel):
            topic = self._topic(parcel)
            return parcel.leaf if topic == topic_name(self._device, parcel.leaf) else topic
        return parcel.topic.removeprefix(topic_name(self._device, "")) if parcel.retain else "reply"

    def _watch(self, connection: Connection, owner: LinkOwner) -> None:
        now = time.monotonic()
        if not self._in_flight:
            self._progress = now
        if now - self._progress > self._timing.ack_timeout_s:
            raise ConnectionLostError(f"no acknowledgement for {self._timing.ack_timeout_s:g} s")
        if now > self._doubt_ends:
            self._send_again(float("inf"))
        if now >= self._health_due:
            self._health_due = now + self._timing.health_s
            if self._doubt_ends == float("inf"):
                self._outbox.forget_old()
            self._reconnect.steady(now - self._since)
            self._window = self._safe_window(connection)
            if "command/+" in self._reporter.alerts:
                connection.catch_up(self._commands)
            owner.on_heartbeat()

    def _compare_uptime(self, connection: Connection, payload: bytes | bytearray) -> None:
        """Concludes whether the broker was started since it acknowledged our messages.

        payload: such as b"59 seconds".
        """
        match = re.match(rb"(\d+)", payload)
        if match and self._doubt_ends < float("inf"):
            self._send_again(boot_us() / 1e6 - int(match[1]))
        connection.unsubscribe(UPTIME)

    def _send_again(self, before_s: float) -> None:
        """Once for each connection: what the broker acknowledged before this (boot clock) it has forgotten."""
        self._doubt_ends = float("inf")
        if again := self._outbox.reconnected(before_s):
            log.info(
                "%s: it may have lost %d messages that it acknowledged; sending them again", where(self._mqtt), again
            )


def _has_room(waiting: Sequence[Notice]) -> bool:
    """Returns True when one more reply may wait."""
    return len(waiting) < REPLIES and sum(len(one.payload) for one in waiting) < REPLIES_BYTES
