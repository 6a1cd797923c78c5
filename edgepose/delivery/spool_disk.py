"""Keeps batches of poses in a bounded SQLite file that survives a power cut.

It is written only while the broker is slow or away.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from edgepose.delivery.batching import Batch
from edgepose.protocol.codec import as_json, device_of
from edgepose.protocol.topics import TOPICS
from edgepose.system.clock import boot_id, boot_us, wall_us
from edgepose.system.database import is_damage, move_database, open_database, set_aside, set_aside_versions
from edgepose.system.wording import count

log = logging.getLogger(__name__)

_VERSION = 1
# A later version keeps the table `batch` with its column `poses`, because this one counts what it cannot read.
_SCHEMA = """
CREATE TABLE batch (id INTEGER PRIMARY KEY, leaf TEXT NOT NULL, poses INTEGER NOT NULL, boot TEXT NOT NULL,
                    boot_s REAL NOT NULL, wall_s REAL NOT NULL, synced INTEGER NOT NULL, refused TEXT,
                    payload BLOB NOT NULL) STRICT;
CREATE INDEX set_aside ON batch (id) WHERE refused IS NOT NULL;
CREATE INDEX counts ON batch (poses, refused)
"""  # the index `counts` saves reading all of the file; if it began with `refused`, SQLite would choose it for _ROWS
_COUNTS = "SELECT refused, SUM(poses) FROM batch GROUP BY refused"
_INSERT = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_TAKE_UP = """
INSERT INTO batch
SELECT ? + ROW_NUMBER() OVER (ORDER BY id), leaf, poses, boot, boot_s, wall_s, synced, refused, payload FROM other.batch
ORDER BY id
"""
_ROWS = "SELECT id FROM batch WHERE id > ? AND refused IS NULL ORDER BY id LIMIT 100"
_REFUSED = "SELECT id, poses, refused FROM batch WHERE refused IS NOT NULL ORDER BY id LIMIT ?"
_AGES = """
SELECT id, poses, boot = ?, boot_s < ?, synced AND ? AND wall_s < ? FROM batch ORDER BY id LIMIT 1000
"""
_SIZES = "SELECT id, poses, LENGTH(payload) FROM batch"
_LOW_WATER = 0.98  # of the bound: so much is left when something has to be dropped
_PAGES_A_TIME = 1000  # given back to the disk at once
_SLACK_BYTES = 1e6  # free pages that are kept for what comes next


class SpoolDiskError(Exception):
    """The disk cannot be used now; the message is for the operator."""


def spools_set_aside(path: Path) -> dict[Path, int]:
    """Returns the files that wait beside a spool for a newer version of edgepose, and the number of poses in each."""
    return {file: count_poses(file) for file, version in set_aside_versions(path).items() if version > _VERSION}


def hand_over(path: Path, target: Path) -> None:
    """Moves a spool that is closed, and what is set aside beside it, to another one, which takes it up when it is
    opened. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for file, version in {path: _VERSION, **set_aside_versions(path)}.items():
        if file.exists():
            move_database(file, target.parent, f"{target.name}.v{version}")


def count_poses(path: Path) -> int:
    """Returns the number of poses in a spool that nobody has open; 0 where it cannot be read. Nothing is changed."""
    how = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"  # which would not read the log
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?{how}", timeout=0.2, uri=True)) as database:
            return int(database.execute("SELECT COALESCE(SUM(poses), 0) FROM batch").fetchone()[0])
    except (sqlite3.Error, UnicodeDecodeError):
        return 0


