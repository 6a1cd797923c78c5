"""What the broker has refused: set aside on the disk, counted by reason, and now and then tried again: one of it first,
and the rest when that one is taken. A batch that may have been too large is taken apart."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import msgspec

from edgepose.delivery.batching import Batch, Item, pack
from edgepose.delivery.spool_disk import SpoolDisk
from edgepose.mqtt.limits import TOO_LARGE, may_be_size
from edgepose.protocol.codec import decode, encode
from edgepose.protocol.messages import BatchMessage

RETRY_REFUSED_S = 300.0
SOONEST_S = 10.0  # between two trials, whatever the occasion
MOST_ITEMS = 20_000  # in memory, while the disk cannot be used
_AT_ONCE = 100


class Source(Protocol):
    def written(self, items: Sequence[Item]) -> set[Item]:
        """The disk has them."""


class RefusedMessages:
    """busy: rows that are under way, of the backlog. changed: the lock of all state, held by whoever calls, except
    `step`, which is for the disk's thread."""

    def __init__(self, disk: SpoolDisk, busy: set[int], changed: threading.Condition) -> None:
        self._disk, self._busy, self._changed = disk, busy, changed
        self._items: dict[str, list[Item]] = {}  # by reason; not on the disk yet
        self._rows: list[tuple[int, str]] = []
        self._large: list[Batch] = []
        self._trial: set[int] = set()  # rows that are sent once more
        self._due_s = math.inf  # monotonic clock of the next trial
        self._tried_s = -math.inf
        self._all = False

    def counts(self) -> Counter[str]:
        """Messages, by reason. Needs no lock."""
        fresh = {reason: len(items) for reason, items in dict(self._items).items()}
        return Counter(dict(self._disk.refused)) + Counter(fresh)

    def add(self, items: Sequence[Item], reason: str) -> bool:
        """Messages that the disk does not have. False when there is no room for them."""
        if sum(map(len, self._items.values())) >= MOST_ITEMS:
            return False
        self._items.setdefault(reason, []).extend(items)
        self._failed()
        return True

    def refuse(self, batch: Batch, reason: str) -> None:
        if may_be_size(reason) and batch.poses > 1:
            self._large.append(batch)
        else:
            self._rows.extend((row, reason) for row in batch.rows)
            self._failed()

    def finish(self, batch: Batch) -> None:
        """The broker has taken it."""
        if not self._trial.isdisjoint(batch.rows):  # it takes again what it refused
            self._trial.clear()
            self._all = True

    def retry(self) -> None:
        """It may fare better now."""
        self._due_s = min(self._due_s, max(time.monotonic(), self._tried_s + SOONEST_S))

    def _failed(self) -> None:
        self._trial.clear()
        self._all = False
        self._due_s = time.monotonic() + RETRY_REFUSED_S

    # --- the disk's thread -----------------------------------------------------------------------------------

    def step(self, source: Source, synced: bool) -> bool:
        """Whether earlier rows may be sent again. Raises DiskError; then nothing is lost, and the next step does it."""
        self._write_items(source, synced)
        self._write_rows()
        while self._large:
            self._take_apart(self._large[0], synced)
        return self._release()

    def _write_items(self, source: Source, synced: bool) -> None:
        with self._changed:
            fresh = {reason: list(items) for reason, items in self._items.items() if items}
        for reason, items in fresh.items():
            self._disk.append([batch for batch, _ in pack(items)], synced, reason)
            with self._changed:
                del self._items[reason][: len(items)]
                source.written(items)

    def _write_rows(self) -> None:
        with self._changed:
            rows = list(self._rows)
        if rows:
            self._disk.refuse(rows)
            with self._changed:
                del self._rows[: len(rows)]
                self._busy.difference_update(row for row, _ in rows)

    def _take_apart(self, batch: Batch, synced: bool) -> None:
        """Into one message for each pose."""
        try:
            poses = decode(batch.payload, BatchMessage).poses
        except (msgspec.DecodeError, UnicodeDecodeError):  # of another version
            single = []
            self._disk.refuse([(row, TOO_LARGE) for row in batch.rows])
        else:
            single = [Batch("pose", 1, encode(pose)) for pose in poses]
            self._disk.append(single, synced)
            self._disk.remove([(row, row) for row in batch.rows])
        with self._changed:
            self._large.pop(0)
            self._busy.difference_update(batch.rows)
            if not self._trial.isdisjoint(batch.rows):
                self._trial.update(row for one in single for row in one.rows)

    def _release(self) -> bool:
        if not self._all and time.monotonic() < self._due_s:
            return False
        found = self._disk.release(_AT_ONCE if self._all else 1) if self._disk.refused.total() else []
        with self._changed:
            if not self._all:
                self._trial.update(found)
            self._all = self._all and len(found) == _AT_ONCE
            self._due_s, self._tried_s = math.inf, time.monotonic()
        return bool(found)
