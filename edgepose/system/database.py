"""Opens SQLite files so that none of them stops the daemon, whatever is found in its place.

A file of an older version is brought to this one. One of a newer version is set aside as `NAME.v2`, for that version to
find it again. A damaged or foreign file is set aside as `NAME.damaged.1`. Then a new one is made.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sqlite3
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

log = logging.getLogger(__name__)

APPLICATION_ID = 0x45504F53  # "EPOS", in the file's header
KEPT_DAMAGED = 3  # damaged files of one name that are kept, so that somebody can examine them
CHECKED_BYTES = 50e6  # larger files are not read as a whole, which would take minutes at each start
_PARTS = ("", "-wal", "-shm", "-journal")
_NO_MIGRATIONS: Mapping[int, str] = MappingProxyType({})


def open_database(
    path: Path,
    version: int,
    schema: str,
    *pragmas: str,
    migrations: Mapping[int, str] = _NO_MIGRATIONS,
    on_damage: Callable[[Path], object] = lambda _: None,
) -> sqlite3.Connection:
    """Opens a database in autocommit mode, for several threads that take turns.

    Args:
        version: of the format. A file of a version that is not among the migrations is set aside.
        schema: SQL that makes the tables of a new file.
        migrations: SQL that brings a file of this version to the next one.
        on_damage: gets the new path of a damaged or foreign file.

    Raises:
        OSError, sqlite3.OperationalError: the folder cannot be made or written, or another process has the file open.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open(path, version, schema, pragmas, migrations)
    except (sqlite3.Error, UnicodeDecodeError, _ForeignError) as exc:  # SQLite quotes in its messages what it has read
        if not is_damage(exc):
            raise
        why, found = str(exc), exc.version if isinstance(exc, _ForeignError) else None
    if found is None:
        on_damage(set_aside(path, why))
    else:
        aside = move_database(path, path.parent, f"{path.name}.v{found}")
        log.warning("%s: %s; kept as %s, beginning a new one", path, why, aside.name)
    return _open(path, version, schema, pragmas, migrations)


def set_aside(path: Path, why: str) -> Path:
    """Renames a damaged file, logs why, and removes the oldest of those that were renamed before.

    Returns the new path.
    """
    endings = (found.suffix[1:] for found in path.parent.glob(f"{path.name}.damaged.*"))
    numbers = sorted(int(ending) for ending in endings if ending.isdecimal())
    aside = path.with_name(f"{path.name}.damaged.{numbers[-1] + 1 if numbers else 1}")
    for number in numbers[: len(numbers) - KEPT_DAMAGED + 1]:
        path.with_name(f"{path.name}.damaged.{number}").unlink(missing_ok=True)
    log.warning("%s: %s; kept as %s, beginning a new one", path, why, aside.name)
    path.replace(aside)
    for part in _PARTS[1:]:
        Path(f"{path}{part}").unlink(missing_ok=True)
    return aside


def set_aside_versions(path: Path) -> dict[Path, int]:
    """Returns the files that were set aside because of their version, each with that version, the lowest first."""
    pattern = re.compile(rf"{re.escape(path.name)}\.v(\d+)(\.\d+)?")
    found = {one: int(match[1]) for one in path.parent.glob("*") if (match := pattern.fullmatch(one.name))}
    return dict(sorted(found.items(), key=lambda pair: (pair[1], pair[0].name)))


def sound_version(path: Path) -> int | None:
    """Returns the version of a file of ours that nobody has open, None for any other and for a damaged one.

    Nothing is changed.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)) as database:
            names = ("application_id", "user_version", "quick_check(1)")
            ours, version, problem = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    return int(version) if (ours, problem) == (APPLICATION_ID, "ok") else None


def move_database(path: Path, folder: Path, name: str) -> Path:
    """Moves a database that nobody uses, with what SQLite keeps beside it. Another file of that name stays.

    Returns the new path, which may have a number behind the name. Raises OSError.
    """
    target, number = folder / name, 0
    while target.exists():
        number += 1
        target = folder / f"{name}.{number}"
    for part in reversed(_PARTS):  # the file itself comes last: a power cut must not leave it without its log
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{part}").replace(f"{target}{part}")
    return target


class _ForeignError(Exception):
    """The file is a database of another program, or of another version, which is not None then."""

    def __init__(self, why: str, version: int | None = None) -> None:
        super().__init__(why)
        self.version = version


def is_damage(exc: Exception) -> bool:
    """Returns True when the file is not what it should be; a full disk, a lock or a missing right is no damage."""
    words = ("no such", "malformed", "unsupported file format", "no column", "has no", "invalid")
    return not isinstance(exc, sqlite3.OperationalError) or any(word in str(exc) for word in words)


def _open(
    path: Path, version: int, schema: str, pragmas: tuple[str, ...], migrations: Mapping[int, str]
) -> sqlite3.Connection:
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
        found = _examine(database, {version, *migrations}, whole=path.stat().st_size < CHECKED_BYTES)
        for number in range(found, version):
            database.executescript(f"BEGIN; {migrations[number]}; PRAGMA user_version = {number + 1}; COMMIT;")
        failed.pop_all()
    return database


def _examine(database: sqlite3.Connection, known: Collection[int], *, whole: bool) -> int:
    """Examines a file, and with `whole` every page. Returns its version, which is among those that are `known`.

    Raises _ForeignError for a file of another program or version, or sqlite3.DatabaseError for damage.
    """
    found = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if found[0] != APPLICATION_ID:
        raise _ForeignError("not a file of edgepose")
    if found[1] not in known:
        text = f"written by another version of edgepose (format {found[1]}, this one's is {max(known)})"
        raise _ForeignError(text, found[1])
    if whole:
        problem = " ".join(str(database.execute("PRAGMA quick_check(1)").fetchone()[0]).split())
        if problem != "ok":
            raise sqlite3.DatabaseError(f"damaged ({problem})")
    return int(found[1])
