"""Poses to an MQTT broker, each kept until the broker has acknowledged it (QoS 1: at least once).

Who keeps what: `outbox` what is fresh, `backlog` what waits longer, `link` the connection. Here is what the device says
of itself.

MQTT 3.1.1 has no word for a refused message: there a broker that discards by its access list seems to accept.
"""

from __future__ import annotations

import functools
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import paho.mqtt.client as paho

from edgepose.config.schema import MqttConfig
from edgepose.delivery.command_inbox import CommandReceiver, ReplyAddress, command_name, refusal, reply_address
from edgepose.delivery.link import Link
from edgepose.delivery.outbox import Outbox
from edgepose.delivery.spool import SpoolRules
from edgepose.delivery.spool_lock import SpoolLock
from edgepose.mqtt.broker import check_settings, where
from edgepose.protocol.codec import encode
from edgepose.protocol.commands import ReplyMessage
from edgepose.protocol.home_assistant import discovery, discovery_topic
from edgepose.protocol.messages import EventMessage, HealthMessage, InfoMessage, PoseMessage, StatusMessage
from edgepose.system.clock import boot_us
from edgepose.system.reporter import Event, Reporter

log = logging.getLogger(__name__)

DRAIN_S = 5.0
_EVENT_WAIT_S = 1.0


