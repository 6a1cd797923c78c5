"""SQLite files of other versions of edgepose: they are migrated, or kept for the version that knows them."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgepose.system.database import move_database, open_database, set_aside_versions

OLD = "CREATE TABLE lamp (colour TEXT)"
NEW = "CREATE TABLE lamp (colour TEXT, watts REAL)"
MIGRATIONS = {
    1: "ALTER TABLE lamp ADD COLUMN power INTEGER; UPDATE lamp SET power = 60",
    2: "ALTER TABLE lamp RENAME COLUMN power TO watts",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lamps.db"
    with contextlib.closing(open_database(path, 1, OLD)) as database:
        database.executemany("INSERT INTO lamp VALUES (?)", [("red",), ("blue",)])
    return path


def read(path: Path, version: int, migrations: Mapping[int, str] = MIGRATIONS) -> list[tuple[object, ...]]:
    with contextlib.closing(open_database(path, version, NEW, migrations=migrations)) as database:
        return database.execute("SELECT * FROM lamp").fetchall()


def test_an_older_file_is_migrated_version_by_version_and_keeps_its_rows(path: Path) -> None:
    assert read(path, 3) == read(path, 3) == [("red", 60), ("blue", 60)]
    assert set_aside_versions(path) == {}


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="syntax"):
        read(path, 3, {**MIGRATIONS, 2: "DELETE FROM lamp; ALTER"})
    assert read(path, 3) == [("red", 60), ("blue", 60)]


def test_a_newer_file_is_set_aside_as_it_is_for_the_version_that_knows_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(path, 3)
    assert read(path, 1, {}) == []
    aside = path.with_name("lamps.db.v3")
    assert set_aside_versions(path) == {aside: 3}
    assert "written by another version of edgepose (format 3, this one's is 1)" in caplog.text
    assert aside.name in caplog.text
    assert read(aside, 3) == [("red", 60), ("blue", 60)]


def test_a_second_one_does_not_replace_the_first(path: Path) -> None:
    shutil.copy(path, path.with_name("copy.db"))
    for source in (path, path.with_name("copy.db")):
        move_database(source, path.parent, "lamps.db.v1")
    assert list(set_aside_versions(path)) == [path.with_name("lamps.db.v1"), path.with_name("lamps.db.v1.1")]


def test_a_file_is_moved_with_its_log(path: Path, tmp_path: Path) -> None:
    """A daemon that was killed leaves rows that only the log has."""
    database = open_database(path, 1, OLD)
    database.execute("INSERT INTO lamp VALUES ('green')")
    for part in ("", "-wal"):
        shutil.copy(f"{path}{part}", tmp_path / f"killed.db{part}")
    database.close()
    moved = move_database(tmp_path / "killed.db", tmp_path, "moved.db")
    assert read(moved, 3) == [("red", 60), ("blue", 60), ("green", 60)]


def test_what_is_not_of_edgepose_is_handed_over(tmp_path: Path) -> None:
    path = tmp_path / "lamps.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute(OLD)
    found: list[Path] = []
    open_database(path, 1, OLD, on_damage=found.append).close()
    assert found == [path.with_name("lamps.db.damaged.1")]
