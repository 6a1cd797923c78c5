"""Writes what the broker did not acknowledge in time to the disk, in a thread of its own, and reads it back when it may
be sent.

A message that is in flight while it is written is *covered*: its batch is not sent unless the connection ends before
the acknowledgement comes. Acknowledged batches are kept for a while, because a broker that is killed forgets them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepose.delivery.ack_tracker import AckedRows
from edgepose.delivery.batching import Batch, Item, MessageSource, join, pack
from edgepose.delivery.refused_messages import RefusedMessages
from edgepose.delivery.spool_disk import SpoolDisk, SpoolDiskError
from edgepose.delivery.timing import DeliveryTiming
from edgepose.protocol.versions import UnreadableMessageError, upgraded
from edgepose.system.clock import SyncFlag, boot_us
from edgepose.system.reporter import Reporter
from edgepose.system.wording import count

log = logging.getLogger(__name__)

_READ_AHEAD_ROWS = 64  # at a time
_READY_BATCHES = 8  # while fewer are ready, more is read
_TIDY_S = 1.0


def set_aside_text(files: Mapping[Path, int]) -> str | None:
    """Returns what to report of spools that only a newer version can read. files: the number of poses in each."""
    if not files:
        return None
    found = ", ".join(f"{count(poses, 'pose')} in {path}" for path, poses in files.items())
    return f"a newer version of edgepose has left {found}; they stay there, and that version sends them"


@dataclass(frozen=True, slots=True)
class SpoolRules:
    """The settings of the config that the spool follows.

    Attributes:
        group: number of live poses in a message.
        wait: a full disk takes nothing more, so that the camera has to wait, as a video can. Otherwise poses are
            dropped.
        drop_newest: a full disk drops the poses that come, not the oldest.
    """

    group: int
    wait: bool
    drop_newest: bool


class Spool:
    """The spool on the disk. Whoever calls holds the lock.

    Attributes:
        dropped: number of poses that were given up, by reason.
        refused: what the broker has refused.
        opened: True once the disk was inspected, whether it can be used or not.
    """

    def __init__(
        self,
        disk: SpoolDisk,
        rules: SpoolRules,
        changed: threading.Condition,
        reporter: Reporter,
        timing: DeliveryTiming,
    ) -> None:
        """changed: the lock."""
        self.dropped: Counter[str] = Counter()
        self.opened = False
        self._disk, self._rules, self._changed = disk, rules, changed
        self._reporter, self._timing = reporter, timing
        self._writing = 0  # messages on their way to the disk
        self._covering: dict[Batch, set[Item]] = {}
        self._ready: deque[Batch] = deque()
        self._busy_rows: set[int] = set()  # rows in `_ready` or in flight
        self._acked = AckedRows(timing.ack_grain_s)
        self._safe_s = 0.0  # boot clock: no broker forgets any more what was acknowledged before
        self._cursor = 0  # rows up to this one have been read
        self.refused = RefusedMessages(disk, self._busy_rows, changed, timing)
        self._due_s = self._tidied_s = 0.0  # monotonic clock: the next batch, the last tidying
        self._sync = SyncFlag()
        self._more = True  # there may be rows behind the cursor
        self._hungry = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, source: MessageSource) -> None:
        self._thread = threading.Thread(target=self._work, args=(source,), name="spool", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Writes what is left, but waits no longer than this, because a disk may hang."""
        self._ending.set()
        self._hungry.set()
        if self._thread is not None:
            self._thread.join(seconds)

    @property
    def poses(self) -> int:
        """Number of poses on the disk or on their way to it that are neither acknowledged nor refused."""
        return max(0, self._disk.poses - self._acked.poses) + self._writing

    @property
    def set_aside(self) -> int:
        """Number of poses on the disk that only a newer version of edgepose can read and send."""
        return sum(self._disk.set_aside.values())

    @property
    def megabytes(self) -> float:
        return round(self._disk.used_bytes / 1e6, 2)

    # --- for the link ----------------------------------------------------------------------------------------

    def take(self) -> Batch | None:
        """Returns the next batch to send; None while there is none, or while the pace allows none."""
        if len(self._ready) < _READY_BATCHES and self._more:
            self._hungry.set()
        now = time.monotonic()
        if not self._ready or now < self._due_s:
            return None
        batch = self._ready.popleft()
        self._due_s = max(self._due_s, now - self._timing.tick_s) + batch.poses / self._timing.spool_hz
        return batch

    def settle(self, item: Item) -> None:
        """A live message was acknowledged that the disk may have too."""
        batch = item.batch
        covered = self._covering.get(batch) if batch else None
        if batch and covered is not None:
            covered.discard(item)
            if not covered:
                del self._covering[batch]
                self.acknowledged(batch)

    def uncover(self, item: Item) -> None:
        """A live message was refused that the disk may have too."""
        if item.batch and self._covering.pop(item.batch, None):
            self._cursor = 0

    def acknowledged(self, batch: Batch) -> None:
        """The broker has acknowledged a batch of the disk."""
        self._busy_rows.difference_update(batch.rows)
        for row, poses in batch.rows.items():
            self._acked.add(row, poses, boot_us() / 1e6)
        self.refused.acknowledged(batch)

    def give_back(self, batches: Sequence[Batch]) -> None:
        """The connection ended before these were acknowledged, and nothing is in flight any more."""
        self._ready.extendleft(reversed(batches))
        if self._covering:
            self._covering.clear()
            self._cursor = 0

    def forget_acknowledged(self, from_s: float, before_s: float) -> int:
        """Sends again what was acknowledged between these times of the boot clock. Returns the number of poses."""
        lost = [one for one in self._acked.ranges if one.last_s >= from_s and one.first_s < before_s]
        self._acked.remove(lost)
        if lost or self._covering:  # some of what is covered may have been acknowledged
            self._covering.clear()
            self._cursor = 0
        return sum(one.poses for one in lost)

    def remembers(self) -> bool:
        """Returns True when it has messages that were acknowledged and that a broker may forget."""
        return bool(self._acked.ranges)

    def let_go(self, before_s: float) -> None:
        """Allows the spool to remove what was acknowledged before this time of the boot clock."""
        self._safe_s = before_s

    # --- the disk's thread -----------------------------------------------------------------------------------

    def _work(self, source: MessageSource) -> None:
        while not self._ending.is_set():
            self.step(source)
            self._hungry.wait(self._timing.tick_s)
            self._hungry.clear()
        self.step(source, tidy=True)
        self._disk.close()

    def step(self, source: MessageSource, *, tidy: bool = False) -> None:
        """One turn of the disk's thread. The lock is never held while the disk works. tidy: also before it is due."""
        try:
            self._disk.open()
            self.opened = True
            self._reporter.alert("spool_set_aside", set_aside_text(self._disk.set_aside))
            self._write(source)
            if tidy or time.monotonic() - self._tidied_s > _TIDY_S:
                self._tidied_s = time.monotonic()
                self._tidy(source)
            self._read_ahead()
            self._reporter.alert("spool", None)
        except SpoolDiskError as exc:
            self._reporter.alert("spool", f"{exc}; poses wait in memory")
            self.opened = True
        except Exception as exc:  # a bug here must not end this thread, which would keep every later pose in memory
            log.exception("spool")
            self._reporter.alert("spool", f"the spool failed ({exc!r}) and is tried again; poses wait in memory")
            self.opened = True
        with self._changed:
            if self._disk.damaged:
                self.dropped["spool_damaged"] = self._disk.damaged
            self._changed.notify_all()

    def _write(self, source: MessageSource) -> None:
        ending = self._ending.is_set()
        if self._rules.wait and not ending and not self._disk.room():
            return
        with self._changed:
            unsent, sent = source.overdue(all_of_it=ending)
            self._writing = len(unsent)
        try:
            self._write_items(source, unsent, sent)
        finally:
            self._writing = 0

    def _write_items(self, source: MessageSource, unsent: list[Item], sent: list[Item]) -> None:
        try:
            full = self._rules.drop_newest and not self._disk.room()
            packed = [] if full else [one for group in (unsent, sent) for one in pack(group)]
            if packed:
                self._disk.append([batch for batch, _ in packed], self._sync.synced())
        except BaseException:
            with self._changed:
                source.put_back(unsent)
            raise
        if full:
            self.dropped["spool_full"] += len(unsent)
            with self._changed:
                source.written(unsent)
        if not packed:
            return
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
            if len(self._ready) >= _READY_BATCHES or not self._disk.poses:
                return
            cursor = last = self._cursor
        wanted: list[int] = []
        while not wanted and (rows := self._disk.rows(last)):
            wanted = [row for row in rows if not self._is_held(row)][:_READ_AHEAD_ROWS]
            last = wanted[-1] if len(wanted) == _READ_AHEAD_ROWS else rows[-1]
        found = join(batch for row in wanted if (batch := self._read(row)))
        with self._changed:
            if self._cursor == cursor:  # otherwise a lost connection has set it back meanwhile
                self._cursor, self._more = last, bool(wanted)
                for batch in found:
                    self._busy_rows.update(batch.rows)
                self._ready.extend(found)

    def _read(self, row: int) -> Batch | None:
        """Returns a batch of our version, or of a newer one, which goes out as it is. None: it cannot be read."""
        batch = self._disk.read(row)
        if batch is not None:
            try:
                batch.payload = upgraded(batch.payload)
            except UnreadableMessageError:
                self._disk.give_up(row, batch.poses)
                return None
        return batch

    def _is_held(self, row: int) -> bool:
        """Returns True when a row is on its way or acknowledged. Only the disk's thread takes other rows."""
        with self._changed:
            return row in self._busy_rows or row in self._acked or any(row in batch.rows for batch in self._covering)

    def _tidy(self, source: MessageSource) -> None:
        """Marks what was refused, and removes what was acknowledged long enough ago.

        Where room is short, what was acknowledged goes before anything that was not.
        """
        if self.refused.step(source, self._sync.synced()):
            with self._changed:
                self._cursor = 0
        with self._changed:
            complete_s = boot_us() / 1e6 - self._timing.ack_grain_s  # a younger range may still grow
            done = sorted((one for one in self._acked.ranges if one.first_s < complete_s), key=lambda one: one.last_s)
        for one in done:
            if one.last_s < self._safe_s or not (self._rules.wait or self._disk.room()):
                self._disk.remove([(one.first, one.last)])
                with self._changed:
                    self._acked.remove([one])
        self._drop()
        self._disk.shrink()

    def _drop(self) -> None:
        if self._rules.wait:
            return
        old = self._disk.drop_old(self._sync.synced(), self._is_held)
        oldest = 0 if self._rules.drop_newest else self._disk.drop_oldest(self._is_held)
        with self._changed:
            self.dropped.update({reason: n for reason, n in (("spool_old", old), ("spool_full", oldest)) if n})
