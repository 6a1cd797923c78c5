"""The file of the settings: it is written as a whole or not at all, and no damage to it stops a daemon."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from brokers import wait_until

from edgepose.daemon.settings import read_settings, write_settings
from edgepose.errors import EdgeposeError
from edgepose.protocol.messages import Settings

SETTINGS = Settings(rate_hz=12.5, min_score=0.25, region=(10, 20, 300, 200))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "cage-07" / "settings.json"


def test_what_was_set_is_read_back(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_settings(path) == Settings()
    write_settings(path, SETTINGS)
    assert read_settings(path) == SETTINGS
    write_settings(path, Settings())
    assert read_settings(path) == Settings()
    assert list(path.parent.iterdir()) == [path]
    assert caplog.messages == []


@pytest.mark.slow
def test_a_kill_while_it_is_written_leaves_one_of_the_two(path: Path) -> None:
    """A process that only writes the file is killed again and again, each time at another moment."""
    code = (
        "import sys; from pathlib import Path; from edgepose.protocol.messages import Settings\n"
        "from edgepose.daemon.settings import write_settings\n"
        "while True:\n"
        "    for rate in (1.0, 2.0): write_settings(Path(sys.argv[1]), Settings(rate_hz=rate))\n"
    )
    write_settings(path, Settings(rate_hz=1.0))
    chance = random.Random(1)
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", code, str(path)]) as writer:
            before = path.stat().st_mtime_ns
            wait_until(lambda before=before: path.stat().st_mtime_ns != before, "it to write")
            for _ in range(chance.randrange(2000)):
                assert read_settings(path).rate_hz in (1.0, 2.0)  # whoever reads meanwhile sees one of them, too
            writer.send_signal(signal.SIGKILL)
        assert read_settings(path).rate_hz in (1.0, 2.0)
    assert set(path.parent.iterdir()) <= {path, path.with_name(f".{path.stem}.part{path.suffix}")}
    write_settings(path, SETTINGS)
    assert read_settings(path) == SETTINGS


def test_a_folder_that_may_not_be_written_is_an_error_and_nothing_changes(
    path: Path, lock: Callable[..., None]
) -> None:
    write_settings(path, SETTINGS)
    lock(path.parent)
    with pytest.raises(EdgeposeError, match=r"settings.json: cannot keep the settings \(Permission denied\)"):
        write_settings(path, Settings())


def test_a_folder_that_may_not_be_read_is_as_good_as_none(path: Path, lock: Callable[..., None]) -> None:
    write_settings(path, SETTINGS)
    lock(path.parent)
    assert read_settings(path) == Settings()


def test_a_full_disk_keeps_what_there_was(tiny_disk: Path) -> None:
    path = tiny_disk / "settings.json"
    write_settings(path, SETTINGS)
    with pytest.raises(OSError, match="No space"):
        (tiny_disk / "full").write_bytes(bytes(1_000_000))
    with pytest.raises(EdgeposeError, match=r"cannot keep the settings \(No space left on device\)"):
        write_settings(path, Settings())
    assert read_settings(path) == SETTINGS


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    path = tmp_path / "spool" / "settings.json"
    assert read_settings(path) == Settings()
    with pytest.raises(EdgeposeError, match="cannot keep the settings"):
        write_settings(path, SETTINGS)


# --- damage -----------------------------------------------------------------------------------------------------

FOREIGN: list[Any] = [
    None,
    5,
    "text",
    [],
    [[]] * 500,
    {"rate": 5},
    {"rate_hz": "5"},
    {"rate_hz": -1},
    {"rate_hz": 10**300},
    {"min_score": None},
    {"min_score": 7},
    {"region": [0, 0, 0, 0]},
    {"region": [1, 2, 3]},
    {"region": {"x": 1}},
    {"rate_hz": 5, "version": 2},
]


def damage(whole: bytes, chance: random.Random) -> bytes:
    """Truncates the file, flips bits, overwrites a part, or returns foreign JSON or other bytes."""
    data = bytearray(whole)
    match chance.randrange(7):
        case 0:
            return bytes(data[: chance.randrange(len(data))])
        case 1:
            for _ in range(chance.randrange(1, 9)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 2:
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(1, 30)] = chance.randbytes(chance.randrange(60))
        case 3:
            return json.dumps(chance.choice(FOREIGN)).encode()
        case 4:
            return chance.randbytes(chance.randrange(1, 200))
        case 5:
            return chance.choice([b"[", b'{"region":[', b"\x00", b" ", b"\xef\xbb\xbf", b'{"a":']) * 50_000
        case 6:
            return bytes(data) + chance.randbytes(chance.randrange(1, 9))
    return bytes(data)


def test_a_thousand_damaged_files_stop_nobody(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The settings that are read are valid in any case, and the next command can write them."""
    write_settings(path, SETTINGS)
    whole, chance = path.read_bytes(), random.Random(7)
    forgotten = 0
    for _ in range(1000):
        path.write_bytes(damage(whole, chance))
        caplog.clear()
        settings = read_settings(path)
        assert msgspec.convert(msgspec.to_builtins(settings), Settings) == settings
        if caplog.messages:
            forgotten += 1
            assert settings == Settings()
            assert [record.levelno for record in caplog.records] == [logging.WARNING]
            assert "what was set by commands is forgotten" in caplog.text
            assert not path.exists()
            assert path.with_suffix(".damaged").exists()
    assert forgotten > 800  # a few bits more or less may give other settings, which are as good
    write_settings(path, SETTINGS)
    assert read_settings(path) == SETTINGS


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nowhere", "link to itself", "endless"])
def test_something_else_in_its_place_is_set_aside(kind: str, path: Path) -> None:
    path.parent.mkdir(parents=True)
    match kind:
        case "folder":
            path.mkdir()
            (path / "inside").touch()
        case "pipe":
            os.mkfifo(path)
        case "link to nowhere":
            path.symlink_to(path.parent / "nowhere")
        case "link to itself":
            path.symlink_to(path)
        case "endless":
            path.symlink_to("/dev/zero")
    assert read_settings(path) == Settings()
    write_settings(path, SETTINGS)
    assert read_settings(path) == SETTINGS


def test_a_warning_says_what_cannot_be_set_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.mkdir(parents=True)
    path.with_suffix(".damaged").touch()
    assert read_settings(path) == Settings()
    assert "cannot be moved away (Not a directory); remove it, or nothing new can be kept" in caplog.text
    with pytest.raises(EdgeposeError, match=r"cannot keep the settings \(Is a directory\)"):
        write_settings(path, SETTINGS)
