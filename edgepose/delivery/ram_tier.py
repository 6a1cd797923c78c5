"""What is on its way to the broker, in memory-backed storage: it outlives the daemon, costs the SD card nothing, and
ends with the boot. Acknowledged messages stay a while, because a broker that is killed forgets what it acknowledged."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepose.clock import boot_id
from edgepose.core.messages import TOPICS
from edgepose.delivery.database import is_damage, open_database, set_aside

log = logging.getLogger(__name__)

_VERSION = 1
_SCHEMA = """
CREATE TABLE message (id INTEGER PRIMARY KEY, boot TEXT NOT NULL, leaf TEXT NOT NULL, payload BLOB NOT NULL,
                      acked_s REAL) STRICT
"""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A message that an earlier run of the daemon left. acked_s: boot clock of its acknowledgement, None without."""

    number: int
    leaf: str
    payload: bytes
    acked_s: float | None


class RamTier:
    """Never raises: without its file the daemon goes on, and `trouble` says what a kill would cost. Callers take
    turns."""

    def __init__(self, path: Path) -> None:
        self.trouble = ""
        self.leftovers: list[Leftover] = []
        self._path = path
        self._database: sqlite3.Connection | None = None
        try:
            self._database = open_database(path, _VERSION, _SCHEMA, "synchronous = OFF")
        except (OSError, sqlite3.Error) as exc:
            self._tell(exc)
        self._try(self._load)

    def add(self, number: int, leaf: str, payload: bytes) -> None:
        self._try(
            lambda db: db.execute("INSERT INTO message VALUES (?, ?, ?, ?, NULL)", (number, boot_id(), leaf, payload))
        )

    def acknowledge(self, numbers: Sequence[int], now_s: float | None) -> None:
        """now_s: boot clock; None: the broker has forgotten them."""
        rows = [(now_s, number) for number in numbers]
        self._many("UPDATE message SET acked_s = ? WHERE id = ?", rows)

    def remove(self, numbers: Iterable[int]) -> None:
        self._many("DELETE FROM message WHERE id = ?", [(number,) for number in numbers])

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _load(self, database: sqlite3.Connection) -> None:
        """Of another boot, when the folder was not in memory after all, only what nobody acknowledged is of use."""
        database.execute("DELETE FROM message WHERE boot != ? AND acked_s IS NOT NULL", (boot_id(),))
        rows = database.execute("SELECT id, leaf, payload, acked_s FROM message ORDER BY id").fetchall()
        self.leftovers = [Leftover(*row) for row in rows if row[1] in TOPICS]

    def _many(self, statement: str, rows: Sequence[tuple[float | None, ...]]) -> None:
        if not rows:
            return
        if len(rows) == 1:
            self._try(lambda db: db.execute(statement, rows[0]))
            return

        def together(database: sqlite3.Connection) -> None:
            with database:  # ends what BEGIN began, also after an error
                database.execute("BEGIN")
                database.executemany(statement, rows)

        self._try(together)

    def _try(self, action: Callable[[sqlite3.Connection], object]) -> None:
        if self._database is None:
            return
        try:
            action(self._database)
            self.trouble = ""
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            self._tell(exc)
            if is_damage(exc):  # otherwise it is full, and the next message may find room again
                self._begin_anew(str(exc))

    def _begin_anew(self, why: str) -> None:
        self.close()
        try:
            set_aside(self._path, why)
            self._database = open_database(self._path, _VERSION, _SCHEMA, "synchronous = OFF")
        except (OSError, sqlite3.Error) as exc:
            self._tell(exc)

    def _tell(self, exc: Exception) -> None:
        if not self.trouble:
            log.warning("%s: %s; a kill of the daemon would lose what is on its way", self._path, exc)
        self.trouble = f"{self._path}: {exc}"
