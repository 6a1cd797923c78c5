"""A collector and messages, journals and devices of other versions of edgepose."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest
from brokers import Mosquitto
from collecting import Collecting, all_of, caught_up, event, pose, poses_in, rows_in
from paho.mqtt import publish

from edgepose.collect.archive import Archive, ArchiveTiming
from edgepose.collect.journal import Arrival, Journal
from edgepose.collect.merge import merge
from edgepose.collect.newer_messages import NewerMessage
from edgepose.collect.reports import read_events, read_info, write_events
from edgepose.protocol.codec import encode
from edgepose.protocol.messages import Message

pytest.importorskip("pyarrow")

ROOT = Path(__file__).parents[2]
VERSION_1 = ROOT / "tests" / "version_1"
Collect = Callable[..., Collecting]


def of_version(version: int, message: Message) -> bytes:
    """Returns the message as a device of this version may send it."""
    return json.dumps({**json.loads(encode(message)), "v": version, "more": [{"of": "it"}]}).encode()


def send(port: int, leaf: str, payloads: Iterable[bytes]) -> None:
    publish.multiple([(f"edgepose/cage-07/{leaf}", payload, 1, False) for payload in payloads], port=port)


def a_later_edgepose(folder: Path) -> Path:
    """Returns a copy of edgepose whose messages have version 3, and which converts those of version 2."""
    package = shutil.copytree(ROOT / "edgepose", folder / "edgepose", ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in (
        ("messages", "VERSION: Final = 2", "VERSION: Final = 3"),
        ("messages", "v: Literal[2]", "v: Literal[3]"),
        ("versions", "{1: _from_version_1}", '{1: _from_version_1, 2: lambda message: {**message, "v": 3}}'),
    ):
        path = package / "protocol" / f"{name}.py"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
    return folder


# --- version 1 -----------------------------------------------------------------------------------------------


def test_a_journal_of_version_1_loses_no_pose(tmp_path: Path) -> None:
    shutil.copy(VERSION_1 / "recordings" / "journal.db", tmp_path)
    archive = Archive(tmp_path)
    archive.finish()
    assert poses_in(tmp_path) == [("cage-07", "old", seq) for seq in range(1000, 1040)]
    assert [row["snout_x"] for row in rows_in(tmp_path)] == list(range(1000, 1040))
    found = [(one.event, one.kind, one.tags) for one in read_events(tmp_path / "cage-07" / "events.csv")]
    assert found == [(1000, "started", {"subject": "m3"}), (1020, "started", {"subject": "m3"})]
    assert sorted(path.name for path in tmp_path.glob("journal.db*")) == ["journal.db"]  # it was not set aside


def test_an_info_of_version_1_is_read(tmp_path: Path) -> None:
    """A recording of a device that is gone is merged later, and its columns are in the order of the skeleton."""
    info = read_info(Path(shutil.copy(VERSION_1 / "info.json", tmp_path)))
    assert info is not None
    assert (info.skeleton.keypoints, info.tags) == (("snout", "tail"), {"subject": "m3"})


def test_events_with_a_column_of_a_later_version_are_read(tmp_path: Path) -> None:
    path = tmp_path / "cage-07" / "events.csv"
    write_events(path, [event(1), event(2)])
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([f"{lines[0]},more", *(f"{line},1" for line in lines[1:])]), encoding="utf-8")
    assert read_events(path) == [event(1), event(2)]


def test_a_device_of_version_1_is_collected(tmp_path: Path, mosquitto: Mosquitto, collect: Collect) -> None:
    """It may send JSON or MessagePack."""
    mosquitto.start()
    collector = collect()
    old = json.loads((VERSION_1 / "pose.json").read_bytes())
    live = [{**old, "seq": seq, "frame": seq, "t_us": seq} for seq in range(100)]
    send(mosquitto.port, "pose", map(msgspec.json.encode, live[:50]))
    send(mosquitto.port, "pose", map(msgspec.msgpack.encode, live[50:]))
    send(mosquitto.port, "poses", [(VERSION_1 / f"poses.{ending}").read_bytes() for ending in ("json", "msgpack")])
    send(mosquitto.port, "event", [(VERSION_1 / "event.json").read_bytes()])
    send(mosquitto.port, "info", [(VERSION_1 / "info.json").read_bytes()])
    caught_up(mosquitto.port, collector)
    assert "103 poses, 3 came twice, 0 missing" in collector.end()
    assert poses_in(tmp_path / "out") == [("cage-07", "old", seq) for seq in (*range(100), 1000, 1001, 1002)]
    assert len(read_events(tmp_path / "out" / "cage-07" / "events.csv")) == 1
    assert json.loads((tmp_path / "out" / "cage-07" / "info.json").read_bytes())["model"] == "m@1"


# --- fields that are not known -------------------------------------------------------------------------------


def test_a_device_with_more_fields_is_collected(tmp_path: Path, mosquitto: Mosquitto, collect: Collect) -> None:
    mosquitto.start()
    collector = collect()
    send(mosquitto.port, "pose", [of_version(2, pose(seq)) for seq in range(50)])
    send(mosquitto.port, "event", [of_version(2, event(1))])
    caught_up(mosquitto.port, collector)
    assert "rejected" not in collector.end()
    assert poses_in(tmp_path / "out") == all_of(*range(50))
    assert len(read_events(tmp_path / "out" / "cage-07" / "events.csv")) == 1


# --- newer versions ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_only_a_later_version_can_read_is_kept_for_it(
    tmp_path: Path, mosquitto: Mosquitto, collect: Collect
) -> None:
    mosquitto.start()
    collector = collect()
    send(mosquitto.port, "pose", [of_version(2, pose(0)), *(of_version(3, pose(seq)) for seq in range(1, 40))])
    send(mosquitto.port, "event", [of_version(3, event(7))])
    caught_up(mosquitto.port, collector)
    collector.kill()
    said = "cage-07 sends messages of version 3, and this edgepose reads messages up to version 2"
    assert collector.text.count(said) == 1

    collector = collect()
    send(mosquitto.port, "pose", [of_version(3, pose(40))])
    caught_up(mosquitto.port, collector)
    assert "0 missing, 41 messages of a newer version kept" in collector.end()
    assert collector.text.count(said) == 1
    assert poses_in(tmp_path / "out") == all_of(0)

    collector = collect(home=a_later_edgepose(tmp_path / "later"))
    assert "read 41 messages that an earlier version has kept" in collector.text
    assert "upgrade edgepose" not in collector.text
    send(mosquitto.port, "pose", [of_version(3, pose(41))])
    caught_up(mosquitto.port, collector)
    assert "newer version" not in collector.end()
    assert poses_in(tmp_path / "out") == all_of(*range(42))
    assert [one.event for one in read_events(tmp_path / "out" / "cage-07" / "events.csv")] == [7]


def newer(*seqs: int, device: str = "cage-07") -> list[NewerMessage]:
    return [NewerMessage(device, 3, "pose", of_version(3, pose(seq, device=device))) for seq in seqs]


def kept(journal: Journal) -> list[tuple[str, int]]:
    payloads = [json.loads(message.payload) for _, message in journal.newer_messages()]
    return [(payload["device"], payload["seq"]) for payload in payloads]


def test_of_newer_versions_the_oldest_are_dropped_beyond_the_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = Archive(tmp_path, timing=ArchiveTiming(newer_bytes=2000))
    for seq in range(50):
        archive.write([], [], newer(seq))
    archive.write([], [], newer(7, device="cage-08"))
    assert "50 poses" not in archive.summary()
    archive.finish()
    journal = Journal(tmp_path / "journal.db")
    left = [seq for device, seq in kept(journal) if device == "cage-07"]
    assert left == list(range(50 - len(left), 50))
    assert 3 < len(left) < 20
    assert ("cage-08", 7) in kept(journal)
    assert journal.newer.kept == {"cage-07": len(left), "cage-08": 1}
    assert f"{50 - len(left)} messages of a newer version dropped" in archive.summary()
    assert caplog.text.count("cage-07: there is no more room for its messages, so the oldest are dropped") == 1
    journal.close()


def test_what_a_later_collector_has_left_in_the_journal_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was killed, and then an earlier version was installed again."""
    archive = Archive(tmp_path)
    later = [pose(seq) for seq in range(3)]
    for one in later:
        archive.write(archive.accept("cage-07", "pose", of_version(3, one), [one]), [])
    archive.finish()
    assert poses_in(tmp_path) == []
    journal = Journal(tmp_path / "journal.db")
    assert kept(journal) == [("cage-07", 0), ("cage-07", 1), ("cage-07", 2)]
    assert journal.hours() == []
    journal.close()
    assert "lost" not in caplog.text


