"""Tables of videos, read as users read them: Parquet and CSV in our layout, CSV and H5 in DeepLabCut's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd  # noqa: TID251  as users read the files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pose_tables import pose_table, values_of_tidy

from edgepose.errors import EdgeposeError
from edgepose.tables.layout import METADATA_KEY, column_type, in_order, metadata
from edgepose.tables.parquet import arrow_table, arrow_type, plain_parts, read_parquet, write_parquet
from edgepose.tables.pose_table import format_of, pose_columns, with_part, write_table

pq = pytest.importorskip("pyarrow.parquet")

VALUES = np.array([[[1.5, 2, 0.9], [np.nan, np.nan, 0.1]], [[3, 4, 0.8], [5, 6, 0.6]]])
XY_MM = VALUES[..., :2] / 10
READERS = {"poses.parquet": pd.read_parquet, "poses.tidy.csv": pd.read_csv}


@pytest.mark.parametrize("name", READERS)
def test_our_layout_as_pandas_reads_it(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, pose_table(VALUES, "snout", "tail", xy_mm=XY_MM))
    found = READERS[name](tmp_path / name)
    assert [*found.columns] == [
        *("video", "frame", "slot", "animal", "t_s", "model", "width", "height", "id_score", "score"),
        *(f"{keypoint}_{part}" for keypoint in ("snout", "tail") for part in ("x", "y", "score", "x_mm", "y_mm")),
    ]
    assert found["video"].tolist() == ["mouse.avi"] * 2
    assert found["frame"].tolist() == [0, 1]
    assert found["slot"].tolist() == [0, 0]
    assert found["animal"].astype(str).tolist() == ["1", "1"]
    assert found["t_s"].tolist() == [0.0, 0.04]
    assert found["score"].tolist() == pytest.approx([0.5, 0.7])
    assert found[["width", "height"]].iloc[0].tolist() == [320, 240]
    assert found["snout_x_mm"].tolist() == pytest.approx([0.15, 0.3])
    assert found["tail_x"].isna().tolist() == [True, False]
    np.testing.assert_array_equal(values_of_tidy(found), VALUES.astype(np.float32))
    assert not found.duplicated(["video", "frame", "slot"]).any()


def test_millimetres_have_columns_only_where_they_are_known() -> None:
    assert not [name for name in pose_columns(pose_table(VALUES, "snout", "tail")) if name.endswith("_mm")]


def test_the_order_and_the_types_are_those_of_the_layout(tmp_path: Path) -> None:
    """A column without any value keeps its type."""
    table = pose_table(VALUES * np.nan, "snout", "id", xy_mm=XY_MM * np.nan)
    columns = pose_columns(table)
    assert [*columns] == in_order(columns)
    write_table(tmp_path / "a.parquet", table)
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert schema.types == [arrow_type(column_type(name)) for name in schema.names]
    assert "point:id_score" in schema.names
    about = json.loads(schema.metadata[METADATA_KEY.encode()])
    assert (about["layout"], about["models"], about["skeleton"]["keypoints"]) == (2, ["model@123456"], ["snout", "id"])


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=5),
    st.text(min_size=1, max_size=5),
)
def test_parquet_and_csv_agree(tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]], name: str) -> None:
    folder = tmp_path_factory.mktemp("tables")
    table = pose_table(np.array(rows)[:, None], name)
    for file in READERS:
        write_table(folder / file, table)
    read = read_parquet(folder / "poses.parquet")
    (again,) = plain_parts(read)
    np.testing.assert_array_equal(np.stack([*again.values()][-3:], axis=1), np.array(rows, np.float32))
    csv = pd.read_csv(folder / "poses.tidy.csv", keep_default_na=False, na_values=[""])
    np.testing.assert_array_equal(values_of_tidy(csv), np.array(rows, np.float32)[:, None])
    assert arrow_table(again).equals(read)


def test_a_reader_ignores_unknown_columns_and_refuses_a_newer_layout(tmp_path: Path) -> None:
    table = arrow_table({**pose_columns(pose_table(VALUES, "snout", "tail")), "mood": ["calm", "alert"]})
    about = metadata(["m"], None)
    write_parquet(tmp_path / "a.parquet", table.replace_schema_metadata({**about, "another": "program's"}))
    assert read_parquet(tmp_path / "a.parquet").equals(table)
    assert read_parquet(tmp_path / "a.parquet", ["frame", "slot"]).column_names == ["frame", "slot"]
    newer = {METADATA_KEY: about[METADATA_KEY].replace("2", "3")}
    write_parquet(tmp_path / "b.parquet", table.replace_schema_metadata(newer))
    with pytest.raises(EdgeposeError, match="a newer edgepose has written it \\(layout 3\\); upgrade edgepose"):
        read_parquet(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("name", "ending", "expected"),
    [
        ("a.csv", ".csv", "a_x.csv"),
        ("A.Tidy.CSV", ".tidy.csv", "A_x.Tidy.CSV"),
        ("a.b.h5", ".h5", "a.b_x.h5"),
        ("tidy.csv", ".csv", "tidy_x.csv"),
    ],
)
def test_the_ending_chooses_the_format(name: str, ending: str, expected: str) -> None:
    assert format_of(Path(name)) == ending
    assert with_part(Path(name), "_x") == Path(expected)
