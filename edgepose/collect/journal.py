"""What has come and is not in a file yet. It is on the disk before the broker gets our acknowledgement."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgepose.collect.streams import SeqRun
from edgepose.errors import EdgeposeError
from edgepose.protocol.messages import BatchMessage, EventMessage, PoseMessage
from edgepose.protocol.topics import TOPICS
from edgepose.protocol.versions import UnreadableMessageError, read_message
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
_CHECKPOINT = "wal_autocheckpoint = 10000"  # pages; a fleet would fill the 4 MB of the default several times a second
FREE_PAGES = 10_000  # that may be unused in the file: 40 MB
_PAGES_A_TIME = 1_000


class Arrival(NamedTuple):
    """A message as it has come, for one of the hours that its poses belong to."""

    device: str
    hour: int
    leaf: str
    payload: bytes


def hour_of(pose: PoseMessage) -> int:
    return pose.t_us // 3_600_000_000


class Journal:
    """Messages and events that wait for their file, which poses are in which file, and which files are to be written
    again because their tags have changed (`stale`).

    Every method raises EdgeposeError when the disk cannot be used.
    """

    def __init__(self, path: Path, free_pages: int = FREE_PAGES) -> None:
        """Raises EdgeposeError also when another collector uses the file. free_pages: pages that may be unused."""
        self._path, self._free_pages = path, free_pages
        try:
            self._database = open_database(path, _VERSION, _SCHEMA, "synchronous = FULL", _CHECKPOINT)
        except (OSError, sqlite3.Error) as exc:
            why = "a collector uses it; give each its own folder" if "locked" in str(exc) else exc
            raise EdgeposeError(f"{path}: cannot use the journal ({why})") from None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """At the end everything is on the disk, or nothing."""
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
        remedy = "start again, which renames it and begins a new one" if is_damage(exc) else "make room and start again"
        return EdgeposeError(f"{self._path}: cannot use the journal ({exc}); {remedy}")

    def write(self, arrivals: Iterable[Arrival], events: Iterable[EventMessage] = ()) -> None:
        """Adds what has come; it is on the disk when this returns."""
        messages = [(one.device, one.hour, one.leaf, zlib.compress(one.payload, 1)) for one in arrivals]
        rows = [(one.device, one.boot, one.event, msgspec.msgpack.encode(one)) for one in events]
        with self._transaction() as database:
            database.executemany("INSERT INTO message (device, hour, leaf, payload) VALUES (?, ?, ?, ?)", messages)
            database.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?)", rows)

    # --- what waits ------------------------------------------------------------------------------------------

    def hours(self) -> list[Hour]:
        """Returns the hours that wait for their file, or are to be written again."""
        return [(d, h) for d, h in self._read("SELECT device, hour FROM message UNION SELECT device, hour FROM stale")]

    def poses(self, device: str, hour: int) -> Iterator[PoseMessage]:
        """Yields the poses that wait, in the order in which they came; one that came twice is there twice."""
        query = "SELECT leaf, payload FROM message WHERE device = ? AND hour = ? ORDER BY id"
        for leaf, payload in self._read(query, (device, hour)):
            try:
                found = read_message(zlib.decompress(payload), TOPICS[leaf].payload)
            except (zlib.error, UnreadableMessageError, KeyError) as exc:
                log.warning("%s: a message of %s cannot be read and is lost (%s)", self._path, device, exc)
                continue
            for pose in found.poses if isinstance(found, BatchMessage) else [found]:
                if isinstance(pose, PoseMessage) and pose.device == device and hour_of(pose) == hour:
                    yield pose

    def devices_with_events(self) -> list[str]:
        """Returns the devices that have events which wait for their file."""
        return [device for (device,) in self._read("SELECT DISTINCT device FROM event")]

    def events(self, device: str) -> list[EventMessage]:
        """Returns the events that wait for the device's file."""
        rows = self._read("SELECT payload FROM event WHERE device = ? ORDER BY boot, event", (device,))
        return [read_message(payload, EventMessage) for (payload,) in rows]

    # --- what lies in files ----------------------------------------------------------------------------------

    def written(self) -> list[tuple[str, SeqRun]]:
        """Returns (device, run) of all poses that are in files."""
        rows = self._read("SELECT device, boot, first, last, first_frame, last_frame FROM written WHERE boot NOTNULL")
        return [(device, SeqRun(*run)) for device, *run in rows]

    def unknown(self) -> list[Hour]:
        """Returns the hours whose files have not been read yet."""
        return [(d, h) for d, h in self._read("SELECT device, hour FROM written WHERE boot ISNULL")]

    def is_new(self) -> bool:
        """Returns True when no file is known."""
        return not self._read("SELECT 1 FROM written LIMIT 1")

    def overlapping(self, device: str, boot: str, first: int, end: int) -> list[int]:
        """Returns the hours whose files have poses of a boot with first <= seq < end."""
        query = "SELECT DISTINCT hour FROM written WHERE device = ? AND boot = ? AND last >= ? AND first < ?"
        return [hour for (hour,) in self._read(query, (device, boot, first, end))]

    def add_unknown(self, hours: Iterable[Hour]) -> None:
        """Adds hours whose files are there, but have not been read yet."""
        with self._transaction() as database:
            database.executemany("INSERT INTO written (device, hour) VALUES (?, ?)", hours)

    def learn(self, device: str, hour: int, runs: Iterable[SeqRun]) -> None:
        """Notes which poses are in the file of an hour."""
        with self._transaction() as database:
            self._learn(database, device, hour, runs)

    def settle(self, device: str, hour: int, runs: Iterable[SeqRun] | None) -> None:
        """The file of an hour is complete, so nothing of it waits any more.

        runs: what is in the file, or None when that is not needed.
        """
        with self._transaction() as database:
            for table in ("message", "stale"):
                database.execute(f"DELETE FROM {table} WHERE device = ? AND hour = ?", (device, hour))  # noqa: S608
            self._learn(database, device, hour, runs or ())
            if runs is None:
                database.execute("INSERT INTO written (device, hour) VALUES (?, ?)", (device, hour))
        self._shrink()

    def forget_stale(self, device: str, hour: int) -> None:
        """The file of an hour that was to be written again is not there any more."""
        with self._transaction() as database:
            database.execute("DELETE FROM stale WHERE device = ? AND hour = ?", (device, hour))

    def _learn(self, database: sqlite3.Connection, device: str, hour: int, runs: Iterable[SeqRun]) -> None:
        database.execute("DELETE FROM written WHERE device = ? AND hour = ?", (device, hour))
        rows = [(device, hour, *run) for run in runs]
        database.executemany("INSERT INTO written VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def add_stale(self, device: str, hours: Iterable[int]) -> None:
        """Adds hours whose files are to be written again."""
        with self._transaction() as database:
            database.executemany("INSERT OR IGNORE INTO stale VALUES (?, ?)", [(device, hour) for hour in hours])

    def events_written(self, device: str) -> None:
        """The events of a device are in its file."""
        with self._transaction() as database:
            database.execute("DELETE FROM event WHERE device = ?", (device,))

    def _shrink(self) -> None:
        """Makes the file smaller, a little at a time, when most of it is unused after a flood of messages."""
        free, pages = (self._read(f"PRAGMA {name}")[0][0] for name in ("freelist_count", "page_count"))
        if free > max(self._free_pages, pages / 2):
            # A script, because the rows of this statement have no columns: `execute` would stop after the first.
            self._database.executescript(f"PRAGMA incremental_vacuum({_PAGES_A_TIME})")

    def close(self) -> None:
        self._database.close()
