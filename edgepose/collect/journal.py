"""What has come and is not in a file yet, on the disk before the broker is told that we have it."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgepose.collect.streams import Run
from edgepose.errors import EdgeposeError
from edgepose.protocol.codec import as_json, decode
from edgepose.protocol.messages import BatchMessage, EventMessage, PoseMessage
from edgepose.protocol.topics import TOPICS
from edgepose.system.database import is_damage, open_database

log = logging.getLogger(__name__)

Hour = tuple[str, int]  # device, and hours since 1970, UTC

_VERSION = 3
_SCHEMA = """
CREATE TABLE message (id INTEGER PRIMARY KEY, device TEXT NOT NULL, hour INTEGER NOT NULL, leaf TEXT NOT NULL,
                      payload BLOB NOT NULL) STRICT; -- compressed: at a fleet's pace the disk is what gives out
CREATE INDEX message_of_hour ON message (device, hour);
CREATE TABLE event (device TEXT, boot TEXT, event INTEGER, payload BLOB NOT NULL, PRIMARY KEY (device, boot, event))
STRICT;
CREATE TABLE written (device TEXT NOT NULL, hour INTEGER NOT NULL, boot TEXT, first INTEGER, last INTEGER,
                      first_frame INTEGER, last_frame INTEGER) STRICT;
