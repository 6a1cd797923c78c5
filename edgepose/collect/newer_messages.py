"""Keeps messages that only a newer version of edgepose can read in the collector's journal, as they came. A later
version reads them from there."""

from __future__ import annotations

import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

NEWER_BYTES = 100_000_000  # that are kept, for each device
ROW_BYTES = 100  # that a message takes in the file beside its payload, about
NEWER_SCHEMA = """
CREATE TABLE newer (id INTEGER PRIMARY KEY, device TEXT NOT NULL, version INTEGER NOT NULL, leaf TEXT NOT NULL,
                    payload BLOB NOT NULL) STRICT; -- compressed
CREATE INDEX newer_of_device ON newer (device, id)
"""
_COUNT = """
SELECT device, MAX(version), COUNT(*), SUM(LENGTH(payload) + ?) FROM newer GROUP BY device
"""
_INSERT = "INSERT INTO newer (device, version, leaf, payload) VALUES (?, ?, ?, ?)"
_READ = "SELECT id, device, version, leaf, payload FROM newer WHERE id > ? AND version <= ? ORDER BY id LIMIT 100"
_DELETE = "DELETE FROM newer WHERE id = ? RETURNING device, LENGTH(payload)"


class NewerMessage(NamedTuple):
    """A message as it has come, of a version that only a later edgepose can read."""

    device: str
    version: int
    leaf: str
    payload: bytes


class NewerMessages:
    """The table of these messages. Every method raises sqlite3.Error, and whoever calls has begun a transaction.

    Attributes:
        kept: number of messages in the table, by device.
        versions: the newest version among a device's messages, by device.
        dropped: number of messages that were dropped since the start, by device: the oldest of each device, where all
            of its messages take more than the bound.
    """

    def __init__(self, database: sqlite3.Connection, most_bytes: int = NEWER_BYTES) -> None:
        """database: has the table. most_bytes: bound of what is kept, for each device."""
        self.kept: Counter[str] = Counter()
        self.versions: dict[str, int] = {}
        self.dropped: Counter[str] = Counter()
        self._database, self._most_bytes = database, most_bytes
        self._bytes: Counter[str] = Counter()  # by device
        for device, version, messages, size in database.execute(_COUNT, (ROW_BYTES,)):
            self.kept[device], self.versions[device], self._bytes[device] = messages, version, size

    def add(self, messages: Iterable[NewerMessage]) -> None:
        for device, version, leaf, payload in messages:
            packed = zlib.compress(payload, 1)
            self._database.execute(_INSERT, (device, version, leaf, packed))
            self.kept[device] += 1
            self.versions[device] = max(version, self.versions.get(device, 0))
            self._bytes[device] += len(packed) + ROW_BYTES
            while self._bytes[device] > self._most_bytes:
                self._remove(self._oldest(device))
                self.dropped[device] += 1

    def behind(self, row: int, version: int) -> list[tuple[int, NewerMessage]]:
        """Returns the next messages up to a version behind a row, oldest first, each with its row: a hundred at most.

        A message that is damaged has an empty payload.
        """
        return [
            (number, NewerMessage(device, version, leaf, _unpacked(payload)))
            for number, device, version, leaf, payload in self._database.execute(_READ, (row, version)).fetchall()
        ]

    def remove(self, rows: Iterable[int]) -> None:
        for row in rows:
            self._remove(row)
        self.kept += Counter()  # without those of which nothing is left

    def _oldest(self, device: str) -> int:
        found: int = self._database.execute("SELECT MIN(id) FROM newer WHERE device = ?", (device,)).fetchone()[0]
        return found

    def _remove(self, row: int) -> None:
        ((device, size),) = self._database.execute(_DELETE, (row,)).fetchall()
        self.kept[device] -= 1
        self._bytes[device] -= size + ROW_BYTES


def _unpacked(payload: bytes) -> bytes:
    try:
        return zlib.decompress(payload)
    except zlib.error:
        return b""
