"""The archive: its files, their tags, and what it knows after a kill or without its journal."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
from pathlib import Path

import msgspec
import pytest
from collecting import all_of, at_hour, batch_of, event, gaps_in, large, pose, poses_in, rows_in, started
from hypothesis import given
from hypothesis import strategies as st
from mouse_messages import INFO

from edgepose.collect.archive import Archive, ArchiveTiming
from edgepose.collect.columns import tables_of
from edgepose.collect.hours import hour_path, read_hour
from edgepose.collect.reports import read_events, write_events
from edgepose.collect.streams import Stream
from edgepose.errors import EdgeposeError
from edgepose.protocol.codec import encode
from edgepose.protocol.messages import AnimalMessage, EventMessage, Keypoint, Message, PoseMessage
from edgepose.tables.layout import METADATA_KEY
from edgepose.types import Skeleton

pyarrow = pytest.importorskip("pyarrow")


def take(archive: Archive, *messages: Message) -> None:
    """Gives messages to the archive as if each had come alone."""
    for one in messages:
        if isinstance(one, EventMessage):
            archive.write([], [one])
        else:
            leaf, poses = ("pose", [one]) if isinstance(one, PoseMessage) else ("poses", one.poses)
            archive.write(archive.accept(one.device, leaf, encode(one), poses), [])


def collect(folder: Path, *messages: Message, **options: bool) -> Archive:
    archive = Archive(folder, **options)
    take(archive, *messages)
    archive.finish()
    return archive


def seqs(*numbers: int) -> list[PoseMessage]:
    return [pose(number) for number in numbers]


# --- poses -------------------------------------------------------------------------------------------------


def test_poses_of_several_models_share_a_file(tmp_path: Path) -> None:
    collect(tmp_path, pose(1))
    collect(tmp_path, pose(2, keypoints={"tail": Keypoint(1.0, 1.0, 1.0)}, model="other@1"), pose(1))
    assert [(row["seq"], row["snout_x"], row["tail_x"]) for row in rows_in(tmp_path)] == [
        (1, 1.0, None),
        (2, None, 1.0),
    ]


def test_columns_are_in_the_skeletons_order_whether_seen_or_not(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.keep_info(msgspec.structs.replace(INFO, model="fake@000000", skeleton=Skeleton(("ear", "snout", "tail"))))
    take(archive, pose(1, keypoints={"tail": Keypoint(1.0, 1.0, 1.0), "snout": Keypoint(1.0, 1.0, 1.0)}))
    archive.finish()
    names = read_hour(hour_path(tmp_path, "cage-07", 0)).column_names
    assert [name for name in names if name.endswith("_x")] == ["ear_x", "snout_x", "tail_x"]


def test_a_batch_over_the_hour_goes_into_both_files(tmp_path: Path) -> None:
    poses = [at_hour(pose(seq), 5 + seq // 3) for seq in range(6)]
    collect(tmp_path, batch_of(*poses), batch_of(*poses[2:4]))
    assert poses_in(tmp_path) == all_of(*range(6))
    assert [len(read_hour(hour_path(tmp_path, "cage-07", hour))) for hour in (5, 6)] == [3, 3]


def test_coordinates_beyond_float32_are_kept_as_infinite(tmp_path: Path) -> None:
    strange = pose(1, keypoints={"snout": Keypoint(-1e300, -0.0, 0.5), "tail": Keypoint(1e300, 1e-300, 0.25)})
    collect(tmp_path, strange)
    (row,) = rows_in(tmp_path)
    assert str([row["snout_x"], row["snout_y"], row["tail_x"], row["tail_y"]]) == "[-inf, -0.0, inf, 0.0]"


def test_a_journal_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """It may hold messages as MessagePack."""
    archive, old = Archive(tmp_path), pose(1)
    archive.write(archive.accept("cage-07", "pose", msgspec.msgpack.encode(old), [old]), [])
    archive.finish()
    assert poses_in(tmp_path) == all_of(1)


def test_ever_new_keypoints_do_not_fill_the_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = iter(range(5_000))
    poses = [pose(n, {f"k{next(names)}": Keypoint(0.25, 2.0, 0.5) for _ in range(200)}) for n in range(6)]
    collect(tmp_path, *poses)
    assert [sum(value == 0.25 for value in row.values()) for row in rows_in(tmp_path)] == [200, 200, 0, 0, 0, 0]
    assert "more than 400 keypoints in an hour: k400 and others are left out" in caplog.text


def test_ever_new_tags_do_not_fill_the_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    starts = [started(seq, **{f"t{seq}-{n}": "x" for n in range(100)}) for seq in range(10)]
    collect(tmp_path, *seqs(*range(10)), *starts)
    assert [sum(value == "x" for value in row.values()) for row in rows_in(tmp_path)] == [*[100] * 3, *[0] * 7]
    assert "more than 300 tags in an hour" in caplog.text


def test_many_empty_animals_and_keypoints_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Each row has a cell for every keypoint of the hour: so 2 MB of messages could make a table of 100 million."""
    nobody = [AnimalMessage(id="", id_score=0.0, score=0.0, keypoints={})] * 64
    poses = [msgspec.structs.replace(pose(seq), animals=nobody) for seq in range(200)]
    names = {f"k{n}": Keypoint(0.25, 2.0, 0.5) for n in range(200)}
    tables = list(tables_of([pose(200, names), *poses]))
    assert max(len(table) * len(table.column_names) for table in tables) < 2_000_000
    assert sum(map(len, tables)) == 1 + 200 * 64