class MqttDelivery:
    """Delivers one device's poses, and keeps its retained /status, /info and /health up to date.

    status: what to say when connected; the last will and the clean stop are made from it. info: republished with
    the frames' size as soon as a pose tells it. stop: when set, a full spool holds nobody up any more.
    Raises ConfigError for settings that no broker could be reached with; connects only in `start`.
    """

    def __init__(  # noqa: PLR0913  all that a device is
        self,
        mqtt: MqttConfig,
        place: SpoolLock,
        status: StatusMessage,
        info: InfoMessage,
        stop: threading.Event,
        *,
        reporter: Reporter,
    ) -> None:
        check_settings(mqtt)
        self.reporter = reporter
        self._place, self._status, self._info, self._stop = place, status, info, stop
        self._where, self._home_assistant = where(mqtt), mqtt.home_assistant
        rules = SpoolRules(mqtt.frames_per_message, place.wait, place.drop_newest)
        self._outbox = Outbox(place.ram, place.disk, rules, reporter)
        self._link = Link(mqtt, info.device, self._encoded_status("offline"), self._outbox, reporter)
        self._events = itertools.count(boot_us())
        self._events_accepted = self._first_seq = 0
        self._drops: Counter[str] = Counter()  # that an event has told
        self._event_thread = threading.Thread(target=self._send_events, name="events", daemon=True)
        self._info_lock = threading.Lock()  # the pipeline changes it, and commands do
        self._closing = threading.Event()
        self._commands: CommandReceiver | None = None

    @property
    def delivered(self) -> int:
        """Messages acknowledged, repeats and what earlier runs left included."""
        return self._outbox.delivered

    @property
    def waiting(self) -> int:
        """Messages in memory, neither acknowledged nor given up."""
        return self._outbox.waiting

    @property
    def spooled(self) -> int:
        """The same, on the disk."""
        return self._outbox.backlog.poses

    @property
    def spool_mb(self) -> float:
        return self._outbox.backlog.megabytes

    @property
    def full(self) -> bool:
        """A pose of a source that can wait is waiting for room."""
        return self._outbox.full

    @property
    def beats(self) -> int:
        """Grows while the link is at work, whether there is a broker or not."""
        return self._link.beats

    @property
    def connects(self) -> int:
        return self._link.connects

    @property
    def given_up(self) -> dict[str, int]:
        """Messages, by reason; those that the broker refuses now lie on the disk, and may be taken later. `events`
        are those that found no room before they could be sent."""
        refused = {f"refused_{name}": n for name, n in self._outbox.backlog.aside.counts().items()}
        events = {"events": self.reporter.dropped} if self.reporter.dropped else {}
        return {**self._outbox.dropped, **refused, **events}

    @property
    def rejected(self) -> dict[str, int]:
        """Commands that were not carried out, by reason, and replies that nobody got."""
        unanswered = {"unanswered": self._link.unanswered} if self._link.unanswered else {}
        return {**(self._commands.rejected if self._commands else {}), **unanswered}

    def start(
        self, health: Callable[[], HealthMessage], commands: CommandReceiver | None = None, first_seq: int = 0
    ) -> None:
        """Begins to connect, and keeps trying for ever. health: called by the link. commands: carries them
        out; None for a device that has none. first_seq: of the first pose that will come."""
        self._health, self._commands, self._first_seq = health, commands, first_seq
        self.reporter.next_seq = max(self.reporter.next_seq, first_seq)
        self._event_thread.start()
        if commands is not None:
            commands.start()
        self._outbox.backlog.start(self._outbox)
        self._link.start(self)

    def deliver(self, message: PoseMessage) -> None:
        """Takes charge of one pose. At a stop the spool's bound gives way: what the pipeline still holds is little."""
        self._outbox.accept("pose", encode(message), self._stop)
        self.reporter.next_seq = message.seq + 1
        if self._info.size_wh != message.size_wh:
            self.change_info(size_wh=message.size_wh)

    def change_info(self, **changes: Any) -> None:
        """Publishes the info anew, with these fields."""
        with self._info_lock:
            self._info = msgspec.structs.replace(self._info, **changes)
            self._link.notify("info", encode(self._info))

    def _send_events(self) -> None:
        """Takes charge of each event as safely as of a pose; only this thread waits where there is no room."""
        while True:
            event = self.reporter.take(_EVENT_WAIT_S)
            if event is not None:
                self._outbox.accept("event", encode(self._event_message(event)), self._stop)
                self._events_accepted += 1
            elif self._closing.is_set():
                return

    def _event_message(self, event: Event) -> EventMessage:
        return EventMessage(
            device=self._info.device,
            boot=self._info.boot,
            event=next(self._events),
            seq=max(event.seq, self._first_seq),  # also of an event before the start
            t_us=event.t_us,
            synced=event.synced,
            replay=False,
            kind=event.kind,
            text=event.text,
            count=event.count,
            tags=self._info.tags,
        )

    def wait_delivered(self, on_tick: Callable[[], None] = lambda: None) -> None:
        """Until everything is acknowledged, events that nobody has taken yet too, however long the broker is away, or
        until `stop`. on_tick: called often."""
        while not (self._events_accepted == self.reporter.kept and self._outbox.empty()) and not self._stop.wait(0.05):
            on_tick()

    def close(self) -> None:
        """Waits at most `DRAIN_S` for acknowledgements, says `stopped`, disconnects, and leaves the rest on the disk.
        Never hangs, never raises."""
        if self._event_thread.ident is None:  # it was not started
            self._link.close()
            self._place.close()
            return
        deadline = time.monotonic() + DRAIN_S
        if self._commands is not None:
            self._commands.close(DRAIN_S)
        self._closing.set()
        self.reporter.close()
        self._event_thread.join(DRAIN_S)
        while self._link.online and self._outbox.waiting and time.monotonic() < deadline:
            time.sleep(0.02)
        self._link.close()
        self._outbox.backlog.close(DRAIN_S)
        if left := self._outbox.waiting + self._outbox.backlog.poses:
            messages = "1 message is" if left == 1 else f"{left} messages are"
            log.warning("%s: %s not delivered yet; the next start sends what is left", self._where, messages)
        self._place.close()

    # --- called by the link ----------------------------------------------------------------------------------

    def on_connected(self) -> None:
        self._link.notify("status", self._encoded_status("online"))
        self._link.notify("info", encode(self._info))
        if self._home_assistant:  # retained, so there is no need to wait for Home Assistant's own birth message
            self._link.announce(discovery_topic(self._info.device), msgspec.json.encode(discovery(self._info)))

    def on_heartbeat(self) -> None:
        if self.reporter.alerts.keys() & {"status", "info", discovery_topic(self._info.device)}:
            self.on_connected()  # what was refused may be taken by now, and nothing else says it again
        dropped = Counter(self._outbox.dropped)
        for reason, count in (dropped - self._drops).items():
            self.reporter.event("dropped", f"{count} poses were given up: {reason}", count)
        self._drops = dropped
        self._link.notify("health", encode(self._health()))

    def last_words(self) -> None:
        self._link.notify("health", encode(self._health()))  # the final counts stay retained
        self._link.notify("status", self._encoded_status("stopped"))

    def on_message(self, message: paho.MQTTMessage, *, late: bool) -> None:
        if self._commands is not None:
            answer = functools.partial(self._reply, reply_address(message, self._info.device))
            why_not = refusal(message, late=late)
            self._commands.submit(command_name(message), bytes(message.payload), answer, why_not)

    def _reply(self, address: ReplyAddress, reply: ReplyMessage) -> None:
        payload = encode(reply)
        error = f"the reply has {len(payload)} bytes, more than the broker takes; raise its limit"
        short = msgspec.structs.replace(reply, ok=False, error=error, result={})
        self._link.answer(address.topic, address.properties, payload, encode(short))

    def _encoded_status(self, state: str) -> bytes:
        return encode(msgspec.structs.replace(self._status, state=state))