def test_merging_brings_along_what_only_a_later_version_can_read(tmp_path: Path) -> None:
    for name, seq in (("a", 1), ("b", 2)):
        archive = Archive(tmp_path / name)
        archive.write([], [], newer(seq))
        archive.finish()
    merge([tmp_path / "all", tmp_path / "a", tmp_path / "b"])
    journal = Journal(tmp_path / "all" / "journal.db")
    assert kept(journal) == [("cage-07", 1), ("cage-07", 2)]
    journal.close()


# --- journals that were set aside ----------------------------------------------------------------------------


def test_a_journal_that_another_version_has_set_aside_is_taken_up_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shutil.copy(VERSION_1 / "recordings" / "journal.db", tmp_path / "journal.db.v3")
    archive = Archive(tmp_path)
    archive.write(archive.accept("cage-07", "pose", encode(pose(1)), [pose(1)]), [])
    archive.finish()
    assert len(poses_in(tmp_path)) == 41
    assert sorted(path.name for path in tmp_path.glob("journal.db*")) == ["journal.db"]
    assert "added what was in journal.db.v3" in caplog.text


def test_a_journal_that_was_called_damaged_after_a_rollback_is_taken_up_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.write([Arrival("cage-07", 0, "pose", encode(pose(1)))], [event(1)], newer(2))
    journal.close()
    (tmp_path / "journal.db").rename(tmp_path / "journal.db.damaged.1")
    (tmp_path / "journal.db.damaged.2").write_bytes(b"really damaged")
    archive = Archive(tmp_path)
    archive.finish()
    assert poses_in(tmp_path) == all_of(1)
    assert len(read_events(tmp_path / "cage-07" / "events.csv")) == 1
    assert "1 message of a newer version kept" in archive.summary()
    assert sorted(path.name for path in tmp_path.glob("journal.db*")) == ["journal.db", "journal.db.damaged.2"]


