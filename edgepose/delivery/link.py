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

from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgepose.config.schema import MqttConfig
from edgepose.delivery.outbox import Outbox, Parcel
from edgepose.delivery.refused_messages import RETRY_REFUSED_S
from edgepose.delivery.voice import Notice, Voice, has_room
from edgepose.errors import BrokerError, ConfigError
from edgepose.mqtt.broker import CLOSED, TAKEN_OVER, read_password, where
from edgepose.mqtt.connection import CONNECT_S, Connection, ConnectionLostError, UnreadableError, Will
from edgepose.mqtt.limits import AT_ONCE_S, TOO_LARGE, Limit, reason_word
from edgepose.mqtt.reconnect import STABLE_S, Reconnect
from edgepose.protocol.topics import TOPICS, topic_name
from edgepose.system.clock import boot_us
from edgepose.system.reporter import Reporter

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


class Link:
    """connects: how often the broker has accepted us. online: now. unanswered: given up. beats: grows at work."""

    def __init__(self, mqtt: MqttConfig, device: str, will: bytes, outbox: Outbox, reporter: Reporter) -> None:
        self.connects = self.unanswered = self.beats = 0
        self.online = False
        self._mqtt, self._device, self._outbox, self._reporter = mqtt, device, outbox, reporter
        self._reconnect = Reconnect(mqtt, device, reporter)
        self._will = Will(topic_name(device, "status"), will)
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        outbox.wake = self.wake
        self._notices: deque[Notice] = deque()
        self._in_flight: dict[int, Parcel | Notice] = {}  # by message id, in the order they were sent
        self._limit = Limit()
        self._sent_s, self._sent_bytes = 0.0, 0  # of the last message: monotonic clock, size
        self._commands = topic_name(device, "command/+")
        self._anew = False  # the session holds what nobody can read
        self._backlog_due = 0.0  # monotonic clock
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, voice: Voice) -> None:
        self._thread = threading.Thread(target=self._run, args=(voice,), name="mqtt", daemon=True)
        self._thread.start()

    def notify(self, leaf: str, payload: bytes) -> None:
        """Sends a message that only the newest of matters, when there is a connection."""
        self._notices.append(self._notice(leaf, payload))
        self.wake()

    def announce(self, topic: str, payload: bytes) -> None:
        """Retained, on a topic that is not the device's own."""
        self._notices.append(Notice(topic, payload, retain=True))
        self.wake()

    def answer(self, topic: str, properties: Properties | None, *payloads: bytes) -> None:
        """The first that is not too large for the broker, once, while there is a connection: who asked will ask again.
        Given up when too many wait."""
        notices = (Notice(topic, payload, retain=False, properties=properties) for payload in payloads)
        notice = next((one for one in notices if self._limit.allows(one.size())), None)
        if notice is None or not has_room(list(self._notices)):
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
            self._thread.join(LAST_WORD_S + CONNECT_S)
        self._wake_out.close()
        if self._thread is None or not self._thread.is_alive():
            self._wake_in.close()

    # --- the thread ------------------------------------------------------------------------------------------

    def _run(self, voice: Voice) -> None:
        while not self._ending.is_set():
            try:
                password = read_password(self._mqtt)
                connection = Connection(
                    self._mqtt, self._reconnect.client, password, self._will, session_s=SESSION_S, anew=self._anew
                )
                self._live(connection, voice)
            except (BrokerError, ConfigError) as exc:
                self._reconnect.failed(str(exc))
            except Exception as exc:  # a bug must not end delivery: a new connection is a new start
                if self._reconnect.report(f"{where(self._mqtt)}: the connection is given up ({exc!r})"):
                    log.exception("This is where it happened:")
            for _ in map(self._ending.wait, self._reconnect.pauses()):
                self.beats += 1

    def _live(self, connection: Connection, voice: Voice) -> None:
        """Serves one connection to its end."""
        self._since, self._anew, reason = time.monotonic(), False, ""
        try:
            self._greet(connection, voice)
            self._serve(connection, voice)
        except ConnectionLostError as exc:
            reason, self._anew = str(exc), isinstance(exc, UnreadableError)
            self._take_answers(connection, voice)  # that came before the end
        finally:
            self.online = False
            connection.cut()
            self._judge(reason)
            self._outbox.lost([parcel for parcel in self._in_flight.values() if isinstance(parcel, Parcel)])
            self._in_flight.clear()

    def _judge(self, reason: str) -> None:
        """What the end of a connection says of the broker, and of the one message that was on its way."""
        now = time.monotonic()
        self._reconnect.judge(now - self._since, reason)
        if reason and TAKEN_OVER not in reason:  # which it has judged
            self._reconnect.report(f"{where(self._mqtt)}: connection lost ({reason})")
        if now - self._since > STABLE_S:
            self._limit.forget()
        elif self._reconnect.flapping and reason == CLOSED:
            at_once = len(self._in_flight) == 1 and now - self._sent_s < AT_ONCE_S
            self._limit.cut(self._sent_bytes if at_once else None)

    def _greet(self, connection: Connection, voice: Voice) -> None:
        self.online = True
        self.connects += 1
        self._reconnect.connected(self._outbox.waiting + self._outbox.backlog.poses)
        self._window = self._safe_window(connection)
        self._limit.announce(connection.welcome.largest)
        self._progress = time.monotonic()
        self._doubt_ends = time.monotonic() + DOUBT_S
        connection.catch_up(self._commands)
        if connection.welcome.session:
            connection.subscribe(UPTIME, qos=0)
        else:
            self._send_again(float("inf"))
        self._notices.clear()
        self._outbox.retry_refused()
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
            self.beats += 1
            self._take_answers(connection, voice)
            self._watch(connection, voice)
            if self._limit.exceeded and time.monotonic() - self._since > RETRY_REFUSED_S:
                break  # a broker says only to a new connection how much it takes by now
        if not self._unsaid():
            connection.goodbye()

    def _safe_window(self, connection: Connection) -> int:
        """Messages at a time; one, to see which, while something makes the broker cut our connections."""
        return 1 if self._reconnect.flapping else min(WINDOW, connection.welcome.receive_maximum)

    def _unsaid(self) -> bool:
        """Whether a notice is not acknowledged yet."""
        return bool(self._notices) or any(isinstance(parcel, Notice) for parcel in self._in_flight.values())

    def _send(self, connection: Connection) -> None:
        while len(self._in_flight) < self._window:
            parcel = self._notices.popleft() if self._notices else self._next()
            if parcel is None:
                return
            notice = parcel if isinstance(parcel, Notice) else self._notice(parcel.leaf, parcel.payload)
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
            if number == next(iter(self._in_flight), None):  # an answer that was lost is not made up for by later ones
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
                self._compare(connection, message.payload)
            else:
                voice.on_message(message, late=late)
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
            parcel.unheard = reason.value == _NO_READER
        return True

    def _refuse(self, parcel: Parcel | Notice, reason: str) -> None:
        self._reconnect.refused(self._about(parcel), reason)
        if isinstance(parcel, Parcel):
            self._outbox.refuse(parcel, reason)
        elif not parcel.retain:
            self.unanswered += 1

    def _about(self, parcel: Parcel | Notice) -> str:
        """The topic, without the device where it is one of its own; all replies are one, wherever they go."""
        if isinstance(parcel, Parcel):
            return parcel.leaf
        return parcel.topic.removeprefix(topic_name(self._device, "")) if parcel.retain else "reply"

    def _watch(self, connection: Connection, voice: Voice) -> None:
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
            self._reconnect.steady(now - self._since)
            self._window = self._safe_window(connection)
            if "command/+" in self._reporter.alerts:
                connection.catch_up(self._commands)
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
        if again := self._outbox.reconnected(before_s):
            log.info("%s: it may have lost %d poses that it acknowledged; sending them again", where(self._mqtt), again)
