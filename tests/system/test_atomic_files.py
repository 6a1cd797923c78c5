"""Files that are whole after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgepose.system.atomic_files import replace_files, write_durably


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


def test_a_link_that_appears_while_it_is_written_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator writes into a folder whose owner may put a link there at any moment."""
    other = tmp_path / "other"
    other.write_bytes(b"other")
    (tmp_path / ".state.part.json").symlink_to(other)
    monkeypatch.setattr(Path, "unlink", lambda *_args, **_more: None)  # as if the link were made after this
    with pytest.raises(FileExistsError):
        write_durably(tmp_path / "state.json", b"new")
    assert (other.read_bytes(), other.stat().st_mode & 0o777) == (b"other", 0o644)
