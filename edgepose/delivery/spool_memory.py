"""Keeps what is on its way to the broker in files in memory: they outlive the daemon, cost the SD card nothing, and end
with the boot. Acknowledged messages stay a while, because a broker that is killed forgets what it acknowledged.

The files are the parts of a log. Each message is one record, and what became of messages is more records. A part whose
messages are all removed is deleted. A kill leaves at most one record half written, at the end, because memory has no
power cuts. Whatever else cannot be read is skipped and counted, and a warning says so.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgepose.protocol.topics import TOPICS
from edgepose.system.clock import boot_id
from edgepose.system.reporter import Reporter

log = logging.getLogger(__name__)

PART_BYTES = 500_000  # of one file of the log
_MARK = b"\xe9pos"  # begins a record, so that a reader finds the next one behind damage
_HEAD = struct.Struct("<4sII")  # mark, bytes of the body, their CRC
_BODY = struct.Struct("<BQd")  # kind, number, boot clock; a message's leaf, a zero and its payload follow
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
_BOOT, _ADD, _ACKNOWLEDGE, _FORGET, _REMOVE = range(5)
_DAMAGED = -1  # no record


@dataclass(frozen=True, slots=True)
class Leftover:
    """A message that an earlier run of the daemon has left. acked_s: boot clock of its acknowledgement, or None."""

    number: int
    leaf: str
    payload: bytes
    acked_s: float | None


class SpoolMemory:
    """The log. No method raises: without the files the daemon goes on, and an alert says what a kill would cost.

    Only one thread may call at a time.

    Attributes:
        leftovers: what an earlier run has left, by number, without what was acknowledged in an earlier boot.
        damaged: number of places in the files of an earlier run that cannot be read; each was at least one message.
    """

    def __init__(self, folder: Path, reporter: Reporter, part_bytes: int = PART_BYTES) -> None:
        self._reporter, self._part_bytes = reporter, part_bytes
        self.leftovers: list[Leftover] = []
        self.damaged = 0
        self._folder = folder
        self._file: int | None = None
        self._part = self._size = 0  # of the file
        self._part_of: dict[int, int] = {}  # by number
        self._counts: Counter[int] = Counter()  # messages by part
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._load()
        except OSError as exc:
            self._report(exc)

    def add(self, number: int, leaf: str, payload: bytes) -> bool:
        """Returns True when the message is in the file."""
        if not self._append(_record(_ADD, number, 0.0, leaf.encode() + b"\0" + payload)):
            return False
        self._part_of[number] = self._part
        self._counts[self._part] += 1
        return True

    def acknowledge(self, numbers: Sequence[int], now_s: float | None) -> None:
        """now_s: boot clock; None when the broker has forgotten them."""
        kind = _FORGET if now_s is None else _ACKNOWLEDGE
        self._append(b"".join(_record(kind, number, now_s or 0.0) for number in numbers if number in self._part_of))

    def remove(self, numbers: Iterable[int]) -> None:
        known = [number for number in numbers if number in self._part_of]
        self._append(b"".join(_record(_REMOVE, number) for number in known))
        for number in known:
            part = self._part_of.pop(number)
            self._counts[part] -= 1
            if not self._counts[part] and part != self._part:
                self._delete(part)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, records: bytes) -> bool:
        """Returns True when the records are in the file."""
        if not records:
            return True
        try:
            self._write(records)
        except OSError as exc:
            self._report(exc)
            return False
        self._reporter.alert("memory", None)
        return True

    def _write(self, records: bytes) -> None:
        if self._file is None or self._size > self._part_bytes:
            self._begin_part()
        assert self._file is not None
        if not self._size:
            records = _record(_BOOT, 0, 0.0, boot_id().encode()) + records
        written = os.write(self._file, records)
        if written < len(records):
            os.ftruncate(self._file, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def _begin_part(self) -> None:
        self.close()
        self._part += 1
        self._file, self._size = os.open(self._path(self._part), _NEW_FILE, 0o600), 0
        for part in [part for part, count in self._counts.items() if not count]:
            self._delete(part)
        self._counts[self._part] = 0

    def _delete(self, part: int) -> None:
        del self._counts[part]
        with contextlib.suppress(OSError):
            self._path(part).unlink()

    def _path(self, part: int) -> Path:
        return self._folder / f"sent.{part}.log"

    def _load(self) -> None:
        """Reads what is left, and copies it into a new part before the old ones are deleted."""
        parts = sorted(int(name) for path in self._folder.glob("sent.*.log") if (name := path.name[5:-4]).isdecimal())
        found: dict[int, Leftover] = {}
        for part in parts:
            self.damaged += _replay(self._path(part), found)
        self._part = parts[-1] if parts else 0
        self.leftovers = [left for _, left in sorted(found.items()) if left.leaf in TOPICS]
        self.damaged += len(found) - len(self.leftovers)
        kept = [self.add(left.number, left.leaf, left.payload) for left in self.leftovers]
        for left in self.leftovers:
            if left.acked_s is not None:
                self.acknowledge([left.number], left.acked_s)
        if all(kept):
            for part in parts:
                self._path(part).unlink()

    def _report(self, exc: OSError) -> None:
        """Begins the alert. Its text is the same for every attempt, or each would be a new line in the daemon's log."""
        why = exc.strerror or str(exc)
        self._reporter.alert("memory", f"{self._folder}: {why}; a kill of the daemon would lose what is on its way")


def _record(kind: int, number: int, at_s: float = 0.0, rest: bytes = b"") -> bytes:
    body = _BODY.pack(kind, number, at_s) + rest
    return _HEAD.pack(_MARK, len(body), zlib.crc32(body)) + body


def _replay(path: Path, found: dict[int, Leftover]) -> int:
    """Applies the records of a part to what was found in the parts before. Returns how many places are damaged."""
    of_this_boot = False
    damaged = 0
    for kind, number, at_s, rest in _records(path):
        if kind == _DAMAGED:
            damaged += 1
        elif kind == _BOOT:
            of_this_boot = rest == boot_id().encode()
        elif kind == _ADD:
            leaf, _, payload = rest.partition(b"\0")
            found[number] = Leftover(number, leaf.decode("utf-8", "replace"), payload, None)
        elif number not in found:
            continue
        elif kind == _FORGET:
            found[number] = replace(found[number], acked_s=None)
        elif kind == _REMOVE or not of_this_boot:
            del found[number]
        else:
            found[number] = replace(found[number], acked_s=at_s)
    return damaged


def _records(path: Path) -> Iterator[tuple[int, int, float, bytes]]:
    """Yields kind, number, time and content of each record, and one of the kind `_DAMAGED` for what lies between."""
    data = path.read_bytes()
    at = end = 0  # where to search from, and where the last record ended
    while (begin := data.find(_MARK, at)) >= 0:
        with contextlib.suppress(struct.error):  # of a record that was not written to its end
            _, size, crc = _HEAD.unpack_from(data, begin)
            body = data[begin + _HEAD.size : begin + _HEAD.size + size]
            if len(body) == size >= _BODY.size and zlib.crc32(body) == crc:
                if begin > end:
                    yield _DAMAGED, 0, 0.0, b""
                yield (*_BODY.unpack_from(body), body[_BODY.size :])
                at = end = begin + _HEAD.size + size
                continue
        at = begin + len(_MARK)
    if end < len(data):
        yield _DAMAGED, 0, 0.0, b""