CREATE INDEX written_of_hour ON written (device, hour);
CREATE TABLE stale (device TEXT, hour INTEGER, PRIMARY KEY (device, hour)) STRICT
"""
_CHECKPOINT = "wal_autocheckpoint = 10000"  # pages: a fleet fills the default's 4 MB several times a second
_FREE_PAGES = 10_000  # 40 MB that may lie idle in the file
_PAGES_A_TIME = 1_000


class Arrival(NamedTuple):
    """A message as it came, for one of the hours that its poses belong to."""

    device: str
    hour: int
    leaf: str
    payload: bytes


def hour_of(pose: PoseMessage) -> int:
    return pose.t_us // 3_600_000_000


class Journal:
    """Messages and events that wait for their file; what lies in which file (`written`), or that nobody knows; which
    files have to be written anew (`stale`). Raises EdgeposeError, here and in every method, when the disk cannot be
    used or another collector has the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._database = open_database(path, _VERSION, _SCHEMA, "synchronous = FULL", _CHECKPOINT)
        except (OSError, sqlite3.Error) as exc:
            why = "a collector uses it; give each its own folder" if "locked" in str(exc) else exc
            raise EdgeposeError(f"{path}: cannot use the journal ({why})") from None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """On the disk when it ends, or nothing of it."""
        try:
            with self._database:  # ends what BEGIN began, also after an error
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
        except sqlite3.Error as exc:
            raise self._error(exc) from None

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.Error as exc:
            raise self._error(exc) from None

    def _error(self, exc: sqlite3.Error) -> EdgeposeError:
        remedy = "start again, which sets it aside" if is_damage(exc) else "make room and start again"
        return EdgeposeError(f"{self._path}: cannot use the journal ({exc}); {remedy}")

    def write(self, arrivals: Iterable[Arrival], events: Iterable[EventMessage] = ()) -> None:
        """On the disk when it returns."""
        messages = [(one.device, one.hour, one.leaf, zlib.compress(one.payload, 1)) for one in arrivals]
        rows = [(one.device, one.boot, one.event, msgspec.msgpack.encode(one)) for one in events]
        with self._transaction() as database:
            database.executemany("INSERT INTO message (device, hour, leaf, payload) VALUES (?, ?, ?, ?)", messages)
            database.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?)", rows)

    # --- what waits ------------------------------------------------------------------------------------------

    def hours(self) -> list[Hour]:
        """That wait for their file, or have to be written anew."""
        return [(d, h) for d, h in self._read("SELECT device, hour FROM message UNION SELECT device, hour FROM stale")]

    def poses(self, device: str, hour: int) -> Iterator[PoseMessage]:
        """That wait, in the order in which they came; one that came twice is there twice."""
        query = "SELECT leaf, payload FROM message WHERE device = ? AND hour = ? ORDER BY id"
        for leaf, payload in self._read(query, (device, hour)):
            try:
                found = decode(as_json(zlib.decompress(payload)), TOPICS[leaf].payload)
            except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, KeyError) as exc:  # of an earlier edgepose
                log.warning("%s: gives up a message of %s that it can no longer read (%s)", self._path, device, exc)
                continue
            for pose in found.poses if isinstance(found, BatchMessage) else [found]:
                if isinstance(pose, PoseMessage) and pose.device == device and hour_of(pose) == hour:
                    yield pose

    def talkers(self) -> list[str]:
        """Devices with events that wait for their file."""
        return [device for (device,) in self._read("SELECT DISTINCT device FROM event")]

    def events(self, device: str) -> list[EventMessage]:
        rows = self._read("SELECT payload FROM event WHERE device = ? ORDER BY boot, event", (device,))
        return [msgspec.msgpack.decode(payload, type=EventMessage) for (payload,) in rows]

    # --- what lies in files ----------------------------------------------------------------------------------

    def written(self) -> list[tuple[str, Run]]:
        """With their devices."""
        rows = self._read("SELECT device, boot, first, last, first_frame, last_frame FROM written WHERE boot NOTNULL")
        return [(device, Run(*run)) for device, *run in rows]

    def unknown(self) -> list[Hour]:
        """Files whose contents nobody knows."""
        return [(d, h) for d, h in self._read("SELECT device, hour FROM written WHERE boot ISNULL")]

    def is_new(self) -> bool:
        """Knows of no file."""
        return not self._read("SELECT 1 FROM written LIMIT 1")

    def overlapping(self, device: str, boot: str, first: int, end: int) -> list[int]:
        """Hours whose files have poses of a boot from seq `first` on, up to but not with `end`."""
        query = "SELECT DISTINCT hour FROM written WHERE device = ? AND boot = ? AND last >= ? AND first < ?"
        return [hour for (hour,) in self._read(query, (device, boot, first, end))]

    def add_unknown(self, hours: Iterable[Hour]) -> None:
        with self._transaction() as database:
            database.executemany("INSERT INTO written (device, hour) VALUES (?, ?)", hours)

    def learn(self, device: str, hour: int, runs: Iterable[Run]) -> None:
        """What an older file holds."""
        with self._transaction() as database:
            self._learn(database, device, hour, runs)

    def settle(self, device: str, hour: int, runs: Iterable[Run] | None) -> None:
        """Nothing of it waits any more: its file is complete, and holds `runs`. None: nobody needs to know."""
        with self._transaction() as database:
            for table in ("message", "stale"):
                database.execute(f"DELETE FROM {table} WHERE device = ? AND hour = ?", (device, hour))  # noqa: S608
            self._learn(database, device, hour, runs or ())
            if runs is None:
                database.execute("INSERT INTO written (device, hour) VALUES (?, ?)", (device, hour))
        self._give_back()

    def forget_stale(self, device: str, hour: int) -> None:
        """Its file has been taken away."""
        with self._transaction() as database:
            database.execute("DELETE FROM stale WHERE device = ? AND hour = ?", (device, hour))

    def _learn(self, database: sqlite3.Connection, device: str, hour: int, runs: Iterable[Run]) -> None:
        database.execute("DELETE FROM written WHERE device = ? AND hour = ?", (device, hour))
        rows = [(device, hour, *run) for run in runs]
        database.executemany("INSERT INTO written VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def add_stale(self, device: str, hours: Iterable[int]) -> None:
        """That have to be written anew."""
        with self._transaction() as database:
            database.executemany("INSERT OR IGNORE INTO stale VALUES (?, ?)", [(device, hour) for hour in hours])

    def events_written(self, device: str) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM event WHERE device = ?", (device,))

    def _give_back(self) -> None:
        """To the disk, little by little, what a flood has left behind."""
        free, pages = (self._read(f"PRAGMA {name}")[0][0] for name in ("freelist_count", "page_count"))
        if free > max(_FREE_PAGES, pages / 2):
            # A script, because its rows have no columns, and `execute` takes it to be done after the first.
            self._database.executescript(f"PRAGMA incremental_vacuum({_PAGES_A_TIME})")

    def close(self) -> None:
        self._database.close()
