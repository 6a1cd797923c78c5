"""Files that are whole after a power cut, and state that several processes change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgepose.system.atomic_files import locked, replace_files, write_durably


def test_a_file_has_its_content_and_permissions_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_durably(tmp_path / "a", b"1", 0o640)
        write_durably(tmp_path / "a", b"2")
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"2"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_durably(path, b"old")

    def write(temporary: Path) -> None:
        assert temporary.suffix == ".csv"
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        replace_files({path: write})
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("table.csv", b"old")]


def test_of_several_files_all_are_replaced_or_none(tmp_path: Path) -> None:
    table, picture = tmp_path / "table.csv", tmp_path / "table.png"
    replace_files({table: lambda path: path.write_text("old"), picture: lambda path: path.write_bytes(b"old")})

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        replace_files({table: lambda path: path.write_text("new"), picture: fail})
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {
        "table.csv": b"old",
        "table.png": b"old",
    }


def test_what_a_power_cut_left_is_not_written_through(tmp_path: Path) -> None:
    """The temporary file may be a link to another file."""
    path, other = tmp_path / "state.json", tmp_path / "other"
    other.write_bytes(b"other")
    (tmp_path / ".state.part.json").symlink_to(other)
    write_durably(path, b"new", 0o600)
    assert (path.read_bytes(), path.is_symlink(), other.read_bytes()) == (b"new", False, b"other")


COUNT = """
import sys
from pathlib import Path
from edgepose.system.atomic_files import locked, write_durably
path = Path(sys.argv[1])
for _ in range(50):
    with locked(path):
        write_durably(path, str(int(path.read_text()) + 1).encode())
"""


def test_no_change_of_another_process_is_lost_under_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "count.json"
    path.write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, str(path)]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert path.read_text() == "150"


def test_others_can_take_the_lock_that_an_administrator_made(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with locked(tmp_path / "choice.json"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "choice.lock").stat().st_mode & 0o777 == 0o644
