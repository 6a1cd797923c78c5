"""Poses to an MQTT broker, each kept until the broker has acknowledged it (QoS 1: at least once).

`deliver` encodes a pose into the outbox. One thread of our own sends from it, a few unacknowledged at a time,
and lets go of a pose only when its acknowledgement comes. paho calls back with its locks held, so callbacks only
report to that thread's queue; all other state belongs to that thread.

MQTT 3.1.1 has no word for a refused message: there a broker that discards by its access list seems to accept.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import msgspec
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from edgepose.core.config import Mqtt
from edgepose.core.errors import BrokerError
from edgepose.core.messages import (
    TOPICS,
    HealthMessage,
    InfoMessage,
    Message,
    PoseMessage,
    StatusMessage,
    encode,
    topic_name,
)
from edgepose.delivery.broker import client_id, configured_client, refused, unreachable, where

log = logging.getLogger(__name__)

OUTBOX = 20_000  # poses kept in memory while the broker is away: 11 minutes at 30 a second, about 15 MB
WINDOW = 20  # unacknowledged at a time; paho resends all it holds at once, and brokers allow at least this many
HEALTH_S = 30.0
ACK_TIMEOUT_S = 30.0  # an answering broker that acknowledges nothing: only a new connection makes paho send again
DRAIN_S = 5.0
LAST_WORD_S = 2.0
_RETRY_S = (1, 30)  # first and longest pause between attempts to connect
_TICK_S = 0.5


class MqttDelivery:
    """Delivers one device's poses, and keeps its retained /status, /info and /health up to date.

    status: what to say when connected; the last will and the clean stop are made from it. info: republished with
    the frames' size as soon as a pose tells it. stop: when set, a full outbox holds nobody up any more.
    Raises ConfigError when the password cannot be read; connects only in `start`.
    """

    def __init__(self, mqtt: Mqtt, status: StatusMessage, info: InfoMessage, stop: threading.Event) -> None:
        self.delivered = 0
        self.refused: Counter[str] = Counter()
        self._accepted = 0
        self._mqtt, self._status, self._info, self._stop = mqtt, status, info, stop
        self._outbox: deque[bytes] = deque()
        self._room = threading.Condition()
        self._notices: deque[tuple[str, bytes]] = deque()  # /status, /info, /health, waiting to be sent
        self._in_flight: dict[int, str] = {}  # topic leaf by paho's message id
        self._sent_again: set[int] = set()  # of those, what paho repeats after a reconnect
        self._window = WINDOW
        self._online = False
        self._told: str | None = None  # the kind of trouble that the log has already told
        self._health_due = self._progress = time.monotonic()
        self._said_stopped = threading.Event()
        self._failure: Exception | None = None
        self._events: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="mqtt", daemon=True)
        self._client = configured_client(mqtt, client_id(info.device))
        self._client.suppress_exceptions = True  # otherwise one in a callback ends the network thread, unnoticed
        self._client.max_inflight_messages_set(0)  # the window is ours: paho ignores its own when it reconnects
        self._client.reconnect_delay_set(*_RETRY_S)
        will = msgspec.structs.replace(status, state="offline")
        self._client.will_set(topic_name(will.device, "status"), encode(will), qos=1, retain=True)
        self._report_callbacks()

    @property
    def waiting(self) -> int:
        """Poses taken charge of and not yet acknowledged."""
        return self._accepted - self.delivered - sum(self.refused.values())

    def start(self, health: Callable[[], HealthMessage]) -> None:
        """Begins to connect, and keeps trying for ever. health: called by the sending thread."""
        self._health = health
        self._client.connect_async(self._mqtt.host, self._mqtt.port, self._mqtt.keepalive_s)
        self._thread.start()
        self._client.loop_start()

    def deliver(self, message: PoseMessage) -> None:
        """Takes charge of one pose, waiting while the outbox is full. At a stop the bound gives way: what the
        pipeline still holds is little, and waiting for a broker could take for ever."""
        payload = encode(message)
        with self._room:
            while len(self._outbox) >= OUTBOX and not self._stop.is_set() and self._failure is None:
                self._room.wait(_TICK_S)
            self._check()
            self._outbox.append(payload)
            self._accepted += 1
        self._report(self._note_size, message.size_wh)

    def wait_delivered(self) -> None:
        """Until every pose is acknowledged, however long the broker is away, or until `stop`."""
        while self.waiting and self._failure is None and not self._stop.wait(0.05):
            pass
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise BrokerError(f"{where(self._mqtt)}: the sending thread failed: {self._failure!r}")

    def close(self) -> None:
        """Waits at most `DRAIN_S` for acknowledgements, says `stopped`, disconnects. To be called after `start`;
        never hangs, never raises."""
        _wait(lambda: self.waiting == 0 or self._failure is not None, DRAIN_S)
        self._report(self._say_stopped)
        _wait(lambda: self._said_stopped.is_set() or not self._online, LAST_WORD_S)
        if not self._said_stopped.is_set():
            self._cut()  # without a goodbye, so that the broker sends the last will
        self._events.put(None)
        self._thread.join(LAST_WORD_S)
        self._client.disconnect()
        # loop_stop waits until paho holds no message, which without a broker is never: nobody waits for it.
        ending = threading.Thread(target=self._client.loop_stop, daemon=True)
        ending.start()
        ending.join(LAST_WORD_S)
        if self.waiting:
            log.warning("%s: %d poses were not delivered", where(self._mqtt), self.waiting)

    # Called by paho's network thread.

    def _report_callbacks(self) -> None:
        client = self._client
        client.on_connect = lambda _c, _d, _flags, reason, properties: self._report(
            self._on_connect, reason, getattr(properties, "ReceiveMaximum", WINDOW)
        )
        client.on_disconnect = lambda _c, _d, _flags, reason, _p: self._report(self._on_disconnect, reason)
        # paho hands the error over only as the exception it is handling.
        client.on_connect_fail = lambda _c, _d: self._report(self._away, "absent", unreachable(sys.exc_info()[1]))
        client.on_publish = lambda _c, _d, mid, reason, _p: self._report(self._on_ack, mid, reason)

    def _report(self, handler: Callable[..., None], *arguments: Any) -> None:
        self._events.put((handler, arguments))

    # All below runs in the sending thread.

    def _serve(self) -> None:
        try:
            while self._handle_events():
                self._watch()
                self._send()
        except Exception as exc:  # told to whoever delivers next
            self._failure = exc
            log.exception("%s: sending failed", where(self._mqtt))

    def _handle_events(self) -> bool:
        """Waits a moment for an event, then handles all there are; False when it is time to end."""
        timeout: float | None = _TICK_S
        while True:
            try:
                event = self._events.get(block=timeout is not None, timeout=timeout)
            except queue.Empty:
                return True
            if event is None:
                return False
            handler, arguments = event
            handler(*arguments)
            timeout = None

    def _on_connect(self, reason: ReasonCode, receive_maximum: int) -> None:
        if reason.is_failure:
            self._away("refused", refused(reason))
            return
        log.info("%s: connected%s", where(self._mqtt), f", {self.waiting} poses waiting" if self.waiting else "")
        self._told = None
        self._online = True
        self._window = min(WINDOW, receive_maximum)
        self._sent_again = set(self._in_flight)
        self._progress = self._health_due = time.monotonic()
        self._notices.clear()
        self._notify("status", self._status)
        self._notify("info", self._info)

    def _on_disconnect(self, reason: ReasonCode) -> None:
        if self._online:  # after a refusal it was told already
            self._online = False
            self._away("lost", f"connection lost ({reason})")

    def _away(self, kind: str, reason: str) -> None:
        """Logs trouble once, not at every attempt; a refusal is news even to one who knows of a lost connection."""
        if self._told is None or (kind == "refused" and self._told != kind):
            log.warning("%s: %s; keeping poses and trying again", where(self._mqtt), reason)
            self._told = kind

    def _on_ack(self, mid: int, reason: ReasonCode) -> None:
        leaf = self._in_flight.pop(mid, None)
        self._sent_again.discard(mid)
        self._progress = time.monotonic()
        if leaf is None:
            return
        if reason.is_failure:
            self._count_refusal(leaf, str(reason))
        elif leaf == "pose":
            self.delivered += 1
        if self._status.state == "stopped" and not self._notices and "status" not in self._in_flight.values():
            self._said_stopped.set()

    def _count_refusal(self, leaf: str, reason: str) -> None:
        """Sending again would be refused again, so the message is counted, not repeated."""
        key = "refused_" + reason.lower().replace(" ", "_")
        if leaf != "pose" or not self.refused[key]:
            topic = topic_name(self._info.device, leaf)
            log.warning("%s: refuses %s: %s; correct its access list", where(self._mqtt), topic, reason)
        if leaf == "pose":
            self.refused[key] += 1

    def _note_size(self, size_wh: tuple[int, int]) -> None:
        if self._info.size_wh != size_wh:
            self._info = msgspec.structs.replace(self._info, size_wh=size_wh)
            if self._online:
                self._notify("info", self._info)

    def _say_stopped(self) -> None:
        self._told = self._told or "stopping"
        self._status = msgspec.structs.replace(self._status, state="stopped")
        self._notices.clear()
        self._notify("health", self._health())  # the final counts stay retained
        self._notify("status", self._status)

    def _notify(self, leaf: str, message: Message) -> None:
        self._notices.append((leaf, encode(message)))

    def _watch(self) -> None:
        now = time.monotonic()
        if not self._in_flight:
            self._progress = now
        if not self._online:
            return
        if now - self._progress > ACK_TIMEOUT_S:
            log.warning("%s: no acknowledgement for %.0f s; connecting anew", where(self._mqtt), ACK_TIMEOUT_S)
            self._progress = now
            self._cut()
        if now >= self._health_due:
            self._health_due = now + HEALTH_S
            self._notify("health", self._health())

    def _send(self) -> None:
        # What paho sends again goes first, so that poses arrive in order.
        while self._online and not self._sent_again and len(self._in_flight) < self._window:
            if self._notices:
                if not self._publish(*self._notices[0]):
                    return
                self._notices.popleft()
            elif self._outbox:
                if not self._publish("pose", self._outbox[0]):
                    return
                self._outbox.popleft()
                with self._room:
                    self._room.notify()
            else:
                return

    def _publish(self, leaf: str, payload: bytes) -> bool:
        """False when paho has no free message id. Without a connection paho keeps the message and sends it later."""
        topic = topic_name(self._info.device, leaf)
        info = self._client.publish(topic, payload, qos=1, retain=TOPICS[leaf].retained)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            return False
        self._in_flight[info.mid] = leaf
        return True

    def _cut(self) -> None:
        """Ends the connection as a broken network would; paho then connects again."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):  # it was gone already
                sock.shutdown(socket.SHUT_RDWR)


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
