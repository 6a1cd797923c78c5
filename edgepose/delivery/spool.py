"""What the broker did not acknowledge in time: batches of poses, written to the disk by a thread of their own, and read
back when they may be sent.

A message that is in flight while it is written is *covered*: its batch is not sent unless the connection ends before
the acknowledgement comes. Acknowledged batches stay for `KEEP_ACKED_S` and more: a broker that is killed forgets them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgepose.delivery.ack_tracker import GRAIN_S, AckedRows
from edgepose.delivery.batching import Batch, Item, join, pack
from edgepose.delivery.refused_messages import RefusedMessages
from edgepose.delivery.spool_disk import SpoolDisk, SpoolDiskError
from edgepose.system.clock import SyncFlag, boot_us
from edgepose.system.reporter import Reporter

KEEP_ACKED_S = 60.0
DRAIN_HZ = 8000.0  # poses a second at most: readers get the live ones through the same queue
_READ_AHEAD, _ENOUGH = 64, 8  # rows at a time, until so many messages are ready
_TICK_S = 0.1
_TIDY_S = 1.0


@dataclass(frozen=True, slots=True)
class SpoolRules:
    """group: live poses in a message. wait: a full disk takes nothing more, so that the
    source has to wait, as a video can; otherwise poses are dropped, with drop_newest those that come."""

    group: int
    wait: bool
    drop_newest: bool


class Source(Protocol):
    """Who has the fresh messages."""

    def overdue(self, *, all_of_it: bool) -> tuple[list[Item], list[Item]]:
        """What waited too long: not sent, which leaves the source, and in flight."""

    def written(self, items: Sequence[Item]) -> set[Item]:
        """The disk has them; returns those still in flight."""

    def put_back(self, items: Sequence[Item]) -> None:
        """The disk did not take them."""


class Spool:
    """changed: the lock of all state, held by whoever calls. dropped: poses given up, by reason. aside: those that the
    broker has refused. opened: the disk was looked at."""

    def __init__(self, disk: SpoolDisk, rules: SpoolRules, changed: threading.Condition, reporter: Reporter) -> None:
        self.dropped: Counter[str] = Counter()
        self.opened = False
        self._disk, self._rules, self._changed, self._reporter = disk, rules, changed, reporter
        self._writing = 0  # messages on their way to the disk
        self._covering: dict[Batch, set[Item]] = {}
        self._ready: deque[Batch] = deque()
        self._busy: set[int] = set()  # rows in `_ready` or in flight
        self._done = AckedRows()
        self._safe_s = 0.0  # boot clock: what was acknowledged before that no broker forgets any more
        self._cursor = 0  # rows up to here were looked at
        self.aside = RefusedMessages(disk, self._busy, changed)
        self._due_s = self._tidied_s = 0.0  # monotonic clock: the next batch, the last tidying
        self._sync = SyncFlag()
        self._more = True  # there may be rows behind the cursor
        self._hungry = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, source: Source) -> None:
        self._thread = threading.Thread(target=self._work, args=(source,), name="spool", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Writes what is left; not longer than that, should the disk hang."""
        self._ending.set()
        self._hungry.set()
        if self._thread is not None:
            self._thread.join(seconds)

    @property
    def poses(self) -> int:
        """On the disk or on their way to it, neither acknowledged nor refused."""
        return max(0, self._disk.poses - self._done.poses) + self._writing

    @property
    def megabytes(self) -> float:
        return round(self._disk.used_bytes / 1e6, 2)

    # --- for the link ----------------------------------------------------------------------------------------

    def take(self) -> Batch | None:
        if len(self._ready) < _ENOUGH and self._more:
            self._hungry.set()
        now = time.monotonic()
        if not self._ready or now < self._due_s:
            return None
        batch = self._ready.popleft()
        self._due_s = max(self._due_s, now - _TICK_S) + batch.poses / DRAIN_HZ
        return batch

    def settle(self, item: Item) -> None:
        """An item that the disk has too was acknowledged on its own."""
        batch = item.batch
        covered = self._covering.get(batch) if batch else None
        if batch and covered is not None:
            covered.discard(item)
            if not covered:
                del self._covering[batch]
                self.finish(batch)

    def uncover(self, item: Item) -> None:
        """An item that the disk may have too was refused on its own."""
        if item.batch and self._covering.pop(item.batch, None):
            self._cursor = 0

    def finish(self, batch: Batch) -> None:
        """Acknowledged."""
        self._busy.difference_update(batch.rows)
        for row, poses in batch.rows.items():
            self._done.add(row, poses, boot_us() / 1e6)
        self.aside.finish(batch)

    def give_back(self, batches: Sequence[Batch]) -> None:
        """The connection ended with these unacknowledged, and nothing is in flight any more."""
        self._ready.extendleft(reversed(batches))
        if self._covering:
            self._covering.clear()
            self._cursor = 0

    def forget_acknowledged(self, from_s: float, before_s: float) -> int:
        """What was acknowledged between these (boot clock) goes out again; returns how many poses."""
        gone = [run for run in self._done.runs if run.last_s >= from_s and run.first_s < before_s]
        self._done.remove(gone)
        if gone or self._covering:  # of what is covered some may have been acknowledged
            self._covering.clear()
            self._cursor = 0
        return sum(run.poses for run in gone)

    def remembers(self) -> bool:
        """Whether it has what was acknowledged and may be forgotten."""
        return bool(self._done.runs)

    def let_go(self, before_s: float) -> None:
        """What was acknowledged before that need not be kept."""
        self._safe_s = before_s

    # --- the disk's thread -----------------------------------------------------------------------------------

    def _work(self, source: Source) -> None:
        while not self._ending.is_set():
            self._step(source)
            self._hungry.wait(_TICK_S)
            self._hungry.clear()
        self._step(source)
        self._disk.close()

    def _step(self, source: Source) -> None:
        """The lock is never held while the disk works."""
        try:
            self._disk.open()
            self.opened = True
            self._write(source)
            if time.monotonic() - self._tidied_s > _TIDY_S or self._ending.is_set():
                self._tidied_s = time.monotonic()
                self._tidy(source)
            self._read_ahead()
            self._reporter.alert("spool", None)
        except SpoolDiskError as exc:
            self._reporter.alert("spool", f"{exc}; poses wait in memory")
            self.opened = True
        with self._changed:
            if self._disk.damaged:
                self.dropped["spool_damaged"] = self._disk.damaged
            self._changed.notify_all()

    def _write(self, source: Source) -> None:
        ending = self._ending.is_set()
        if self._rules.wait and not ending and not self._disk.room():
            return
        with self._changed:
            unsent, sent = source.overdue(all_of_it=ending)
            self._writing = len(unsent)
        try:
            self._write_down(source, unsent, sent)
        finally:
            self._writing = 0

    def _write_down(self, source: Source, unsent: list[Item], sent: list[Item]) -> None:
        if self._rules.drop_newest and not self._disk.room():
            self.dropped["spool_full"] += len(unsent)
            with self._changed:
                source.written(unsent)
            return
        packed = [(batch, items) for group in (unsent, sent) for batch, items in pack(group)]
        if not packed:
            return
        try:
            self._disk.append([batch for batch, _ in packed], self._sync.synced())
        except SpoolDiskError:
            with self._changed:
                source.put_back(unsent)
            raise
        with self._changed:
            in_flight = source.written([*unsent, *sent])
            for batch, items in packed:
                if covered := {item for item in items if item in in_flight}:
                    self._covering[batch] = covered
                    for item in covered:
                        item.batch = batch
        self._drop()

    def _read_ahead(self) -> None:
        with self._changed:
            if len(self._ready) >= _ENOUGH or not self._disk.poses:
                return
            cursor = last = self._cursor
        wanted: list[int] = []
        while not wanted and (rows := self._disk.rows(last)):
            wanted = [row for row in rows if not self._spoken_for(row)][:_READ_AHEAD]
            last = wanted[-1] if len(wanted) == _READ_AHEAD else rows[-1]
        found = join(batch for row in wanted if (batch := self._disk.read(row)))
        with self._changed:
            if self._cursor == cursor:  # unless a lost connection has set it back meanwhile
                self._cursor, self._more = last, bool(wanted)
                for batch in found:
                    self._busy.update(batch.rows)
                self._ready.extend(found)

    def _spoken_for(self, row: int) -> bool:
        """On its way, or acknowledged. Only the disk's thread takes rows that are not."""
        with self._changed:
            return row in self._busy or row in self._done or any(row in batch.rows for batch in self._covering)

    def _tidy(self, source: Source) -> None:
        """Sets aside what was refused. Removes what was acknowledged long enough ago, or, where room is short, sooner
        than what was not."""
        if self.aside.step(source, self._sync.synced()):
            with self._changed:
                self._cursor = 0
        with self._changed:
            over_s = boot_us() / 1e6 - GRAIN_S  # no run that may still grow
            done = sorted((run for run in self._done.runs if run.first_s < over_s), key=lambda run: run.last_s)
        for run in done:
            if run.last_s < self._safe_s or not (self._rules.wait or self._disk.room()):
                self._disk.remove([(run.first, run.last)])
                with self._changed:
                    self._done.remove([run])
        self._drop()
        self._disk.shrink()

    def _drop(self) -> None:
        if self._rules.wait:
            return
        old = self._disk.drop_old(self._sync.synced(), self._spoken_for)
        oldest = 0 if self._rules.drop_newest else self._disk.drop_oldest(self._spoken_for)
        with self._changed:
            self.dropped.update({reason: n for reason, n in (("spool_old", old), ("spool_full", oldest)) if n})
