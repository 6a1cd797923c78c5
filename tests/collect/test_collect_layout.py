"""The tables of collected poses, as pandas and pyarrow read them: animals, millimetres, the same types every hour."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd  # noqa: TID251  as users read the files
import pytest
from collecting import KEYPOINTS, at_hour, gaps_in, pose, rows_in, started
from hypothesis import given, settings
from hypothesis import strategies as st
from mouse_messages import INFO
from pose_tables import pose_table
from test_collect_archive import collect, seqs, take

from edgepose.collect.archive import Archive
from edgepose.collect.columns import tables_of
from edgepose.collect.hours import RUN_COLUMNS, hour_path, read_hour, runs_in, write_hour
from edgepose.protocol.messages import AnimalMessage, Keypoint
from edgepose.tables.layout import METADATA_KEY, column_type, keypoint_column
from edgepose.tables.parquet import arrow_type
from edgepose.tables.pose_table import write_table
from edgepose.types import Skeleton

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

FIXED = [
    *("device", "boot", "seq", "frame", "slot", "animal", "time", "mono_us", "synced", "clock_error_us", "replay"),
    *("latency_ms", "model", "width", "height", "id_score", "score"),
]


def animal(name: str, **keypoints: Keypoint) -> AnimalMessage:
    return AnimalMessage(id=name, id_score=0.5, score=0.75, keypoints=keypoints)


def read(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(hour_path(folder, "cage-07", 0))


def test_one_animal_as_pandas_reads_it(tmp_path: Path) -> None:
    point = Keypoint(1.5, 2.5, 0.9, x_mm=15.25, y_mm=-25.5)
    collect(tmp_path, pose(1, {"snout": point}, t_us=1_500_000, mono_us=7, clock_error_us=180), started(0, cage="=7"))
    found = read(tmp_path)
    points = ["snout_x", "snout_y", "snout_score", "snout_x_mm", "snout_y_mm"]
    assert [*found.columns] == [*FIXED, "tag:cage", *points]
    row = found.iloc[0]
    assert row[["device", "boot", "seq", "frame", "slot", "animal"]].tolist() == ["cage-07", "b", 1, 1, 0, "1"]
    assert (row["time"].timestamp(), row["mono_us"], row["clock_error_us"]) == (1.5, 7, 180)
    assert row[["width", "height", "id_score", "score"]].tolist() == pytest.approx([64, 48, 1.0, 0.9])
    assert row[points].tolist() == pytest.approx([1.5, 2.5, 0.9, 15.25, -25.5])
    assert row["tag:cage"] == "=7"


def test_each_animal_has_a_row_and_a_frame_without_any_has_one_too(tmp_path: Path) -> None:
    both = [animal("m3", snout=Keypoint(1, 2, 0.5)), animal("m4", tail=Keypoint(3, 4, 0.25))]
    collect(tmp_path, pose(2, animals=both), pose(3, animals=[]), pose(1))
    found = read(tmp_path)
    assert found["seq"].tolist() == [1, 2, 2, 3]
    assert found["slot"].tolist() == [0, 0, 1, -1]
    assert [*found["animal"].dropna()] == ["1", "m3", "m4"]
    assert found["id_score"].fillna(-1).tolist() == [1.0, 0.5, 0.5, -1]
    assert found["snout_x"].fillna(-1).tolist() == [1, 1, -1, -1]
    assert found["tail_y"].fillna(-1).tolist() == [-1, -1, 4, -1]
    assert not found.duplicated(["device", "boot", "seq", "slot"]).any()


@pytest.mark.parametrize(("first", "again"), [("ab", "abc"), ("", "abc"), ("abc", ""), ("ab", "ab")])
def test_a_pose_that_comes_twice_keeps_the_animals_of_the_first_time(tmp_path: Path, first: str, again: str) -> None:
    collect(tmp_path, pose(1, animals=[*map(animal, first)]), pose(2), shared=True)
    collect(tmp_path, pose(1, animals=[*map(animal, again)]), shared=True)
    assert [row["animal"] for row in rows_in(tmp_path)] == [*(first or [None]), "1"]


def test_gaps_count_poses_and_not_animals(tmp_path: Path) -> None:
    several = [animal("a"), animal("b")]
    archive = collect(tmp_path, *(pose(seq, animals=several if seq % 2 else []) for seq in (1, 2, 5, 6)))
    assert (archive.poses, gaps_in(tmp_path)) == (4, [(3, 4)])
    (tmp_path / "journal.db").unlink()
    again = collect(tmp_path, *seqs(2, 3))
    assert (again.poses, again.duplicates, gaps_in(tmp_path)) == (1, 1, [(4, 4)])


def test_types_are_the_same_in_every_hour(tmp_path: Path) -> None:
    """Also where a column is null throughout, so that a folder can be read as one table."""
    full = {"snout": Keypoint(1, 2, 0.5, x_mm=1.0, y_mm=2.0), "tail": Keypoint(1, 2, 0.5)}
    archive = Archive(tmp_path)
    archive.keep_info(msgspec.structs.replace(INFO, model="fake@000000", skeleton=Skeleton(("snout", "tail"))))
    take(archive, started(2, cage="7"), at_hour(pose(1, animals=[]), 5), at_hour(pose(2, full, mono_us=1), 6))
    archive.finish()
    paths = [hour_path(tmp_path, "cage-07", hour) for hour in (5, 6)]
    schemas = [pq.read_schema(path) for path in paths]
    for schema in schemas:
        assert schema.types == [arrow_type(column_type(name)) for name in schema.names]
        about = json.loads(schema.metadata[METADATA_KEY.encode()])
        assert (about["layout"], about["models"]) == (2, ["fake@000000"])
        assert about["skeleton"]["keypoints"] == ["snout", "tail"]
    found = pq.ParquetDataset(paths, schema=pa.unify_schemas(schemas), partitioning=None).read()
    assert found["snout_x_mm"].to_pylist() == [None, 1.0]


def test_analyze_writes_the_same_columns(tmp_path: Path) -> None:
    """In the same order and with the same types; each has some that the other cannot know."""
    collect(tmp_path, pose(1, {name: Keypoint(1, 2, 0.5, x_mm=1.0, y_mm=2.0) for name in ("snout", "id")}))
    table = pose_table(np.ones((1, 2, 3)), "snout", "id", xy_mm=np.ones((1, 2, 2)))
    write_table(tmp_path / "poses.parquet", table)
    collected, analyzed = pq.read_schema(hour_path(tmp_path, "cage-07", 0)), pq.read_schema(tmp_path / "poses.parquet")
    both = {*collected.names} & {*analyzed.names}
    assert {*analyzed.names} - both == {"video", "t_s"}
    assert [field for field in collected if field.name in both] == [field for field in analyzed if field.name in both]


def test_the_skeleton_stays_when_the_device_has_another_model(tmp_path: Path) -> None:
    for model, names, seq in (("fake@000000", ("ear", "snout"), 1), ("other@1", ("paw",), 2)):
        archive = Archive(tmp_path)
        archive.keep_info(msgspec.structs.replace(INFO, model=model, skeleton=Skeleton(names)))
        take(archive, pose(seq))
        archive.finish()
    schema = pq.read_schema(hour_path(tmp_path, "cage-07", 0))
    assert json.loads(schema.metadata[METADATA_KEY.encode()])["skeleton"]["keypoints"] == ["ear", "snout"]


NUMBERS = st.floats(-(2.0**20), 2.0**20, width=32)
SCORES = st.floats(0, 1, width=32)
POINTS = st.builds(
    lambda x, y, score, mm: Keypoint(x, y, score, *mm),
    NUMBERS,
    NUMBERS,
    SCORES,
    st.just(()) | st.tuples(NUMBERS, NUMBERS),
)
NAMES = st.text(max_size=3) | st.sampled_from(["id", "tag:x", "point:id", "a_x"])
ANIMALS = st.builds(
    AnimalMessage,
    id=st.text(max_size=3),
    id_score=SCORES,
    score=SCORES,
    keypoints=st.dictionaries(NAMES, POINTS, max_size=3),
)


@settings(max_examples=50)
@given(st.lists(st.lists(ANIMALS, max_size=3), min_size=1, max_size=4))
def test_a_file_says_what_the_messages_said(
    tmp_path_factory: pytest.TempPathFactory, frames: Sequence[list[AnimalMessage]]
) -> None:
    path = hour_path(tmp_path_factory.mktemp("round"), "cage-07", 0)
    write_hour(path, None, tables_of(pose(seq, animals=animals) for seq, animals in enumerate(frames)))
    rows = {(row["seq"], row["slot"]): row for row in read_hour(path).to_pylist()}
    said = {(seq, slot): one for seq, animals in enumerate(frames) for slot, one in enumerate(animals)}
    said |= {(seq, -1): None for seq, animals in enumerate(frames) if not animals}
    assert rows.keys() == said.keys()
    for key, one in said.items():
        values = {name: value for name, value in rows[key].items() if column_type(name) == "float32"}
        expected = dict.fromkeys(values)
        if one is not None:
            expected |= {"id_score": one.id_score, "score": one.score}
            for name, point in one.keypoints.items():
                parts = {part: getattr(point, part) for part in ("x", "y", "score", "x_mm", "y_mm")}
                expected |= {keypoint_column(name, part): mm for part, mm in parts.items() if mm is not msgspec.UNSET}
        assert values == expected
        assert rows[key]["animal"] == (one.id if one else None)


def test_many_poses_of_several_animals(tmp_path: Path) -> None:
    """More than are converted at once, and half of them come twice."""
    counts = np.random.default_rng(1).integers(0, 4, 12_000)
    animals = [AnimalMessage(id=str(n), id_score=1.0, score=1.0, keypoints=KEYPOINTS) for n in range(4)]
    poses = [pose(seq, animals=animals[:number]) for seq, number in enumerate(counts)]
    path = hour_path(tmp_path, "cage-07", 0)
    table = write_hour(path, None, [*tables_of(poses), *tables_of(poses[::2])])
    assert len(table) == np.maximum(counts, 1).sum()
    assert len({*zip(table["seq"].to_pylist(), table["slot"].to_pylist(), strict=True)}) == len(table)
    (run,) = runs_in(read_hour(path, RUN_COLUMNS))
    assert run[1:] == (0, 11_999, 0, 11_999)