class SpoolDisk:
    """The file, for one thread.

    Every method but `room` and `close` raises SpoolDiskError while the disk is full, gone or read-only; after a pause
    it is tried again.

    Attributes:
        poses: number of poses in the file that are not refused.
        refused: number of poses that the broker has refused, by reason.
        damaged: number of poses that could not be read, since the start.
        set_aside: number of poses in files beside this one that only another version of edgepose can read, by file.
        used_bytes: size of the pages in use.
    """

    def __init__(self, path: Path, max_bytes: float, max_age_s: float, reopen_s: float = 10.0) -> None:
        """reopen_s: time between attempts to use a disk that failed."""
        self.poses = self.damaged = 0
        self.refused: Counter[str] = Counter()
        self.set_aside: dict[Path, int] = {}
        self.used_bytes = self._free_bytes = 0
        self._next = 1
        self._path, self._max_bytes, self._max_age_s, self._reopen_s = path, max_bytes, max_age_s, reopen_s
        self._database: sqlite3.Connection | None = None
        self._closed_until = 0.0
        self._why = ""

    def room(self) -> bool:
        return self.used_bytes < self._max_bytes

    def append(self, batches: Sequence[Batch], synced: bool, refused: str | None = None) -> None:
        """Writes batches, which are on the disk when this returns, and sets their rows.

        synced: whether the wall clock is synchronised. refused: the reason, for what the broker has refused.
        """
        made = (boot_id(), boot_us() / 1e6, wall_us() / 1e6, synced, refused)
        with self._transaction() as database:
            rows = range(self._next, self._next + len(batches))
            database.executemany(
                _INSERT,
                (
                    (row, batch.leaf, batch.poses, *made, zlib.compress(batch.payload, 1))
                    for row, batch in zip(rows, batches, strict=True)
                ),
            )
        self._next += len(batches)
        for batch, row in zip(batches, rows, strict=True):
            batch.rows[row] = batch.poses
        self._count(refused, sum(batch.poses for batch in batches))
        self._measure()

    def rows(self, after: int) -> list[int]:
        """Returns the rows after row `after` that were not refused, oldest first, a hundred at most."""
        with self._guarded() as database:
            found = database.execute(_ROWS, (after,)).fetchall()
        return [row[0] for row in found]

    def read(self, row: int) -> Batch | None:
        """Returns None for a row that is gone, or damaged and therefore removed."""
        with self._guarded() as database:
            found = database.execute("SELECT leaf, poses, payload FROM batch WHERE id = ?", (row,)).fetchone()
        if found is None:
            return None
        leaf, poses, payload = found
        with contextlib.suppress(zlib.error):
            if leaf in TOPICS:
                found = as_json(zlib.decompress(payload))
                return Batch(leaf, poses, found, {row: poses}, device_of(found))
        self.give_up(row, poses)
        return None

    def give_up(self, row: int, poses: int) -> None:
        """Removes a row that cannot be read, and counts its poses."""
        log.warning("%s: gave up %s that cannot be read", self._path, count(poses, "pose"))
        self.damaged += poses
        self.remove([(row, row)])

    def remove(self, runs: Iterable[tuple[int, int]]) -> None:
        """Removes rows. runs: first and last row of each run."""
        delete = "DELETE FROM batch WHERE id BETWEEN ? AND ? RETURNING refused, poses"
        with self._transaction() as database:
            gone = [row for run in runs for row in database.execute(delete, run).fetchall()]
        for refused, poses in gone:
            self._count(refused, -poses)
        self._measure()

    def shrink(self) -> None:
        """Makes the file smaller, a little at each call, once most of it is free.

        While less of it is free, the room is needed again soon.
        """
        if self._free_bytes > max(self.used_bytes, _SLACK_BYTES):
            with self._guarded() as database:
                # A script, because the rows of this statement have no columns: `execute` would stop after the first.
                database.executescript(f"PRAGMA incremental_vacuum({_PAGES_A_TIME})")
            self._measure()

    def refuse(self, rows: Sequence[tuple[int, str]]) -> None:
        """Marks rows as refused, each with its reason."""
        statement = "UPDATE batch SET refused = ? WHERE id = ? AND refused IS NULL RETURNING poses"
        moved = []
        with self._transaction() as database:
            for row, reason in rows:
                moved += [(reason, found[0]) for found in database.execute(statement, (reason, row)).fetchall()]
        for reason, poses in moved:
            self._count(None, -poses)
            self._count(reason, poses)

    def release(self, limit: int) -> list[int]:
        """Takes the mark from the oldest refused rows, `limit` at most, so that they are sent again. Returns which."""
        with self._transaction() as database:
            found = database.execute(_REFUSED, (limit,)).fetchall()
            database.executemany("UPDATE batch SET refused = NULL WHERE id = ?", [(number,) for number, _, _ in found])
        for _, poses, reason in found:
            self._count(reason, -poses)
            self._count(None, poses)
        return [number for number, _, _ in found]

    def drop_old(self, synced: bool, kept: Callable[[int], bool]) -> int:
        """Removes what is too old, but no row that is `kept`. Returns how many poses were removed.

        The age of what an earlier boot has written is known only when the clock was synchronised then, and is now.
        """
        values = (boot_id(), boot_us() / 1e6 - self._max_age_s, synced, wall_us() / 1e6 - self._max_age_s)
        found: dict[int, int] = {}
        with self._guarded() as database:
            for row, poses, this_boot, old_here, old_before in database.execute(_AGES, values):
                if not (old_here if this_boot else old_before):
                    break
                if not kept(row):
                    found[row] = poses
        return self._remove_rows(found)

    def drop_oldest(self, kept: Callable[[int], bool]) -> int:
        """Removes the oldest rows while the file is larger than its bound, but no row that is `kept`; refused ones go
        first. Returns how many poses were removed."""
        if self.used_bytes <= self._max_bytes:
            return 0
        excess_bytes = self.used_bytes - _LOW_WATER * self._max_bytes
        found: dict[int, int] = {}
        with self._guarded() as database:
            for which in ("WHERE refused IS NOT NULL", "WHERE refused IS NULL"):
                for row, poses, size in database.execute(f"{_SIZES} {which} ORDER BY id"):
                    if excess_bytes <= 0:
                        break
                    if not kept(row):
                        excess_bytes -= size
                        found[row] = poses
        return self._remove_rows(found)

    def _remove_rows(self, found: dict[int, int]) -> int:
        if found:
            self.remove((row, row) for row in found)
        return sum(found.values())

    def _count(self, refused: str | None, poses: int) -> None:
        if refused is None:
            self.poses += poses
        else:
            self.refused[refused] += poses

    def open(self) -> None:
        """Opens the file if it is not open. Only then its contents are counted."""
        with self._guarded():
            pass

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guarded() as database, database:  # as a context it ends the transaction, also after an error
            database.execute("BEGIN IMMEDIATE")
            yield database

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._opened()
        except (OSError, sqlite3.Error, UnicodeDecodeError, OverflowError) as exc:
            if not isinstance(exc, OSError) and is_damage(exc):
                self.close()
                with contextlib.suppress(OSError):  # if this fails, the next attempt to open it reports why
                    self._count_damaged(set_aside(self._path, str(exc)))
            self._fail(exc)

    def _count_damaged(self, path: Path) -> None:
        """Counts the poses of a damaged file, as far as it still says how many there were."""
        self.damaged += count_poses(path)

    def _fail(self, exc: Exception) -> NoReturn:
        self.close()
        self._closed_until = time.monotonic() + self._reopen_s
        self._why = str(exc)
        raise SpoolDiskError(f"{self._path}: {self._why}") from None

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            if time.monotonic() < self._closed_until:
                raise SpoolDiskError(f"{self._path}: {self._why}")
            others = [file for file, version in set_aside_versions(self._path).items() if version <= _VERSION]
            if others and not self._path.exists():
                move_database(others.pop(0), self._path.parent, self._path.name)
            database = self._open_file(self._path)
            last = database.execute("SELECT COALESCE(MAX(id), 0) FROM batch").fetchone()[0]
            self._next = max(self._next, last + 1)  # no row number is used twice, in a new file neither
            for file in others:
                self._take_up(database, file)
            counts = dict(database.execute(_COUNTS).fetchall())
            self.poses, self.refused = counts.pop(None, 0), Counter(counts)
            self.set_aside = spools_set_aside(self._path)
            self._database = database
            self._measure()
        return self._database

    def _open_file(self, path: Path) -> sqlite3.Connection:
        return open_database(path, _VERSION, _SCHEMA, "synchronous = FULL", on_damage=self._count_damaged)

    def _take_up(self, database: sqlite3.Connection, file: Path) -> None:
        """Takes over what is in a file of this version or an earlier one, which was set aside or had another name.

        Where that fails, the file stays for the next attempt, and this spool can be used all the same.
        """
        try:
            self._open_file(file).close()  # brings it to this version
            database.execute("ATTACH ? AS other", (str(file),))
            try:
                with database:
                    database.execute("BEGIN IMMEDIATE")
                    rows = database.execute(_TAKE_UP, (self._next - 1,)).rowcount
            finally:
                database.execute("DETACH other")
            self._next += rows
            file.unlink()
        except (OSError, sqlite3.Error) as exc:
            log.warning("%s: cannot be taken up (%s); the next start tries it again", file, exc)

    def _measure(self) -> None:
        with self._guarded() as database:
            names = ("page_count", "freelist_count", "page_size")
            pages, free, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
        self.used_bytes, self._free_bytes = (pages - free) * size, free * size
