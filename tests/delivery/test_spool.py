"""The spool on the disk and in memory: what it keeps, what it gives up, and that no damaged file stops a daemon."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepose.delivery import spool_disk, spool_memory
from edgepose.delivery.batching import Batch
from edgepose.delivery.spool_disk import SpoolDisk, SpoolDiskError
from edgepose.delivery.spool_memory import SpoolMemory
from edgepose.mqtt.limits import TOO_LARGE
from edgepose.system.database import open_database
from edgepose.system.reporter import Reporter

HOUR_S = 3600.0


def new_disk(folder: Path, max_mb: float = 100.0, max_age_s: float = HOUR_S, reopen_s: float = 10.0) -> SpoolDisk:
    return SpoolDisk(folder / "spool.db", max_mb * 1e6, max_age_s, reopen_s)


def batch(poses: int = 15, size: int = 100) -> Batch:
    """Returns a batch of bytes that do not compress."""
    return Batch("poses", poses, random.Random(size).randbytes(size))


def rows_of(disk: SpoolDisk) -> list[int]:
    found = [0]
    while more := disk.rows(found[-1]):
        found += more
    return found[1:]


def all_of(disk: SpoolDisk) -> list[Batch]:
    return [found for row in rows_of(disk) if (found := disk.read(row))]


def nothing(row: int) -> bool:
    return False


def test_what_was_appended_is_there_after_a_restart_oldest_first(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    payloads = [b"%d" % i * 100 for i in range(50)]
    disk.append([Batch("poses", 2, payload) for payload in payloads], synced=True)
    disk.close()
    again = new_disk(tmp_path)
    assert [found.payload for found in all_of(again)] == payloads
    assert again.poses == 100


def test_beyond_its_bound_the_oldest_make_way_and_are_counted(tmp_path: Path) -> None:
    disk = new_disk(tmp_path, max_mb=1.0)
    dropped = 0
    for _ in range(300):
        disk.append([batch(size=5000)], synced=True)
        dropped += disk.drop_oldest(nothing)
        assert disk.used_bytes <= 1.0e6
    left = all_of(disk)
    assert dropped + disk.poses == 300 * 15
    assert list(left[-1].rows) == [300]
    assert disk.poses == 15 * len(left) > 0
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.0e6 + 5e6  # and the log


def test_what_was_refused_makes_way_first(tmp_path: Path) -> None:
    disk = new_disk(tmp_path, max_mb=1.0)
    disk.append([batch(size=5000) for _ in range(150)], synced=True)
    newest = rows_of(disk)[-1]
    disk.refuse([(newest, "not_authorized")])
    disk.append([batch(size=5000) for _ in range(60)], synced=True)
    assert disk.drop_oldest(nothing)
    assert disk.read(newest) is None


def test_what_is_on_its_way_does_not_make_way(tmp_path: Path) -> None:
    disk = new_disk(tmp_path, max_mb=1.0)
    disk.append([batch(size=5000) for _ in range(300)], synced=True)
    assert disk.drop_oldest(lambda row: row <= 3) == 15 * (300 - len(rows_of(disk)))
    assert rows_of(disk)[:3] == [1, 2, 3]
    assert rows_of(disk)[3] > 4


@pytest.mark.parametrize(
    ("this_boot", "was_synced", "is_synced", "goes"),
    [
        (True, False, False, True),  # the boot clock knows
        (False, True, True, True),
        (False, True, False, False),  # this clock may be in 1970
        (False, False, True, False),  # that one was
    ],
)
def test_only_clocks_that_cannot_jump_give_an_age(
    this_boot: bool, was_synced: bool, is_synced: bool, goes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = new_disk(tmp_path, max_age_s=HOUR_S)
    disk.append([batch()], synced=was_synced)
    later_us = spool_disk.boot_us() + int(2 * HOUR_S * 1e6)
    wall_us = spool_disk.wall_us() + int(2 * HOUR_S * 1e6)
    monkeypatch.setattr(spool_disk, "boot_us", lambda: later_us if this_boot else 1_000_000)
    monkeypatch.setattr(spool_disk, "wall_us", lambda: wall_us)
    if not this_boot:
        monkeypatch.setattr(spool_disk, "boot_id", lambda: "another")
    assert disk.drop_old(is_synced, nothing) == (15 if goes else 0)


def test_what_was_refused_is_set_aside_and_may_come_back(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    disk.append([batch(), batch(), batch()], synced=True)
    first, second, third = rows_of(disk)
    disk.refuse([(first, "not_authorized"), (second, TOO_LARGE)])
    assert rows_of(disk) == [third]
    assert (disk.poses, disk.refused) == (15, {"not_authorized": 15, TOO_LARGE: 15})
    disk.close()
    again = new_disk(tmp_path)
    assert again.release(1) == [first]
    assert rows_of(again) == [first, third]
    assert (again.poses, +again.refused) == (30, {TOO_LARGE: 15})


def test_a_drained_spool_gives_the_disk_its_room_back(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    disk.append([batch(size=20_000) for _ in range(100)], synced=True)
    disk.remove([(1, 100)])
    disk.shrink()
    disk.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 200_000


def test_a_full_disk_takes_nothing_and_loses_nothing(tiny_disk: Path) -> None:
    disk = new_disk(tiny_disk, reopen_s=1.0)
    disk.append([batch(size=1000)], synced=True)
    (tiny_disk / "ballast").write_bytes(b"x" * 200_000)
    with pytest.raises(SpoolDiskError, match="full"):
        disk.append([batch(size=300_000)], synced=True)
    with pytest.raises(SpoolDiskError, match="full"):  # at once, not asking the disk again
        disk.open()
    (tiny_disk / "ballast").unlink()
    time.sleep(1.0)
    disk.append([batch(size=50_000)], synced=True)
    assert [len(found.payload) for found in all_of(disk)] == [1000, 50_000]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(SpoolDiskError, match="file"):
        new_disk(tmp_path / "file").open()
    reporter = Reporter()
    memory = SpoolMemory(tmp_path / "file" / "memory", reporter)
    for number in range(5):
        memory.add(number, "pose", b"x")
    assert reporter.alerts.keys() == {"memory"}
    assert len(caplog.messages) == 1


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipe (name TEXT)")
    other.close()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("not a database, but long enough to be looked at" * 10, encoding="utf-8")


@pytest.mark.parametrize("spoil", [_foreign, _text, _empty])
def test_a_file_that_is_not_ours_is_set_aside(
    spoil: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(tmp_path / "spool.db")
    disk = new_disk(tmp_path)
    disk.append([batch()], synced=True)
    assert disk.poses == 15
    aside = list(tmp_path.glob("*.damaged.*"))
    assert len(aside) == (0 if spoil is _empty else 1)
    assert len(caplog.messages) == len(aside)


def _set_version(path: Path, version: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {version}")


def test_a_spool_of_a_newer_version_is_set_aside_counted_and_taken_up_by_that_version(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    disk.append([batch(17), batch(3)], synced=True)
    disk.refuse([(2, "not_authorized")])
    disk.close()
    _set_version(tmp_path / "spool.db", 2)

    for _ in range(2):
        older = new_disk(tmp_path)
        older.append([batch(5, size=50)], synced=True)
        assert older.set_aside == {tmp_path / "spool.db.v2": 20}
        older.close()
    assert (older.poses, older.damaged) == (10, 0)

    _set_version(tmp_path / "spool.db.v2", 1)  # this version has to play the one that knows it
    (tmp_path / "spool.db.v2").rename(tmp_path / "spool.db.v1")
    newer = new_disk(tmp_path)
    newer.open()
    assert (newer.poses, newer.refused, newer.set_aside) == (27, {"not_authorized": 3}, {})
    assert [len(one.payload) for one in all_of(newer)] == [50, 50, 100]
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".db-wal"] == ["spool.db"]
    newer.append([batch(1)], synced=True)
    assert rows_of(newer)[-1] == 5


def test_a_newer_spool_of_unknown_layout_is_kept_too(tmp_path: Path) -> None:
    open_database(tmp_path / "spool.db", 99, "CREATE TABLE pose (id INTEGER)").close()
    disk = new_disk(tmp_path)
    disk.append([batch()], synced=True)
    assert disk.set_aside == {tmp_path / "spool.db.v99": 0}
    assert disk.poses == 15


def test_what_cannot_be_taken_up_stays_and_the_spool_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("first", "spool.db.v1"):
        disk = SpoolDisk(tmp_path / name, 1e8, HOUR_S)
        disk.append([batch()], synced=True)
        disk.close()
    (tmp_path / "first").rename(tmp_path / "spool.db")
    user = open_database(tmp_path / "spool.db.v1", 1, "")
    user.execute("UPDATE batch SET poses = 16")  # somebody has it open
    disk = new_disk(tmp_path)
    disk.open()
    assert disk.poses == 15
    assert "cannot be taken up (database is locked)" in caplog.text
    user.close()
    disk.close()
    disk = new_disk(tmp_path)
    disk.open()
    assert disk.poses == 31


def test_what_a_damaged_spool_still_says_is_counted(tmp_path: Path) -> None:
    disk = new_disk(tmp_path)
    disk.append([batch(size=3000) for _ in range(20)], synced=True)
    disk.close()
    data = bytearray((tmp_path / "spool.db").read_bytes())
    page = len(data) - 8 * 4096  # among the payloads
    data[page : page + 4096] = bytes(4096)
    (tmp_path / "spool.db").write_bytes(data)
    disk = new_disk(tmp_path)
    disk.open()
    assert list(tmp_path.glob("*.damaged.1"))
    assert disk.damaged == 300


@pytest.mark.slow
def test_a_large_spool_opens_at_once(tmp_path: Path) -> None:
    """Its poses are counted without reading the payloads, and only a small file is checked as a whole."""
    read_bytes = {}
    for size in (2_000, 30_000):
        folder = tmp_path / str(size)
        disk = new_disk(folder)
        disk.append([batch(size=size)] * 2000, synced=True)
        disk.refuse([(7, "not_authorized")])
        disk.close()
        before = _bytes_read()
        disk = new_disk(folder)
        disk.open()
        read_bytes[size] = _bytes_read() - before
        assert (disk.poses, disk.refused) == (15 * 1999, {"not_authorized": 15})
        disk.close()
    assert read_bytes[2_000] > 4_000_000
    assert read_bytes[30_000] < 200_000


def _bytes_read() -> int:
    if not Path("/proc/self/io").exists():
        pytest.skip("needs /proc (Linux)")
    return int(Path("/proc/self/io").read_text(encoding="ascii").split()[1])


def test_only_the_last_few_damaged_files_are_kept(tmp_path: Path) -> None:
    for _ in range(6):
        _text(tmp_path / "spool.db")
        disk = new_disk(tmp_path)
        disk.open()
        disk.close()
    assert sorted(path.name for path in tmp_path.glob("*.damaged.*")) == [f"spool.db.damaged.{i}" for i in (4, 5, 6)]


@pytest.mark.slow
def test_a_thousand_damaged_files_stop_neither_spool(tmp_path: Path) -> None:
    """Bytes are flipped, removed, overwritten or cut off, in the file or its log; a spool that can be used results."""
    whole = tmp_path / "whole"
    disk = new_disk(whole)
    disk.append([batch(size=700) for _ in range(40)], synced=True)
    disk.close()
    memory = SpoolMemory(whole, Reporter())
    for number in range(40):
        memory.add(number, "pose", b"x" * 400)
    memory.close()
    chance = random.Random(0)
    for trial in range(500):
        for name in ("spool.db", "sent.1.log"):
            folder = tmp_path / f"{name}-{trial}"
            folder.mkdir()
            (folder / name).write_bytes(_damaged((whole / name).read_bytes(), chance))
            if name == "spool.db" and chance.random() < 0.3:
                (folder / f"{name}-wal").write_bytes(chance.randbytes(5000))
        _use_disk(new_disk(tmp_path / f"spool.db-{trial}", reopen_s=0.0))
        _use_memory(tmp_path / f"sent.1.log-{trial}")


def _damaged(data: bytes, chance: random.Random) -> bytes:
    spoiled = bytearray(data)
    at, size = chance.randrange(len(data)), chance.randrange(1, 3000)
    match chance.randrange(4):
        case 0:
            for _ in range(20):
                spoiled[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 1:
            del spoiled[at : at + size]
        case 2:
            spoiled[at : at + size] = chance.randbytes(size)
        case 3:
            del spoiled[at:]
    return bytes(spoiled)


def _use_disk(disk: SpoolDisk) -> None:
    """Uses a spool. Damage that shows only when it is read closes the file for a while; then a new one is begun."""
    try:
        for _ in range(2):
            try:
                for row in rows_of(disk):
                    disk.read(row)
                disk.append([batch()], synced=True)
                disk.drop_old(True, nothing)
                disk.drop_oldest(nothing)
                disk.remove((row, row) for row in rows_of(disk))
                disk.shrink()
            except SpoolDiskError as exc:
                trouble = str(exc)
                continue
            break
        else:
            pytest.fail(f"could not be used at the second attempt either: {trouble}")
        assert rows_of(disk) == []
    finally:
        disk.close()


def _use_memory(folder: Path) -> None:
    memory = SpoolMemory(folder, Reporter())
    assert {left.payload for left in memory.leftovers} <= {b"x" * 400}
    for number in (1000, 1001):
        memory.add(number, "pose", b"y")
    memory.acknowledge([1000], 5.0)
    memory.close()
    again = SpoolMemory(folder, Reporter())
    assert {(left.number, left.acked_s) for left in again.leftovers} >= {(1000, 5.0), (1001, None)}
    assert len(again.leftovers) == len(memory.leftovers) + 2
    again.close()


def in_memory(folder: Path) -> dict[int, tuple[bytes, float | None]]:
    """Returns what a start after a kill finds, and checks that a kill at once after it leaves the same."""
    starts = [SpoolMemory(folder, Reporter()) for _ in range(2)]
    found = [{left.number: (left.payload, left.acked_s) for left in start.leftovers} for start in starts]
    assert found[0] == found[1]
    return found[0]


def test_the_spool_in_memory_knows_after_a_kill_what_became_of_each_message(tmp_path: Path) -> None:
    memory = SpoolMemory(tmp_path, Reporter())
    for number in range(1, 7):
        memory.add(number, "pose", b"%d" % number)
    memory.acknowledge([1, 2, 3], 7.5)
    memory.acknowledge([2], None)
    memory.remove([3, 4])
    memory.remove([4, 99])
    memory.acknowledge([3, 99], 8.0)
    assert in_memory(tmp_path) == {1: (b"1", 7.5), 2: (b"2", None), 5: (b"5", None), 6: (b"6", None)}


def test_of_another_boot_only_what_was_not_acknowledged_is_of_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SpoolMemory(tmp_path, Reporter())
    memory.add(1, "pose", b"a")
    memory.add(2, "pose", b"b")
    memory.acknowledge([1], 7.5)
    monkeypatch.setattr(spool_memory, "boot_id", lambda: "another")
    assert in_memory(tmp_path) == {2: (b"b", None)}


def test_the_spool_in_memory_takes_no_more_room_than_what_is_in_it(tmp_path: Path) -> None:
    memory = SpoolMemory(tmp_path, Reporter(), part_bytes=10_000)
    for number in range(5000):
        memory.add(number, "pose", b"x" * 400)
        memory.acknowledge([number - 10], 1.0)
        if number % 50 == 0:
            memory.remove(range(number - 100, number - 50))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 100_000
    assert len(in_memory(tmp_path)) < 110


def test_a_message_half_written_by_a_kill_is_left_out_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = SpoolMemory(tmp_path, Reporter())
    memory.add(1, "pose", b"a" * 50)
    memory.add(2, "pose", b"b" * 50)
    (tmp_path / "sent.1.log").write_bytes((tmp_path / "sent.1.log").read_bytes()[:-1])
    assert in_memory(tmp_path) == {1: (b"a" * 50, None)}
    assert caplog.messages == []


def test_a_full_memory_is_reported_once_and_used_again_when_there_is_room(
    tiny_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = Reporter()
    memory = SpoolMemory(tiny_disk, reporter)
    memory.add(1, "pose", b"a")
    ballast = tiny_disk / "ballast"
    with contextlib.suppress(OSError):
        ballast.write_bytes(b"x" * 1_000_000)
    for size in (10_000, 20_000, 30_000):
        memory.add(2, "pose", b"b" * size)
    assert str(tiny_disk) in reporter.alerts["memory"]
    assert len(caplog.messages) == 1
    ballast.unlink()
    memory.add(3, "pose", b"c" * 10_000)
    assert not reporter.alerts
    assert in_memory(tiny_disk).keys() == {1, 3}