def test_ever_new_models_leave_the_file_readable(tmp_path: Path) -> None:
    """The metadata name the models of the hour, and there is a bound above which no reader takes them."""
    collect(tmp_path, *(pose(seq, model=f"m@{seq}") for seq in range(300)))
    assert len(rows_in(tmp_path)) == 300
    about = pyarrow.parquet.read_schema(hour_path(tmp_path, "cage-07", 0)).metadata[METADATA_KEY.encode()]
    assert json.loads(about)["models"] == [f"m@{seq}" for seq in range(100)]


@pytest.mark.parametrize("t_us", [0, 2**32 * 10**6, 2**53 - 1])
def test_clocks_that_jump_find_their_hour(tmp_path: Path, t_us: int) -> None:
    collect(tmp_path, pose(1, t_us=t_us), pose(2))
    assert len(poses_in(tmp_path)) == 2
    assert max(row["time"] for row in rows_in(tmp_path)).timestamp() == pytest.approx(max(t_us, 1) / 1e6)


def test_a_damaged_file_is_set_aside_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = hour_path(tmp_path, "cage-07", 0)
    path.parent.mkdir()
    path.write_bytes(b"PAR1 or so")
    (path.parent / "events.csv").write_text("spreadsheet", encoding="utf-8")
    collect(tmp_path, pose(1), started(1, cage="7"))
    assert rows_in(tmp_path)[0]["tag:cage"] == "7"
    assert path.with_name(f"{path.name}.damaged.1").read_bytes() == b"PAR1 or so"
    assert "cannot read" in caplog.text
    assert (path.parent / "events.csv.damaged.1").exists()


def test_a_file_of_another_program_is_no_hour(tmp_path: Path) -> None:
    path = hour_path(tmp_path, "cage-07", 0)
    path.parent.mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"boot": ["b"], "seq": ["one"]}), path)
    with pytest.raises(EdgeposeError, match="has no column 'frame', so edgepose has not written it; move it away"):
        read_hour(path)
    pyarrow.parquet.write_table(pyarrow.table({"boot": ["b"], "slot": [0], "frame": ["one"]}), path)
    for name in ("seq", "frame"):
        with pytest.raises(EdgeposeError, match=f"its {name} is not as edgepose writes it; move it away"):
            read_hour(path, ["boot", name])


def test_many_hours_are_written_one_at_a_time(tmp_path: Path) -> None:
    """Otherwise the hour of a fleet would stop the receiving for so long that the broker closes the connection."""
    archive = Archive(tmp_path, timing=ArchiveTiming(settle_s=0.0))
    take(archive, *(pose(1, device=f"cage-{n}") for n in range(5)))
    counts = []
    while len(counts) < 1000 and (not counts or counts[-1] < 5):
        archive.write_due()
        counts.append(len(poses_in(tmp_path)))
    assert counts[-1] == 5
    assert {b - a for a, b in itertools.pairwise(counts)} == {0, 1}
    archive.finish()


