"""Opens SQLite files so that they never stop the daemon: a damaged or foreign one is renamed, and a new one is made."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path

log = logging.getLogger(__name__)

APPLICATION_ID = 0x45504F53  # "EPOS", in the file's header
KEPT_DAMAGED = 3  # damaged files of one name that are kept, so that somebody can examine them
CHECKED_BYTES = 50e6  # larger files are not read as a whole, which would take minutes at each start
_PARTS = ("", "-wal", "-shm", "-journal")


def open_database(path: Path, version: int, schema: str, *pragmas: str) -> sqlite3.Connection:
    """Opens a database in autocommit mode, for several threads that take turns.

    Args:
        version: of the format; a file of another one is set aside.
        schema: SQL that makes the tables of a new file.

    Raises:
        OSError, sqlite3.OperationalError: the folder cannot be made or written, or another process has the file open.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open(path, version, schema, pragmas)
    except (sqlite3.Error, UnicodeDecodeError) as exc:  # SQLite quotes in its messages what it has read
        if not is_damage(exc):
            raise
        why = str(exc)
    set_aside(path, why)
    return _open(path, version, schema, pragmas)


def set_aside(path: Path, why: str) -> None:
    """Renames a file, logs why, and removes the oldest of those that were renamed before."""
    endings = (found.suffix[1:] for found in path.parent.glob(f"{path.name}.damaged.*"))
    numbers = sorted(int(ending) for ending in endings if ending.isdecimal())
    aside = path.with_name(f"{path.name}.damaged.{numbers[-1] + 1 if numbers else 1}")
    for number in numbers[: len(numbers) - KEPT_DAMAGED + 1]:
        path.with_name(f"{path.name}.damaged.{number}").unlink(missing_ok=True)
    log.warning("%s: %s; kept as %s, beginning a new one", path, why, aside.name)
    path.replace(aside)
    for part in _PARTS[1:]:
        Path(f"{path}{part}").unlink(missing_ok=True)


def is_damage(exc: Exception) -> bool:
    """Returns True when the file is not what it should be; a full disk, a lock or a missing right is no damage."""
    words = ("no such", "malformed", "unsupported file format", "no column", "has no", "invalid")
    return not isinstance(exc, sqlite3.OperationalError) or any(word in str(exc) for word in words)


def _open(path: Path, version: int, schema: str, pragmas: tuple[str, ...]) -> sqlite3.Connection:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    new = not path.exists() or path.stat().st_size == 0
    if new:  # a log without its database is what is left of an earlier one
        for part in _PARTS[1:]:
            Path(f"{path}{part}").unlink(missing_ok=True)
    database = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
    database.text_factory = lambda text: text.decode("utf-8", "replace")  # a damaged row may hold anything
    with contextlib.ExitStack() as failed:
        failed.callback(database.close)
        # There is no shared-memory file then, and no other process reads or writes.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        if new:
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for pragma in ("journal_mode = WAL", *pragmas):
            database.execute(f"PRAGMA {pragma}")
        if new:
            database.executescript(
                f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}; {schema}; COMMIT;"
            )
        _examine(database, version, whole=path.stat().st_size < CHECKED_BYTES)
        failed.pop_all()
    return database


def _examine(database: sqlite3.Connection, version: int, *, whole: bool) -> None:
    """Raises sqlite3.DatabaseError for a file that is damaged, or not of this version. whole: reads all pages."""
    found = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if found[0] != APPLICATION_ID:
        raise sqlite3.DatabaseError("not a file of edgepose")
    if found[1] != version:
        raise sqlite3.DatabaseError(f"written by another version of edgepose (format {found[1]}, not {version})")
    if not whole:
        return
    problem = " ".join(str(database.execute("PRAGMA quick_check(1)").fetchone()[0]).split())
    if problem != "ok":
        raise sqlite3.DatabaseError(f"damaged ({problem})")