def test_a_journal_of_a_newer_format_stays_and_is_reported_at_each_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "journal.db.v5").write_bytes(b"whatever it is")
    for _ in range(2):
        Archive(tmp_path).finish()
    assert (tmp_path / "journal.db.v5").read_bytes() == b"whatever it is"
    assert caplog.text.count("journal.db.v5: only a newer edgepose can read") == 2


def test_ever_other_versions_are_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = Archive(tmp_path)
    for version in range(3, 100):
        archive.write([], [], [NewerMessage("cage-07", version, "pose", of_version(version, pose(version)))])
    archive.finish()
    assert caplog.text.count("cage-07 sends messages of version") == 1
    assert "97 messages of a newer version kept" in archive.summary()


def test_small_messages_of_a_newer_version_do_not_fill_the_disk(tmp_path: Path) -> None:
    """Each takes more room in the file than its payload."""
    archive = Archive(tmp_path, timing=ArchiveTiming(newer_bytes=200_000))
    archive.write([], [], [NewerMessage("cage-07", 3, "pose", b'{"v":3}')] * 10_000)
    archive.finish()
    assert (tmp_path / "journal.db").stat().st_size < 1_000_000


def test_a_damaged_message_that_was_kept_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One of a version that can be read now is lost; one of a version that cannot be read yet is not even opened."""
    archive = Archive(tmp_path)
    archive.write([], [], [*newer(1), NewerMessage("cage-08", 2, "pose", b"")])
    archive.finish()
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as database, database:
        database.execute("UPDATE newer SET payload = x'0011'")
    archive = Archive(tmp_path)
    archive.finish()
    assert caplog.text.count("a message of cage-08 that was kept cannot be read and is lost") == 1
    assert "a message of cage-07" not in caplog.text
    assert "1 message of a newer version kept" in archive.summary()