# --- tags --------------------------------------------------------------------------------------------------


def tags(folder: Path, name: str = "tag:subject") -> str:
    """Returns one letter for each row, a dash where there is no tag."""
    return "".join(row.get(name) or "-" for row in rows_in(folder))


ALL = "--aaaabbbb"
A, B = started(2, subject="a"), started(6, subject="b")


@pytest.mark.parametrize("order", [[A, B, "poses"], ["poses", B, A], [B, "poses", A], ["poses", A, B, A]])
def test_tags_hold_from_a_start_to_the_next_whatever_comes_first(tmp_path: Path, order: list[object]) -> None:
    for one in order:
        collect(tmp_path, *([one] if isinstance(one, EventMessage) else seqs(*range(10))))
    assert tags(tmp_path) == ALL


def test_a_kill_between_a_late_start_and_the_hours_it_changes(tmp_path: Path) -> None:
    collect(tmp_path, A, *seqs(*range(10)))
    killed = Archive(tmp_path)
    take(killed, B)
    killed._write("cage-07", None)  # the event is in its file
    killed._journal.close()
    assert tags(tmp_path) == "--aaaaaaaa"
    collect(tmp_path)
    assert tags(tmp_path) == ALL


def test_an_hour_has_every_tag_the_device_ever_had_and_other_boots_none(tmp_path: Path) -> None:
    elsewhere = msgspec.structs.replace(started(0, subject="x"), boot="c")
    collect(tmp_path, *seqs(1, 2), started(0, subject="a"), started(2, cage="7"), elsewhere)
    assert tags(tmp_path) == "a-"
    assert tags(tmp_path, "tag:cage") == "-7"


def test_tags_stay_in_a_file_that_was_moved_without_its_events(tmp_path: Path) -> None:
    collect(tmp_path, A, *seqs(1, 2, 3))
    (tmp_path / "cage-07" / "events.csv").unlink()
    collect(tmp_path, *seqs(4), started(4, subject="z"))
    assert tags(tmp_path) == "-aaz"


def test_a_late_start_rewrites_only_the_hours_it_changes(tmp_path: Path) -> None:
    collect(tmp_path, A, *(at_hour(pose(seq), seq) for seq in range(10)))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.parquet")}
    collect(tmp_path, started(4, subject="b"), started(6, subject="a"))
    changed = {path for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed == {hour_path(tmp_path, "cage-07", hour) for hour in (4, 5)}
    assert tags(tmp_path) == "--aabbaaaa"


def test_a_tag_and_a_keypoint_of_one_name_do_not_collide(tmp_path: Path) -> None:
    points = {"tag": Keypoint(1.0, 2.0, 0.5), "tag:x": Keypoint(3.0, 4.0, 0.25), "id": Keypoint(5.0, 6.0, 0.125)}
    collect(tmp_path, pose(1, keypoints=points), started(0, x="9", x_score="8", time="7"))
    (row,) = rows_in(tmp_path)
    assert (row["tag_x"], row["tag:x"], row["point:tag:x_x"]) == (1.0, "9", 3.0)
    assert (row["tag:x_score"], row["point:tag:x_score"], row["tag:time"]) == ("8", 0.25, "7")
    assert (row["id_score"], row["point:id_score"]) == (1.0, 0.125)


# --- events ------------------------------------------------------------------------------------------------


def test_events_are_there_once_and_leave_the_journal(tmp_path: Path) -> None:
    collect(tmp_path, event(1, text="on"), event(2, seq=7, text="off", why="noon"), event(1, text="on"))
    collect(tmp_path, event(2, seq=7, text="off", why="noon"), event(3))
    found = read_events(tmp_path / "cage-07" / "events.csv")
    assert [(one.event, one.seq, one.text, one.tags) for one in found] == [
        (1, 0, "on", {}),
        (2, 7, "off", {"why": "noon"}),
        (3, 0, "", {}),
    ]
    with sqlite3.connect(tmp_path / "journal.db") as database:
        assert database.execute("SELECT count(*) FROM event").fetchone() == (0,)
    database.close()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")), st.integers(0, 2**53 - 1))
def test_events_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, text: str, number: int) -> None:
    path = tmp_path_factory.mktemp("events") / "cage-07" / "events.csv"
    one = msgspec.structs.replace(event(1, text=text, tag=text), boot="b", t_us=number, seq=number)
    write_events(path, [one])
    assert read_events(path) == [one]


