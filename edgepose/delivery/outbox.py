"""Holds every message from `accept` to the broker's acknowledgement.

A fresh message is live: it is in memory, and in the spool in memory in case the daemon is killed. What has no
acknowledgement after a while goes to the spool on the disk, which sends it as replay, after what is live. What was
acknowledged is kept for a while, because a broker that is killed forgets what it acknowledged.

Three threads meet here, under one lock: the pipeline's (`accept`), the link's (`take` and what becomes of it) and the
disk's (`overdue`, `written`, `put_back`).
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgepose.delivery.batching import Batch, Item, encode_batch
from edgepose.delivery.spool import Spool, SpoolRules
from edgepose.delivery.spool_disk import SpoolDisk
from edgepose.delivery.spool_memory import SpoolMemory
from edgepose.delivery.timing import DeliveryTiming
from edgepose.mqtt.limits import may_be_size
from edgepose.protocol.codec import decode
from edgepose.protocol.messages import PoseMessage
from edgepose.protocol.versions import UnreadableMessageError, upgraded
from edgepose.system.clock import boot_us
from edgepose.system.reporter import Reporter
from edgepose.system.wording import count

log = logging.getLogger(__name__)

_WAIT_S = 0.1


@dataclass(slots=True, eq=False)
class Parcel:
    """One MQTT message that has to arrive: live items, or a batch of the disk.

    Attributes:
        leaf: the last level of its topic.
        payload: JSON.
        items: the live messages in it; none in a batch of the disk.
        batch: the batch of the disk.
        unheard: True when the broker has taken it while nobody subscribed.
    """

    leaf: str
    payload: bytes
    items: tuple[Item, ...] = ()
    batch: Batch | None = None
    unheard: bool = False


class Outbox:
    """The messages of one device that are not delivered yet.

    Attributes:
        wake: called after every message that may be sent.
        delivered: number of messages acknowledged, repeats included.
        full: True while somebody waits for room.
        changed: the lock of all state.
        spool: what waits on the disk.
    """

    def __init__(
        self,
        memory: SpoolMemory,
        disk: SpoolDisk,
        rules: SpoolRules,
        reporter: Reporter,
        timing: DeliveryTiming = DeliveryTiming(),
    ) -> None:
        self.wake: Callable[[], None] = lambda: None
        self.delivered = 0
        self.full = False
        self.changed = threading.Condition()
        self.spool = Spool(disk, rules, self.changed, reporter, timing)
        self._memory, self._rules, self._timing = memory, rules, timing
        self._live: deque[Item] = deque()
        self._again: list[Item] = []  # to the disk at once
        self._in_flight: dict[Item, None] = {}
        self._recent: deque[tuple[float, Item]] = deque()  # boot clock of the acknowledgement
        self._unheard_s: dict[str, float] = {}  # boot clock of the first acknowledgement without a subscriber
        self._in_doubt = True  # the broker may have forgotten what it acknowledged before the last connection
        self._take_over()
        self._numbers = itertools.count(max((left.number for left in memory.leftovers), default=0) + 1)

    def _take_over(self) -> None:
        """Takes what an earlier run of the daemon has left, which may have been another version."""
        damaged = self._memory.damaged
        for left in sorted(self._memory.leftovers, key=lambda left: left.acked_s or 0.0):
            try:
                payload = upgraded(left.payload)
            except UnreadableMessageError:
                damaged += 1
                self._memory.remove([left.number])
                continue
            item = Item(left.number, left.leaf, payload, time.monotonic())
            if left.acked_s is None:
                self._again.append(item)
            else:
                self._recent.append((left.acked_s, item))
        if damaged:
            log.warning("gave up %s in the spool in memory that cannot be read", count(damaged, "message"))
            self.dropped["memory_damaged"] += damaged

    @property
    def dropped(self) -> Counter[str]:
        """Number of messages that were given up, by reason."""
        return self.spool.dropped

    @property
    def waiting(self) -> int:
        """Number of messages in memory that are neither acknowledged nor given up."""
        return len(self._live) + len(self._again) + len(self._in_flight)

    def empty(self) -> bool:
        """Returns True when everything is acknowledged, by a broker that was not away since."""
        with self.changed:
            in_doubt = self._in_doubt and bool(self._recent or self.spool.remembers())
            return self.spool.opened and not self.waiting and not self.spool.poses and not in_doubt

    def accept(self, leaf: str, payload: bytes, give_way: threading.Event) -> None:
        """Takes charge of one message. Where it has to wait for room, `give_way` ends the waiting."""
        most = self._timing.memory_messages
        with self.changed:
            while self._rules.wait and self.waiting >= most and not give_way.is_set():
                self.full = True
                self.changed.wait(_WAIT_S)
            self.full = False
            item = Item(next(self._numbers), leaf, payload, time.monotonic())
            self._memory.add(item.number, leaf, payload)
            self._live.append(item)
            if not self._rules.wait and self.waiting > most:
                oldest = self._live.popleft()
                self._memory.remove([oldest.number])
                self.dropped["memory_full"] += 1
        self.wake()

    # --- for the link ----------------------------------------------------------------------------------------

    def take(self, *, spooled: bool) -> Parcel | None:
        """Returns what to send now: what is live, or else, where `spooled` allows it, the oldest batch of the disk."""
        with self.changed:
            if self._live and (items := self._next_live()):
                self._in_flight.update(dict.fromkeys(items))
                if len(items) == 1:
                    return Parcel(items[0].leaf, items[0].payload, tuple(items))
                poses = [decode(item.payload, PoseMessage) for item in items]
                return Parcel("poses", encode_batch(poses, replay=False), tuple(items))
            batch = self.spool.take() if spooled else None
            return Parcel(batch.leaf, batch.payload, batch=batch) if batch else None

    def _next_live(self) -> list[Item]:
        """Takes one message, or as many poses as go together; none while more of them may come."""
        group = self._rules.group
        if group == 1 or self._live[0].leaf != "pose":
            return [self._live.popleft()]
        poses = list(itertools.takewhile(lambda item: item.leaf == "pose", itertools.islice(self._live, group)))
        age_s = time.monotonic() - poses[0].accepted_s
        if len(poses) == len(self._live) < group and age_s < self._timing.group_s:
            return []
        return [self._live.popleft() for _ in poses]

    def acknowledge(self, parcels: Iterable[Parcel]) -> None:
        """The broker has taken these.

        Those it took although nobody subscribed go out again once somebody has: a broker that was wiped knows no
        subscriber before that one comes back. Until then they stay in the spool in memory.
        """
        now_s = boot_us() / 1e6
        numbers = []
        with self.changed:
            for parcel in parcels:
                self._note_subscribers(parcel, now_s)
                self.delivered += parcel.batch.poses if parcel.batch else len(parcel.items)
                for item in parcel.items:
                    del self._in_flight[item]
                    self.spool.settle(item)
                    if item.batch is None:
                        self._recent.append((now_s, item))
                        numbers += [] if parcel.unheard else [item.number]
                if parcel.batch:
                    self.spool.acknowledged(parcel.batch)
            self._memory.acknowledge(numbers, now_s)
            self.changed.notify_all()

    def _note_subscribers(self, parcel: Parcel, now_s: float) -> None:
        """Called before the parcel counts as acknowledged: when somebody heard it, what nobody heard goes out again.

        That goes out as replay, so whoever hears the replay is a subscriber of everything.
        """
        if parcel.leaf == "event":
            return
        if parcel.unheard:
            self._unheard_s.setdefault("spooled" if parcel.batch else "live", now_s)
            return
        kinds = {"live", "spooled"} if parcel.batch else {"live"}
        if since_s := [self._unheard_s.pop(kind) for kind in kinds & self._unheard_s.keys()]:
            self.forgotten(min(since_s), float("inf"))

    def forget_old(self) -> None:
        """Forgets what was acknowledged long ago.

        To be called now and then while the broker is there and known to be the one that acknowledged: while it is
        away, nobody knows what it will have forgotten.
        """
        with self.changed:
            before_s = boot_us() / 1e6 - self._timing.keep_acked_s
            old = []
            while self._recent and self._recent[0][0] < before_s:
                old.append(self._recent.popleft()[1].number)
            self._memory.remove(old)
            self.spool.let_go(before_s)

    def refuse(self, parcel: Parcel, reason: str) -> None:
        """The broker refuses this one: it is kept apart and counted, and tried again only now and then."""
        with self.changed:
            for item in parcel.items:
                del self._in_flight[item]
                self.spool.uncover(item)
            alone = [item for item in parcel.items if item.batch is None]
            if parcel.batch:
                self.spool.refused.refuse(parcel.batch, reason)
            elif len(alone) > 1 and may_be_size(reason):  # a group of live poses: on the disk it is taken apart
                self._again.extend(alone)
            elif alone and not self.spool.refused.add(alone, reason):
                self._memory.remove([item.number for item in alone])
                self.dropped["memory_full"] += len(alone)
            self.changed.notify_all()

    def retry_refused(self) -> None:
        """Tries refused messages again soon, because the broker may take them now."""
        with self.changed:
            self.spool.refused.retry()

    def lost(self, parcels: Sequence[Parcel]) -> None:
        """The connection ended before these were acknowledged."""
        with self.changed:
            items = [item for parcel in parcels for item in parcel.items]
            self._in_flight.clear()
            self._in_doubt = True
            self._live.extendleft(reversed([item for item in items if item.batch is None]))
            self.spool.give_back([parcel.batch for parcel in parcels if parcel.batch])

    def reconnected(self, before_s: float) -> int:
        """The broker has lost what it acknowledged before this (boot clock), and nothing else. Returns how much."""
        with self.changed:
            self._in_doubt = False
            return self.forgotten(0.0, before_s)

    def forgotten(self, from_s: float, before_s: float) -> int:
        """The broker has lost what it acknowledged between these (boot clock): it goes out again. Returns how much."""
        with self.changed:
            again = [item for acked_s, item in self._recent if from_s <= acked_s < before_s]
            self._recent = deque(kept for kept in self._recent if not from_s <= kept[0] < before_s)
            self._memory.acknowledge([item.number for item in again], None)
            self._again.extend(again)
            return len(again) + self.spool.forget_acknowledged(from_s, before_s)

    # --- for the disk's thread, which holds the lock ---------------------------------------------------------

    def overdue(self, *, all_of_it: bool) -> tuple[list[Item], list[Item]]:
        """Returns what the disk is to have: what was not sent, which is taken away here, and what is in flight.

        Once the oldest message has waited too long, the younger ones come with it: one write for half a second of
        poses.
        """
        spill_s = self._timing.spill_s + (self._timing.group_s if self._rules.group > 1 else 0.0)
        before_s = time.monotonic() - (-1e9 if all_of_it else spill_s)
        unsent, self._again = self._again, []
        if self._live and self._live[0].accepted_s < before_s:
            unsent.extend(self._live)
            self._live.clear()
        sent = [item for item in self._in_flight if item.batch is None]
        return unsent, sent if sent and sent[0].accepted_s < before_s else []

    def written(self, items: Sequence[Item]) -> set[Item]:
        """The disk has these. Returns those that are still in flight."""
        done = set(items)
        in_flight = done & self._in_flight.keys()
        if self._live:  # given back while the disk was at work
            self._live = deque(item for item in self._live if item not in done)
        self._memory.remove([item.number for item in items])
        return in_flight

    def put_back(self, items: Sequence[Item]) -> None:
        """The disk did not take these."""
        self._live.extendleft(reversed(items))
