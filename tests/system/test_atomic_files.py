"""Files that a power cut must not halve."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgepose.system.atomic_files import replace_durably, write_durably


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
        replace_durably(path, write)
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("table.csv", b"old")]
