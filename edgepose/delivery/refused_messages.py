"""Messages that the broker has refused are kept on the disk, counted by reason, and sent again now and then.

One of the messages is tried first, and the rest when that one is taken. A batch that may have been too large is taken
apart.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from edgepose.delivery.batching import Batch, Item, MessageSource, pack
from edgepose.delivery.spool_disk import SpoolDisk
from edgepose.delivery.timing import DeliveryTiming
from edgepose.mqtt.limits import TOO_LARGE, may_be_size
from edgepose.protocol.codec import decode, encode
from edgepose.protocol.messages import BatchMessage

_RELEASED_ROWS = 100  # at a time


class RefusedMessages:
    """The refused messages of one device. Whoever calls holds the lock, except for `counts` and `step`."""

    def __init__(
        self, disk: SpoolDisk, busy_rows: set[int], changed: threading.Condition, timing: DeliveryTiming
    ) -> None:
        """busy_rows: rows of the spool that are on their way to the broker. changed: the lock."""
        self._disk, self._busy_rows, self._changed, self._timing = disk, busy_rows, changed, timing
        self._items: dict[str, list[Item]] = {}  # by reason; not on the disk yet
        self._rows: list[tuple[int, str]] = []  # on the disk, but not marked as refused there yet
        self._large: list[Batch] = []
        self._trial_rows: set[int] = set()  # that are sent once more
        self._next_trial_s = math.inf  # monotonic clock
        self._last_trial_s = -math.inf
        self._release_all = False

    def counts(self) -> Counter[str]:
        """Returns the number of messages by reason. Needs no lock."""
        fresh = {reason: len(items) for reason, items in dict(self._items).items()}
        return Counter(dict(self._disk.refused)) + Counter(fresh)

    def add(self, items: Sequence[Item], reason: str) -> bool:
        """Adds messages that the disk does not have. Returns False when there is no room for them."""
        if sum(map(len, self._items.values())) >= self._timing.memory_messages:
            return False
        self._items.setdefault(reason, []).extend(items)
        self._trial_failed()
        return True

    def refuse(self, batch: Batch, reason: str) -> None:
        """Adds a batch of the disk."""
        if may_be_size(reason) and batch.poses > 1:
            self._large.append(batch)
        else:
            self._rows.extend((row, reason) for row in batch.rows)
            self._trial_failed()

    def acknowledged(self, batch: Batch) -> None:
        """The broker has taken a batch of the disk."""
        if not self._trial_rows.isdisjoint(batch.rows):  # it takes again what it refused
            self._trial_rows.clear()
            self._release_all = True

    def retry(self) -> None:
        """Tries again soon, because the broker may take now what it refused."""
        soonest_s = self._last_trial_s + self._timing.retry_refused_soonest_s
        self._next_trial_s = min(self._next_trial_s, max(time.monotonic(), soonest_s))

    def _trial_failed(self) -> None:
        self._trial_rows.clear()
        self._release_all = False
        self._next_trial_s = time.monotonic() + self._timing.retry_refused_s

    # --- called by the disk's thread, without the lock -------------------------------------------------------

    def step(self, source: MessageSource, synced: bool) -> bool:
        """Writes what was refused to the disk, and releases what is to be tried again.

        Returns True when earlier rows may be sent again. Raises SpoolDiskError; then nothing is lost, and the next
        step repeats it.
        """
        self._write_items(source, synced)
        self._write_rows()
        while self._large:
            self._take_apart(self._large[0], synced)
        return self._release()

    def _write_items(self, source: MessageSource, synced: bool) -> None:
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
                self._busy_rows.difference_update(row for row, _ in rows)

    def _take_apart(self, batch: Batch, synced: bool) -> None:
        """Replaces a batch by one message for each pose."""
        try:
            poses = decode(batch.payload, BatchMessage).poses
        except (msgspec.DecodeError, UnicodeDecodeError):  # of a newer version
            single = []
            self._disk.refuse([(row, TOO_LARGE) for row in batch.rows])
        else:
            single = [Batch("pose", 1, encode(pose)) for pose in poses]
            self._disk.append(single, synced)
            self._disk.remove([(row, row) for row in batch.rows])
        with self._changed:
            self._large.pop(0)
            self._busy_rows.difference_update(batch.rows)
            if not self._trial_rows.isdisjoint(batch.rows):
                self._trial_rows.update(row for one in single for row in one.rows)

    def _release(self) -> bool:
        if not self._release_all and time.monotonic() < self._next_trial_s:
            return False
        found = self._disk.release(_RELEASED_ROWS if self._release_all else 1) if self._disk.refused.total() else []
        with self._changed:
            if not self._release_all:
                self._trial_rows.update(found)
            self._release_all = self._release_all and len(found) == _RELEASED_ROWS
            self._next_trial_s, self._last_trial_s = math.inf, time.monotonic()
        return bool(found)
