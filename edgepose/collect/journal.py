"""What has come and is not in a file yet, on the disk before the broker is told that we have it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgepose.collect.streams import Stream
from edgepose.core.errors import EdgeposeError
from edgepose.core.messages import EventMessage, PoseMessage
from edgepose.delivery.database import open_database

_VERSION = 1
_SCHEMA = """
CREATE TABLE pose (device TEXT, hour INTEGER, boot TEXT, seq INTEGER, payload BLOB NOT NULL,
                   PRIMARY KEY (device, hour, boot, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE written (device TEXT, boot TEXT, first INTEGER, last INTEGER, first_frame INTEGER, last_frame INTEGER)
STRICT;
CREATE TABLE event (device TEXT, boot TEXT, event INTEGER, payload BLOB NOT NULL, PRIMARY KEY (device, boot, event))
STRICT
"""
_HOUR_US = 3_600_000_000
_decode = msgspec.msgpack.Decoder(PoseMessage).decode
_encode = msgspec.msgpack.Encoder().encode


class Journal:
    """streams: what has come, by device and boot, files included. new: whether the file is, so that whoever has older
    files tells what is in them. Raises EdgeposeError when the folder cannot be written or another collector has it."""

    def __init__(self, path: Path) -> None:
        self.streams: defaultdict[tuple[str, str], Stream] = defaultdict(Stream)
        self.new = not path.exists()
        self._path = path
        try:
            self._database = open_database(path, _VERSION, _SCHEMA, "synchronous = FULL")
            self._load()
        except (OSError, sqlite3.Error) as exc:
            why = "another collector uses it; give each its own folder" if "locked" in str(exc) else exc
            raise EdgeposeError(f"{path}: cannot use the journal ({why})") from None

    def _load(self) -> None:
        for device, boot, *ends in self._database.execute("SELECT * FROM written"):
            self.streams[device, boot].add_range(*ends)
        for device, boot, payload in self._database.execute("SELECT device, boot, payload FROM pose"):
            pose = _decode(payload)
            self.streams[device, boot].add(pose.seq, pose.frame)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """On the disk when it ends. Raises EdgeposeError, and then nothing of it is kept."""
        try:
            with self._database:  # ends what BEGIN began, also after an error
                self._database.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as exc:
            raise EdgeposeError(f"{self._path}: cannot write ({exc}); make room and start again") from None

    def add(self, pose: PoseMessage) -> bool:
        """False for one that has come before."""
        if not self.streams[pose.device, pose.boot].add(pose.seq, pose.frame):
            return False
        row = (pose.device, pose.t_us // _HOUR_US, pose.boot, pose.seq, _encode(pose))
        self._database.execute("INSERT OR IGNORE INTO pose VALUES (?, ?, ?, ?, ?)", row)
        return True

    def add_event(self, event: EventMessage) -> bool:
        """False for one that has come before."""
        row = (event.device, event.boot, event.event, _encode(event))
        return self._database.execute("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?)", row).rowcount > 0

    def hours(self) -> list[tuple[str, int]]:
        """Device and hour (since 1970) of what waits for its file."""
        return self._database.execute("SELECT DISTINCT device, hour FROM pose").fetchall()

    def poses(self, device: str, hour: int) -> Iterator[PoseMessage]:
        rows = self._database.execute(
            "SELECT payload FROM pose WHERE device = ? AND hour = ? ORDER BY boot, seq", (device, hour)
        )
        return (_decode(row[0]) for row in rows)

    def events(self, device: str) -> list[EventMessage]:
        rows = self._database.execute("SELECT payload FROM event WHERE device = ? ORDER BY boot, event", (device,))
        return [msgspec.msgpack.decode(row[0], type=EventMessage) for row in rows]

    def done(self, device: str, hour: int) -> None:
        """Its file is complete."""
        own = {boot: stream for (of, boot), stream in self.streams.items() if of == device}
        rows = [(device, boot, *ends) for boot, stream in own.items() for ends in stream.ranges()]
        with self.transaction():
            self._database.execute("DELETE FROM pose WHERE device = ? AND hour = ?", (device, hour))
            self._database.execute("DELETE FROM written WHERE device = ?", (device,))
            self._database.executemany("INSERT INTO written VALUES (?, ?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        self._database.close()
