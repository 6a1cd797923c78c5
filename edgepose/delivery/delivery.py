"""Delivers poses to an MQTT broker; each is kept until the broker has acknowledged it (QoS 1: at least once).

`outbox` keeps what is fresh, `spool` what waits longer, and `link` has the connection. This file has what the device
reports about itself.

MQTT 3.1.1 has no word for a refused message: a broker that discards by its access list seems to accept it.
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
from edgepose.delivery.timing import DeliveryTiming
from edgepose.mqtt.broker import check_settings, where
from edgepose.protocol.codec import encode
from edgepose.protocol.commands import ReplyMessage
from edgepose.protocol.home_assistant import discovery, discovery_topic
from edgepose.protocol.messages import EventMessage, HealthMessage, InfoMessage, PoseMessage, StatusMessage
from edgepose.system.clock import boot_us
from edgepose.system.reporter import Event, Reporter
from edgepose.system.wording import count

log = logging.getLogger(__name__)

_EVENT_WAIT_S = 1.0


class MqttDelivery:
    """Delivers one device's poses, and keeps its retained /status, /info and /health up to date.

    Attributes:
        reporter: its events are sent, and what is wrong here is among its alerts.
    """

    def __init__(  # noqa: PLR0913  everything that a device is
        self,
        mqtt: MqttConfig,
        spool: SpoolLock,
        status: StatusMessage,
        info: InfoMessage,
        stop: threading.Event,
        *,
        reporter: Reporter,
        timing: DeliveryTiming = DeliveryTiming(),
    ) -> None:
        """Connects only in `start`. Raises ConfigError for settings that no broker could be reached with.

        Args:
            mqtt: the broker.
            spool: where messages wait; closed with the delivery.
            status: what to say when connected; the last will and the clean stop are made from it.
            info: published again with the frames' size as soon as a pose has one.
            stop: when it is set, a full spool holds nobody up any more.
            reporter: takes alerts, and gives events.
            timing: how long to wait for what.
        """
        check_settings(mqtt)
        self.reporter = reporter
        self._spool_lock, self._status, self._info, self._stop, self._timing = spool, status, info, stop, timing
        self._where, self._home_assistant = where(mqtt), mqtt.home_assistant
        rules = SpoolRules(mqtt.frames_per_message, spool.wait, spool.drop_newest)
        self._outbox = Outbox(spool.memory, spool.disk, rules, reporter, timing)
        will = self._encoded_status("offline")
        self._link = Link(mqtt, info.device, will, self._outbox, reporter=reporter, timing=timing)
        self._events = itertools.count(boot_us())
        self._events_accepted = self._first_seq = 0
        self._reported_drops: Counter[str] = Counter()
        self._event_thread = threading.Thread(target=self._send_events, name="events", daemon=True)
        self._info_lock = threading.Lock()  # the pipeline changes it, and commands do
        self._closing = threading.Event()
        self._commands: CommandReceiver | None = None

    @property
    def delivered(self) -> int:
        """Number of messages acknowledged, repeats and what earlier runs have left included."""
        return self._outbox.delivered

    @property
    def waiting(self) -> int:
        """Number of messages in memory that are neither acknowledged nor given up."""
        return self._outbox.waiting

    @property
    def spooled(self) -> int:
        """Number of messages on the disk that are neither acknowledged nor given up."""
        return self._outbox.spool.poses

    @property
    def spool_mb(self) -> float:
        return self._outbox.spool.megabytes

    @property
    def full(self) -> bool:
        """True while a pose of a camera that can wait is waiting for room."""
        return self._outbox.full

    @property
    def beats(self) -> int:
        """A number that grows while the link is at work, whether there is a broker or not."""
        return self._link.beats

    @property
    def connects(self) -> int:
        """How often the broker has accepted us."""
        return self._link.connects

    @property
    def given_up(self) -> dict[str, int]:
        """Number of messages by reason. Those that the broker refuses are on the disk, and may be taken later; those of
        `newer_version` are on the disk, and only that version can send them; `events` found no room before they could
        be sent."""
        refused = {f"refused_{name}": n for name, n in self._outbox.spool.refused.counts().items()}
        events = {"events": self.reporter.dropped} if self.reporter.dropped else {}
        newer = {"newer_version": n} if (n := self._outbox.spool.set_aside) else {}
        return {**self._outbox.dropped, **refused, **newer, **events}

    @property
    def rejected(self) -> dict[str, int]:
        """Number of commands that were not carried out, by reason, and of replies that nobody got."""
        unanswered = {"unanswered": self._link.unanswered} if self._link.unanswered else {}
        return {**(self._commands.rejected if self._commands else {}), **unanswered}

    def start(
        self, health: Callable[[], HealthMessage], commands: CommandReceiver | None = None, first_seq: int = 0
    ) -> None:
        """Begins to connect, and keeps trying for ever.

        Args:
            health: gives the message of /health; called by the link's thread.
            commands: carries out the commands; None for a device that has none.
            first_seq: number of the first pose that will come.
        """
        self._health, self._commands, self._first_seq = health, commands, first_seq
        self.reporter.next_seq = max(self.reporter.next_seq, first_seq)
        self._event_thread.start()
        if commands is not None:
            commands.start()
        self._outbox.spool.start(self._outbox)
        self._link.start(self)

    def deliver(self, message: PoseMessage) -> None:
        """Takes charge of one pose.

        May wait while the spool is full, but not at a stop: then the pipeline has only a few poses left.
        """
        self._outbox.accept("pose", encode(message), self._stop)
        self.reporter.next_seq = message.seq + 1
        if self._info.size_wh != message.size_wh:
            self.change_info(size_wh=message.size_wh)

    def change_info(self, **changes: Any) -> None:
        """Publishes the info with these fields changed."""
        with self._info_lock:
            self._info = msgspec.structs.replace(self._info, **changes)
            self._link.notify("info", encode(self._info))

    def _send_events(self) -> None:
        """Takes charge of each event as safely as of a pose. Only this thread waits where there is no room."""
        while True:
            closing = self._closing.is_set()  # asked first: an event that comes while we wait is taken in another turn
            event = self.reporter.take(_EVENT_WAIT_S)
            if event is not None:
                self._accept_event(event)
            elif closing:
                return

    def _accept_event(self, event: Event) -> None:
        try:
            self._outbox.accept("event", encode(self._event_message(event)), self._stop)
        except Exception:  # a bug in one event must not end all later ones
            log.exception("an event of kind %s is lost", event.kind)
            self.reporter.dropped += 1
        self._events_accepted += 1

    def flush_events(self, seconds: float) -> None:
        """Waits at most so long until every event is in the spool: before the process ends without a clean stop."""
        deadline = time.monotonic() + seconds
        while self._events_accepted < self.reporter.kept and time.monotonic() < deadline:
            time.sleep(0.01)

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
        """Waits until everything is acknowledged, the reporter's events too, however long the broker is away, or until
        `stop`. on_tick: called often."""
        while not self._is_empty() and not self._stop.wait(0.05):
            on_tick()

    def _is_empty(self) -> bool:
        return self._events_accepted == self.reporter.kept and self._outbox.empty()

    def close(self) -> None:
        """Waits a little for acknowledgements, says `stopped`, disconnects, and leaves the rest on the disk.

        Never hangs, never raises.
        """
        if self._event_thread.ident is None:  # it was not started
            self._link.close()
            self._spool_lock.close()
            return
        drain_s = self._timing.drain_s
        deadline = time.monotonic() + drain_s
        if self._commands is not None:
            self._commands.close(drain_s)
        self._closing.set()
        self.reporter.close()
        self._event_thread.join(drain_s)
        while self._link.online and self._outbox.waiting and time.monotonic() < deadline:
            time.sleep(0.02)
        self._link.close()
        self._outbox.spool.close(drain_s)
        if left := self._outbox.waiting + self._outbox.spool.poses:
            messages = count(left, "message")
            log.warning("%s: %s not delivered yet; the next start sends what is left", self._where, messages)
        self._spool_lock.close()

    # --- called by the link ----------------------------------------------------------------------------------

    def on_connected(self) -> None:
        self._link.notify("status", self._encoded_status("online"))
        self._link.notify("info", encode(self._info))
        if self._home_assistant:  # retained, so there is no need to wait for Home Assistant's own birth message
            self._link.announce(discovery_topic(self._info.device), msgspec.json.encode(discovery(self._info)))

    def on_heartbeat(self) -> None:
        if self.reporter.alerts.keys() & {"status", "info", discovery_topic(self._info.device)}:
            self.on_connected()  # what was refused may be taken by now, and nothing else repeats it
        dropped = Counter(self._outbox.dropped)
        for reason, number in (dropped - self._reported_drops).items():
            self.reporter.event("dropped", f"{count(number, 'pose')} given up: {reason}", number)
        self._reported_drops = dropped
        self._link.notify("health", encode(self._health()))

    def on_closing(self) -> None:
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
