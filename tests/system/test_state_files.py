"""Small files of state: other versions of edgepose, several processes, and a folder that belongs to somebody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edgepose.system.state_files import locked, newer_state, read_state, state_stamp, write_state


class Lamp(msgspec.Struct, frozen=True):
    v: int = 1
    colour: str = "red"


def read(path: Path) -> Lamp | None:
    return read_state(path, Lamp, "the colour is forgotten")


def test_a_field_of_another_version_is_ignored_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "lamp.json"
    path.write_text('{"v": 1, "colour": "blue", "watts": 60}')
    assert read(path) == Lamp(colour="blue")
    write_state(path, Lamp(colour="green"))
    assert json.loads(path.read_text()) == {"v": 1, "colour": "green", "watts": 60}
    assert newer_state(path) is None


def test_a_file_without_a_version_is_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "lamp.json"
    path.write_text('{"colour": "blue"}')
    assert read(path) == Lamp(colour="blue")


def test_a_file_of_a_newer_version_is_read_as_far_as_possible_and_never_written(tmp_path: Path) -> None:
    path = tmp_path / "lamp.json"
    content = '{"v": 2, "colour": "blue", "watts": [60]}'
    path.write_text(content)
    assert read(path) == Lamp(v=2, colour="blue")
    before = state_stamp(path)
    write_state(path, Lamp(v=2, colour="green"))
    assert state_stamp(path) != before
    assert read(path) == Lamp(colour="green")
    assert path.read_text() == content
    assert "format 2, this one knows 1" in str(newer_state(path))
    assert "lamp.v1.json" in str(newer_state(path))


def test_what_the_newer_version_has_written_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "lamp.json"
    path.write_text('{"v": 2, "colour": "blue"}')
    write_state(path, Lamp(colour="green"))
    os.utime(tmp_path / "lamp.v1.json", (1, 1))
    assert read(path) == Lamp(v=2, colour="blue")


def test_a_newer_version_that_cannot_be_understood_stays_and_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "lamp.json"
    path.write_text('{"v": 3, "colour": ["blue"]}')
    assert read(path) is None
    assert path.exists()
    assert newer_state(path)
    assert not list(tmp_path.glob("*.damaged"))


@pytest.mark.parametrize("content", [b"", b"{", b'{"colour": 3}', b"[" * 70_000, b'{"v": "2"}'])
def test_a_damaged_file_is_set_aside(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "lamp.json"
    path.write_bytes(content)
    assert read(path) is None
    assert path.with_suffix(".damaged").read_bytes() == content
    assert "the colour is forgotten" in caplog.text
    write_state(path, Lamp())
    assert read(path) == Lamp()


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Otherwise the permissions of whatever it points to would change, when an administrator takes the lock."""
    secret = tmp_path / "secret"
    secret.touch(0o600)
    (tmp_path / "lamp.lock").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lamp.json"):
        pass
    assert secret.stat().st_mode & 0o777 == 0o600


COUNT = """
import sys
from pathlib import Path
from edgepose.system.atomic_files import write_durably
from edgepose.system.state_files import locked
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


def test_a_large_file_of_state_is_read(tmp_path: Path) -> None:
    """A hundred configuration files with long paths take more than a reader that stops early would see."""
    path = tmp_path / "lamp.json"
    write_state(path, Lamp(colour="red" * 200_000))
    assert read(path) == Lamp(colour="red" * 200_000)
