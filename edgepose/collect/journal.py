"""Keeps what has come and is not in a file yet. It is on the disk before the broker gets our acknowledgement."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgepose.collect.hours import is_folder_name
from edgepose.collect.newer_messages import NEWER_BYTES, NEWER_SCHEMA, NewerMessage, NewerMessages
from edgepose.collect.streams import SeqRun
from edgepose.errors import EdgeposeError
from edgepose.protocol.codec import encode
from edgepose.protocol.messages import BatchMessage, EventMessage, PoseMessage
from edgepose.protocol.topics import TOPICS
from edgepose.protocol.versions import NewerVersionError, UnreadableMessageError, read_message
from edgepose.system.database import is_damage, open_database, set_aside_versions, sound_version

log = logging.getLogger(__name__)

Hour = tuple[str, int]  # device, and hours since 1970, UTC

_VERSION = 4  # an edgepose that cannot read messages of version 2 must not open it: it would give them up
_SCHEMA = f"""{NEWER_SCHEMA};
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
_TAKE_UP = """
INSERT INTO message (device, hour, leaf, payload) SELECT device, hour, leaf, payload FROM other.message ORDER BY id;
INSERT OR IGNORE INTO event SELECT * FROM other.event;
INSERT OR IGNORE INTO stale SELECT * FROM other.stale;
INSERT INTO newer (device, version, leaf, payload) SELECT device, version, leaf, payload FROM other.newer ORDER BY id;
INSERT INTO written (device, hour) SELECT DISTINCT device, hour FROM other.written
WHERE (device, hour) NOT IN (SELECT device, hour FROM written)
"""
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


def _open(path: Path) -> sqlite3.Connection:
    return open_database(path, _VERSION, _SCHEMA, "synchronous = FULL", _CHECKPOINT, migrations={3: NEWER_SCHEMA})


def _journals_beside(path: Path) -> dict[Path, int]:
    """Returns the journals that another version of edgepose has set aside, each with its version.

    Edgepose 0.1.0 called every other version damaged.
    """
    damaged = {file: sound_version(file) for file in sorted(path.parent.glob(f"{path.name}.damaged.*"))}
    return set_aside_versions(path) | {file: version for file, version in damaged.items() if version is not None}


class Journal:
    """Messages and events that wait for their file, which poses are in which file, and which files are to be written
    again because their tags have changed (`stale`).

    Every method raises EdgeposeError when the disk cannot be used.

    Attributes:
        newer: messages that only a newer version of edgepose can read.
    """

    def __init__(self, path: Path, free_pages: int = FREE_PAGES, newer_bytes: int = NEWER_BYTES) -> None:
        """Raises EdgeposeError also when another collector uses the file.

        free_pages: pages that may be unused. newer_bytes: bound of what is kept of newer versions, for each device.
        """
        self._path, self._free_pages = path, free_pages
        try:
            self._database = _open(path)
            for file, version in _journals_beside(path).items():
                self._take_up(file, version)
            self.newer = NewerMessages(self._database, newer_bytes)
        except (OSError, sqlite3.Error) as exc:
            why = "a collector uses it; give each its own folder" if "locked" in str(exc) else exc
            raise EdgeposeError(f"{path}: cannot use the journal ({why})") from None

    def _take_up(self, file: Path, version: int) -> None:
        """Takes over a journal that another version of edgepose has set aside, or reports one of a newer version."""
        if version > _VERSION:
            log.warning("%s: only a newer edgepose can read what a collector has left here; upgrade edgepose", file)
            return
        try:
            _open(file).close()  # brings it to our version
            self._database.execute("ATTACH ? AS other", (str(file),))
            try:
                with self._database:
                    self._database.execute("BEGIN IMMEDIATE")
                    for statement in _TAKE_UP.split(";"):
                        self._database.execute(statement)
            finally:
                self._database.execute("DETACH other")
        except sqlite3.Error as exc:
            log.warning("%s: cannot be added to the journal (%s); the next start tries it again", file, exc)
            return
        file.unlink()
        log.info("%s: added what was in %s", self._path, file.name)

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

    def write(
        self,
        arrivals: Iterable[Arrival],
        events: Iterable[EventMessage] = (),
        newer: Sequence[NewerMessage] = (),
    ) -> None:
        """Adds what has come; it is on the disk when this returns."""
        messages = [(one.device, one.hour, one.leaf, zlib.compress(one.payload, 1)) for one in arrivals]
        rows = [(one.device, one.boot, one.event, encode(one)) for one in events]
        with self._transaction() as database:
            database.executemany("INSERT INTO message (device, hour, leaf, payload) VALUES (?, ?, ?, ?)", messages)
            database.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?)", rows)
            self.newer.add(newer)

    def newer_messages(self, behind: int = 0, version: int = sys.maxsize) -> list[tuple[int, NewerMessage]]:
        """Returns the next messages that were kept, up to a version, behind a row, each with its row."""
        with self._transaction():
            return self.newer.behind(behind, version)

    def remove_newer(self, rows: Iterable[int]) -> None:
        """Removes messages that can be read now and lie elsewhere."""
        with self._transaction():
            self.newer.remove(rows)

    # --- what waits ------------------------------------------------------------------------------------------

    def hours(self) -> list[Hour]:
        """Returns the hours that wait for their file, or are to be written again."""
        query = "SELECT device, hour FROM message UNION SELECT device, hour FROM stale"
        return [(device, hour) for device, hour in self._read(query) if is_folder_name(device)]

    def poses(self, device: str, hour: int) -> Iterator[PoseMessage]:
        """Yields the poses that wait, in the order in which they came; one that came twice is there twice."""
        query = "SELECT id, leaf, payload FROM message WHERE device = ? AND hour = ? ORDER BY id"
        for row, leaf, payload in self._read(query, (device, hour)):
            try:
                found = read_message(zlib.decompress(payload), TOPICS[leaf].payload)
            except NewerVersionError as exc:  # a newer collector has used this folder before
                self._keep(row, NewerMessage(device, exc.version, leaf, zlib.decompress(payload)))
                continue
            except (zlib.error, UnreadableMessageError, KeyError) as exc:
                log.warning("%s: a message of %s cannot be read and is lost (%s)", self._path, device, exc)
                continue
            for pose in found.poses if isinstance(found, BatchMessage) else [found]:
                if isinstance(pose, PoseMessage) and pose.device == device and hour_of(pose) == hour:
                    yield pose

    def _keep(self, row: int, message: NewerMessage) -> None:
        """Keeps a message that waits for its hour, because the hour is written without it."""
        with self._transaction() as database:
            database.execute("DELETE FROM message WHERE id = ?", (row,))
            self.newer.add([message])

    def devices_with_events(self) -> list[str]:
        """Returns the devices that have events which wait for their file."""
        return [device for (device,) in self._read("SELECT DISTINCT device FROM event") if is_folder_name(device)]

    def events(self, device: str) -> list[EventMessage]:
        """Returns the events that wait for the device's file."""
        found = []
        query = "SELECT rowid, payload FROM event WHERE device = ? ORDER BY boot, event"
        for row, payload in self._read(query, (device,)):
            try:
                event = read_message(payload, EventMessage)
                found += [event] if event.device == device else []
            except NewerVersionError as exc:
                with self._transaction() as database:
                    database.execute("DELETE FROM event WHERE rowid = ?", (row,))
                    self.newer.add([NewerMessage(device, exc.version, "event", payload)])
            except UnreadableMessageError as exc:
                log.warning("%s: an event of %s cannot be read and is lost (%s)", self._path, device, exc)
        return found

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
