"""Files of earlier collectors, and of later ones, in a folder that this collector uses: nothing is lost or mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd  # noqa: TID251  as users read the files
import pytest
from collecting import all_of, pose, poses_in, rows_in, started
from test_collect_archive import collect, seqs
from test_collect_layout import FIXED, read

from edgepose.collect.hours import hour_path
from edgepose.collect.merge import merge
from edgepose.protocol.messages import Keypoint
from edgepose.tables.layout import METADATA_KEY

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write_first_layout(folder: Path, *seqs: int, hour: int = 0, keypoints: bool = True) -> Path:
    """Writes an hour as collectors did before animals had rows of their own."""
    count, single = len(seqs), pa.float32()
    last = [None] if count > 1 else []
    columns = {
        "boot": ["b"] * count,
        "seq": pa.array(seqs, pa.int64()),
        "frame": pa.array(seqs, pa.int64()),
        "time": pa.array(seqs, pa.timestamp("us", tz="UTC")),
        "synced": [True] * count,
        "replay": [False] * count,
        "latency_ms": [1.0] * count,
        "model": ["fake@000000"] * count,
        "width": pa.array([64] * count, pa.int32()),
        "height": pa.array([48] * count, pa.int32()),
        "tag_cage": pa.array(["7"] * count).dictionary_encode(),
    }
    points = {
        "snout_x": pa.array([1.0] * count, single),
        "snout_y": pa.array([2.0] * count, single),
        "snout_score": pa.array([0.9] * count, single),
        "tag_x": pa.array([3.0] * (count - 1) + last, single),
        "tag_y": pa.array([4.0] * (count - 1) + last, single),
        "tag_score": pa.array([0.5] * (count - 1) + last, single),
    }
    path = hour_path(folder, "cage-07", hour)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns | (points if keypoints else {})), path)
    return path


def test_an_earlier_file_is_converted_when_more_of_its_hour_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_first_layout(tmp_path, 1, 2, 4)
    archive = collect(tmp_path, *seqs(2, 3), started(3, subject="m"))
    assert (archive.poses, archive.duplicates) == (1, 1)
    found = read(tmp_path)
    assert found["seq"].tolist() == [1, 2, 3, 4]
    assert [*found.columns[: len(FIXED)]] == FIXED
    tags = [name for name in found.columns if "tag" in name]
    assert tags == ["tag:cage", "tag:subject", "tag_x", "tag_y", "tag_score"]
    assert found["tag:cage"].fillna("-").tolist() == ["7", "7", "-", "-"]  # the start of seq 3 has no such tag
    assert found["tag_x"].fillna(-1).tolist() == [3, 3, -1, -1]
    assert found["score"].tolist() == pytest.approx([0.7, 0.7, 0.9, 0.9])
    assert found["animal"].tolist() == ["1"] * 4
    assert found["slot"].tolist() == [0] * 4
    assert found["mono_us"].isna().all()
    assert "files of 1 device have the columns of an earlier edgepose; `edgepose collect merge" in caplog.text


def test_merge_of_one_folder_rewrites_earlier_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [write_first_layout(tmp_path, 1, 2), write_first_layout(tmp_path, 3, 4, hour=1)]
    merge([tmp_path])
    assert poses_in(tmp_path) == all_of(1, 2, 3, 4)
    assert [pq.read_schema(path).names[: len(FIXED)] for path in paths] == [FIXED] * 2
    caplog.clear()
    written = [path.stat().st_mtime_ns for path in paths]
    collect(tmp_path)
    merge([tmp_path])
    assert [path.stat().st_mtime_ns for path in paths] == written
    assert "earlier" not in caplog.text


def test_merge_converts_what_an_earlier_collector_wrote(tmp_path: Path) -> None:
    earlier = write_first_layout(tmp_path / "a", 1, 2)
    collect(tmp_path / "b", *seqs(2, 3))
    assert "3 poses of 1 device, 0 missing" in merge([tmp_path / "all", tmp_path / "a", tmp_path / "b"])
    assert read(tmp_path / "all")["slot"].tolist() == [0, 0, 0]
    assert pq.read_schema(earlier).names[0] == "boot"


def test_an_earlier_pose_without_keypoints_is_an_animal_with_score_0(tmp_path: Path) -> None:
    """The converter of messages does the same."""
    write_first_layout(tmp_path, 1, keypoints=False)
    (row,) = rows_in(tmp_path)
    assert (row["slot"], row["animal"], row["score"]) == (0, "1", 0.0)


def test_an_earlier_file_in_double_precision_keeps_its_keypoints(tmp_path: Path) -> None:
    """Another program has written it again; R, for example, has no other numbers."""
    path = write_first_layout(tmp_path, 1, 2)
    table = pq.read_table(path, partitioning=None)
    double = [field.with_type(pa.float64()) if field.type == pa.float32() else field for field in table.schema]
    pq.write_table(table.cast(pa.schema(double)), path)
    merge([tmp_path])
    first, _ = rows_in(tmp_path)
    assert (first["snout_x"], first["snout_y"], first["tag_x"]) == (1.0, 2.0, 3.0)
    assert first["score"] == pytest.approx(0.7)


def test_an_earlier_file_that_cannot_be_converted_does_not_stop_the_collector(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_first_layout(tmp_path, 1, 2)
    pq.write_table(pq.read_table(path, partitioning=None).append_column("tag_x1", pa.array([[1, 2], []])), path)
    collect(tmp_path, pose(3))
    assert poses_in(tmp_path) == all_of(3)
    assert "cannot be converted from the earlier columns" in caplog.text


def test_columns_of_others_stay_when_an_earlier_file_is_converted(tmp_path: Path) -> None:
    path = write_first_layout(tmp_path, 1, 2)
    table = pq.read_table(path, partitioning=None)
    for name, values in {"animal": ["m3", "m4"], "groom_score": [0.5, 1.0], "note": ["", "x"]}.items():
        table = table.append_column(name, pa.array(values))
    pq.write_table(table, path)
    merge([tmp_path])
    first, second = rows_in(tmp_path)
    assert [(row["animal"], row["animal_"], row["groom_score"], row["note"]) for row in (first, second)] == [
        ("1", "m3", 0.5, ""),
        ("1", "m4", 1.0, "x"),
    ]


def test_texts_in_a_column_that_a_keypoint_could_have_stay(tmp_path: Path) -> None:
    """They get another name, because such a keypoint may come one day."""
    collect(tmp_path, pose(1))
    path = hour_path(tmp_path, "cage-07", 0)
    pd.read_parquet(path).assign(groom_score=["often"]).to_parquet(path)
    collect(tmp_path, pose(2, keypoints={"groom": Keypoint(1.0, 2.0, 0.5)}))
    first, second = rows_in(tmp_path)
    assert (first["groom_score_"], first["groom_score"]) == ("often", None)
    assert (second["groom_score_"], second["groom_score"]) == (None, 0.5)


def test_a_file_of_a_newer_edgepose_is_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    collect(tmp_path, pose(1))
    path = hour_path(tmp_path, "cage-07", 0)
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps({"layout": 3, "skeleton": 7})}), path)
    collect(tmp_path, pose(2))
    assert poses_in(tmp_path) == all_of(2)
    assert "a newer edgepose has written it (layout 3)" in caplog.text
    assert len(pd.read_parquet(path.with_name(f"{path.name}.damaged.1"))) == 1


def test_a_file_that_pandas_has_written_again_is_still_ours(tmp_path: Path) -> None:
    """It has other types for texts, and does not say which layout it has."""
    collect(tmp_path, pose(1), started(1, cage="7"))
    path = hour_path(tmp_path, "cage-07", 0)
    pd.read_parquet(path).assign(groom_score=[0.5]).to_parquet(path)
    archive = collect(tmp_path, *seqs(1, 2))
    assert (archive.poses, archive.duplicates) == (1, 1)
    found = read(tmp_path)
    assert found["slot"].tolist() == [0, 0]
    assert found["groom_score"].fillna(-1).tolist() == [0.5, -1]
    assert found["tag:cage"].tolist() == ["7", "7"]


def test_columns_of_others_stay_when_an_hour_is_written_again(tmp_path: Path) -> None:
    collect(tmp_path, pose(1))
    path = hour_path(tmp_path, "cage-07", 0)
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.append_column("behaviour", pa.array(["rearing"])), path)
    collect(tmp_path, pose(2))
    assert read(tmp_path)["behaviour"].fillna("-").tolist() == ["rearing", "-"]
