"""Every message from `accept` to the broker's acknowledgement.

A fresh message is live: in memory, and in the RAM tier in case we are killed. What is not acknowledged after `SPILL_S`
goes to the backlog, which sends it as replay, after what is live. What was acknowledged is kept for `KEEP_ACKED_S` or
more, because a broker that is killed forgets what it acknowledged.

Three threads meet here, under one lock: the pipeline's (`accept`), the link's (`take` and what becomes of it) and the
backlog's (`overdue`, `written`, `put_back`).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgepose.delivery.batching import Batch, Item, bundle
from edgepose.delivery.spool import KEEP_ACKED_S, Spool, SpoolRules
from edgepose.delivery.spool_disk import SpoolDisk
from edgepose.delivery.spool_memory import SpoolMemory
from edgepose.mqtt.limits import may_be_size
from edgepose.protocol.codec import decode
from edgepose.protocol.messages import PoseMessage
from edgepose.system.clock import boot_us
from edgepose.system.reporter import Reporter

SPILL_S = 0.5
RAM_POSES = 20_000  # in memory at most, while the disk cannot be used: 11 minutes at 30 a second, about 15 MB
GROUP_S = 2.0  # longest wait for a group of live poses to fill
_WAIT_S = 0.1


@dataclass(slots=True, eq=False)
class Parcel:
    """One MQTT message to send that has to arrive: live items, or a batch of the backlog."""

    leaf: str
    payload: bytes
    items: tuple[Item, ...] = ()
    batch: Batch | None = None
    unheard: bool = False  # taken by the broker while nobody subscribed


class Outbox:
    """wake: told of every message that may be sent. delivered: messages acknowledged, repeats included. full: somebody
    waits for room."""

    def __init__(self, ram: SpoolMemory, disk: SpoolDisk, rules: SpoolRules, reporter: Reporter) -> None:
        self.wake: Callable[[], None] = lambda: None
        self.delivered = 0
        self.full = False
        self.changed = threading.Condition()
        self.backlog = Spool(disk, rules, self.changed, reporter)
        self._ram, self._rules = ram, rules
        self._spill_s = SPILL_S + (GROUP_S if rules.group > 1 else 0.0)
        self._live: deque[Item] = deque()
        self._again: list[Item] = []  # to the backlog at once
        self._in_flight: dict[Item, None] = {}
        self._recent: deque[tuple[float, Item]] = deque()  # boot clock of the acknowledgement
        self._unheard_s: dict[str, float] = {}  # boot clock of the first acknowledgement without a reader
        self._doubt = True  # nobody has said since the last connection whether the broker forgot
        self._take_over()
        self._numbers = itertools.count(max((left.number for left in ram.leftovers), default=0) + 1)

    def _take_over(self) -> None:
        """What an earlier run left."""
        for left in sorted(self._ram.leftovers, key=lambda left: left.acked_s or 0.0):
            item = Item(left.number, left.leaf, left.payload, time.monotonic())
            if left.acked_s is None:
                self._again.append(item)
            else:
                self._recent.append((left.acked_s, item))

    @property
    def dropped(self) -> Counter[str]:
        """Given up, by reason."""
        return self.backlog.dropped

    @property
    def waiting(self) -> int:
        """Messages in memory, neither acknowledged nor given up."""
        return len(self._live) + len(self._again) + len(self._in_flight)

    def empty(self) -> bool:
        """Everything is acknowledged, by a broker that was not away since."""
        with self.changed:
            doubtful = self._doubt and bool(self._recent or self.backlog.remembers())
            return self.backlog.opened and not self.waiting and not self.backlog.poses and not doubtful

    def accept(self, leaf: str, payload: bytes, give_way: threading.Event) -> None:
        """Takes charge of one message. Where it has to wait for room, `give_way` ends that."""
        with self.changed:
            while self._rules.wait and self.waiting >= RAM_POSES and not give_way.is_set():
                self.full = True
                self.changed.wait(_WAIT_S)
            self.full = False
            item = Item(next(self._numbers), leaf, payload, time.monotonic())
            self._ram.add(item.number, leaf, payload)
            self._live.append(item)
            if not self._rules.wait and self.waiting > RAM_POSES:
                oldest = self._live.popleft()
                self._ram.remove([oldest.number])
                self.dropped["memory_full"] += 1
        self.wake()

    # --- for the link ----------------------------------------------------------------------------------------

    def take(self, *, backlog: bool) -> Parcel | None:
        """What to send now: what is live, else, where `backlog` allows, the oldest batch."""
        with self.changed:
            if self._live and (items := self._next_live()):
                self._in_flight.update(dict.fromkeys(items))
                if len(items) == 1:
                    return Parcel(items[0].leaf, items[0].payload, tuple(items))
                poses = [decode(item.payload, PoseMessage) for item in items]
                return Parcel("poses", bundle(poses, replay=False), tuple(items))
            batch = self.backlog.take() if backlog else None
            return Parcel(batch.leaf, batch.payload, batch=batch) if batch else None

    def _next_live(self) -> list[Item]:
        """One message, or as many poses as go together; none while more of them may come."""
        if self._rules.group == 1 or self._live[0].leaf != "pose":
            return [self._live.popleft()]
        poses = list(
            itertools.takewhile(lambda item: item.leaf == "pose", itertools.islice(self._live, self._rules.group))
        )
        if len(poses) == len(self._live) < self._rules.group and time.monotonic() - poses[0].accepted_s < GROUP_S:
            return []
        return [self._live.popleft() for _ in poses]

    def acknowledge(self, parcels: Iterable[Parcel]) -> None:
        """Parcels that the broker has taken. Those it took although nobody subscribed go out again once somebody has:
        a broker that was wiped knows no reader before that one comes back. In the RAM tier they wait till then."""
        now_s = boot_us() / 1e6
        numbers = []
        with self.changed:
            for parcel in parcels:
                self._note_readers(parcel, now_s)
                self.delivered += parcel.batch.poses if parcel.batch else len(parcel.items)
                for item in parcel.items:
                    del self._in_flight[item]
                    self.backlog.settle(item)
                    if item.batch is None:
                        self._recent.append((now_s, item))
                        numbers += [] if parcel.unheard else [item.number]
                if parcel.batch:
                    self.backlog.finish(parcel.batch)
            self._ram.acknowledge(numbers, now_s)
            self.changed.notify_all()

    def _note_readers(self, parcel: Parcel, now_s: float) -> None:
        """Called before the parcel counts as acknowledged: when it was heard, what came before it was not. That goes
        out as backlog, so whoever hears that is a reader of all."""
        if parcel.leaf == "event":
            return
        if parcel.unheard:
            self._unheard_s.setdefault("backlog" if parcel.batch else "live", now_s)
            return
        kinds = {"live", "backlog"} if parcel.batch else {"live"}
        if since_s := [self._unheard_s.pop(kind) for kind in kinds & self._unheard_s.keys()]:
            self.forgotten(min(since_s), float("inf"))

    def forget_old(self) -> None:
        """To be called now and then while the broker is there, and known for the one that acknowledged: while it is
        away, nobody knows what it will have forgotten."""
        with self.changed:
            before_s = boot_us() / 1e6 - KEEP_ACKED_S
            old = []
            while self._recent and self._recent[0][0] < before_s:
                old.append(self._recent.popleft()[1].number)
            self._ram.remove(old)
            self.backlog.let_go(before_s)

    def refuse(self, parcel: Parcel, reason: str) -> None:
        """The broker will not have it: it is set aside and counted, and tried again only now and then."""
        with self.changed:
            for item in parcel.items:
                del self._in_flight[item]
                self.backlog.uncover(item)
            alone = [item for item in parcel.items if item.batch is None]
            if parcel.batch:
                self.backlog.aside.refuse(parcel.batch, reason)
            elif len(alone) > 1 and may_be_size(reason):  # a group of live poses: the backlog takes it apart
                self._again.extend(alone)
            elif alone and not self.backlog.aside.add(alone, reason):
                self._ram.remove([item.number for item in alone])
                self.dropped["memory_full"] += len(alone)
            self.changed.notify_all()

    def retry_refused(self) -> None:
        """It may fare better now."""
        with self.changed:
            self.backlog.aside.retry()

    def lost(self, parcels: Sequence[Parcel]) -> None:
        """The connection ended with these unacknowledged."""
        with self.changed:
            items = [item for parcel in parcels for item in parcel.items]
            self._in_flight.clear()
            self._doubt = True
            self._live.extendleft(reversed([item for item in items if item.batch is None]))
            self.backlog.give_back([parcel.batch for parcel in parcels if parcel.batch])

    def reconnected(self, before_s: float) -> int:
        """The broker has lost what it acknowledged before that (boot clock), and nothing else."""
        with self.changed:
            self._doubt = False
            return self.forgotten(0.0, before_s)

    def forgotten(self, from_s: float, before_s: float) -> int:
        """The broker has lost what it acknowledged between these (boot clock): it goes out again. Returns how much."""
        with self.changed:
            again = [item for acked_s, item in self._recent if from_s <= acked_s < before_s]
            self._recent = deque(kept for kept in self._recent if not from_s <= kept[0] < before_s)
            self._ram.acknowledge([item.number for item in again], None)
            self._again.extend(again)
            return len(again) + self.backlog.forget_acknowledged(from_s, before_s)

    # --- for the backlog, with the lock held -----------------------------------------------------------------

    def overdue(self, *, all_of_it: bool) -> tuple[list[Item], list[Item]]:
        """Once the oldest has waited too long, the younger come with it: one write for half a second of poses."""
        before_s = time.monotonic() - (-1e9 if all_of_it else self._spill_s)
        unsent, self._again = self._again, []
        if self._live and self._live[0].accepted_s < before_s:
            unsent.extend(self._live)
            self._live.clear()
        sent = [item for item in self._in_flight if item.batch is None]
        return unsent, sent if sent and sent[0].accepted_s < before_s else []

    def written(self, items: Sequence[Item]) -> set[Item]:
        done = set(items)
        in_flight = done & self._in_flight.keys()
        if self._live:  # given back while the disk was at work
            self._live = deque(item for item in self._live if item not in done)
        self._ram.remove([item.number for item in items])
        return in_flight

    def put_back(self, items: Sequence[Item]) -> None:
        self._live.extendleft(reversed(items))