# --- what it knows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["nothing", "unlink", "damage"])
def test_what_lies_in_files_is_known_also_without_the_journal(tmp_path: Path, loss: str) -> None:
    collect(tmp_path, started(1, subject="a"), *seqs(1, 2, 5, 6))
    if loss == "unlink":
        (tmp_path / "journal.db").unlink()
    elif loss == "damage":
        (tmp_path / "journal.db").write_bytes(b"nonsense" * 1000)
    again = collect(tmp_path, *seqs(2, 3, 5, 9), event(7))
    assert (again.poses, again.duplicates) == (2, 2)
    assert poses_in(tmp_path) == all_of(1, 2, 3, 5, 6, 9)
    assert gaps_in(tmp_path) == [(4, 4), (7, 8)]
    assert len(read_events(tmp_path / "cage-07" / "events.csv")) == 2


def test_after_a_kill_before_the_files_everything_is_known(tmp_path: Path) -> None:
    killed = Archive(tmp_path)
    take(killed, *seqs(1, 2, 4), A)
    killed._journal.close()
    again = collect(tmp_path, *seqs(2, 4, 5))
    assert (again.poses, again.duplicates) == (1, 2)
    assert poses_in(tmp_path) == all_of(1, 2, 4, 5)


def test_a_group_member_that_goes_on_alone_reads_its_files(tmp_path: Path) -> None:
    collect(tmp_path, *seqs(1, 3, 3, 5), shared=True)
    assert not (tmp_path / "gaps.csv").exists()
    assert poses_in(tmp_path) == all_of(1, 3, 5)
    alone = collect(tmp_path, *seqs(3, 4))
    assert (alone.poses, alone.duplicates) == (1, 1)
    assert gaps_in(tmp_path) == [(2, 2)]


def test_a_group_member_keeps_no_account_of_what_others_have(tmp_path: Path) -> None:
    """Half of the poses are in other folders, so each pose would be a range of its own, for ever."""
    archive = Archive(tmp_path, shared=True)
    take(archive, *seqs(*range(0, 400, 2)))
    assert not archive.streams
    archive.finish()
    with sqlite3.connect(tmp_path / "journal.db") as database:
        assert database.execute("SELECT count(*) FROM written").fetchone() == (1,)
    database.close()


def test_a_journal_gives_back_what_a_flood_has_left(tmp_path: Path) -> None:
    archive = Archive(tmp_path, timing=ArchiveTiming(journal_free_pages=10))
    noise = random.Random(1)
    for one in map(pose, range(60)):
        payload = large(one, noise.randbytes(50_000).hex())
        archive.write(archive.accept("cage-07", "pose", payload, [one]), [])
    archive._journal._read("PRAGMA wal_checkpoint")
    assert (tmp_path / "journal.db").stat().st_size > 3_000_000
    archive.finish()
    assert (tmp_path / "journal.db").stat().st_size < 1_000_000


def test_another_run_is_no_gap() -> None:
    stream = Stream()
    for seq, frame in [(1000, 0), (1001, 1), (1002, 4), (5_000_000, 0), (5_000_003, 3)]:
        stream.add(seq, seq, frame, frame)
    assert stream.gaps() == [(5_000_001, 5_000_002)]


def test_a_long_stream_keeps_only_the_ends() -> None:
    stream = Stream()
    for seq in range(50_000):
        stream.add(seq, seq, 2 * seq, 2 * seq)
    assert (len(stream), stream.gaps()) == (50_000, [])
    assert len(stream._frames) < 100
