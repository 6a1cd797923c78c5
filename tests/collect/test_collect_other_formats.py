"""Files beside the Parquet ones, read with pandas: DeepLabCut's layout as its own tools do, and ours as CSV."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from collecting import KEYPOINTS, pose, started
from mouse_messages import INFO
from test_collect_archive import take

from edgepose.cli.main import main
from edgepose.collect.archive import Archive
from edgepose.collect.merge import merge
from edgepose.protocol.messages import AnimalMessage, Keypoint, Message
from edgepose.types import Skeleton

pytest.importorskip("pyarrow")
pandas = pytest.importorskip("pandas")

READERS = {
    "csv": lambda path: pandas.read_csv(path, header=[0, 1, 2], index_col=0),
    "h5": lambda path: pandas.read_hdf(path, "df_with_missing"),
}


def collect(folder: Path, *messages: Message, also: tuple[str, ...] = ("csv",)) -> None:
    archive = Archive(folder, also)
    take(archive, *messages)
    archive.finish()


def names(folder: Path) -> list[str]:
    return [path.name for path in sorted(folder.glob("cage-07/19*")) if path.suffix != ".parquet"]


@pytest.mark.parametrize("ending", ["csv", "h5"])
def test_pandas_reads_them_as_deeplabcuts_own(tmp_path: Path, ending: str) -> None:
    if ending == "h5":
        pytest.importorskip("tables")
    archive = Archive(tmp_path, [ending])
    archive.keep_info(msgspec.structs.replace(INFO, model="fake@000000", skeleton=Skeleton(("snout", "ear", "tail"))))
    tail = {"tail": Keypoint(12.34, 5.67, 0.891)}
    take(archive, pose(1001, frame=1, keypoints={**tail, **KEYPOINTS}), pose(1002, frame=4, keypoints=tail))
    archive.finish()
    assert names(tmp_path) == [f"1970-01-01T00Z.{ending}"]
    found = READERS[ending](tmp_path / "cage-07" / f"1970-01-01T00Z.{ending}")
    assert list(found.index) == [1, 4]
    assert list(found.columns.names) == ["scorer", "bodyparts", "coords"]
    assert list(found.columns.get_level_values("scorer").unique()) == ["fake@000000"]
    assert list(found.columns.get_level_values("bodyparts").unique()) == ["snout", "ear", "tail"]
    one = found["fake@000000"]
    assert one.loc[4, "tail"].tolist() == [12.34, 5.67, 0.891]  # no digits that float32 invented
    assert one.loc[1, "snout"].tolist() == [1.0, 2.0, 0.9]
    assert one.loc[4, "snout"].isna().all()
    assert one["ear"].isna().all().all()


def test_each_start_of_the_daemon_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Frame numbers begin at 0 again at a start, even where nothing else shows the start."""
    first, second = [pose(1000 + n, frame=n, t_us=10 + n) for n in range(3)], [pose(9000, frame=2, t_us=20)]
    other = pose(5, frame=5, boot="a", t_us=30)
    collect(tmp_path, *second, other)
    assert names(tmp_path) == ["1970-01-01T00Z.csv", "1970-01-01T00Z_2.csv"]
    collect(tmp_path, *first, also=())  # what is there is kept up to date
    assert names(tmp_path) == ["1970-01-01T00Z.csv", "1970-01-01T00Z_2.csv", "1970-01-01T00Z_3.csv"]
    found = [list(READERS["csv"](tmp_path / "cage-07" / name).index) for name in names(tmp_path)]
    assert found == [[0, 1, 2], [2], [5]]


def test_another_model_has_a_file_of_its_own(tmp_path: Path) -> None:
    collect(tmp_path, pose(1), pose(2, model="new@1", keypoints={"tail": Keypoint(1.0, 2.0, 0.5)}), started(1))
    found = [READERS["csv"](tmp_path / "cage-07" / name) for name in names(tmp_path)]
    assert [sorted({column[:2] for column in one.columns}) for one in found] == [
        [("fake@000000", "snout")],
        [("new@1", "tail")],
    ]


def test_an_hour_without_any_keypoint_has_none(tmp_path: Path) -> None:
    collect(tmp_path, pose(1, keypoints={}))
    assert names(tmp_path) == []


def test_merge_writes_them_when_asked_also_for_what_was_there(tmp_path: Path) -> None:
    collect(tmp_path / "all", pose(1), also=())
    merge([tmp_path / "all"], ["csv"])
    assert names(tmp_path / "all") == ["1970-01-01T00Z.csv"]
    collect(tmp_path / "b", pose(2, frame=2), also=())
    merge([tmp_path / "all", tmp_path / "b"])
    assert list(READERS["csv"](tmp_path / "all" / "cage-07" / "1970-01-01T00Z.csv").index) == [1, 2]
    assert names(tmp_path / "b") == []


def test_h5_without_h5py_says_so_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert main(["collect", "-o", str(tmp_path / "out"), "--also", "h5"]) == 1
    assert "pip install 'edgepose[h5]'" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["csv", "h5"])
def test_several_animals_have_a_level_of_their_own(tmp_path: Path, ending: str) -> None:
    if ending == "h5":
        pytest.importorskip("tables")
    m3, m4 = (AnimalMessage(id=name, id_score=1.0, score=1.0, keypoints=KEYPOINTS) for name in ("m3", "m4"))
    poses = [pose(1, animals=[m3]), pose(2, animals=[]), pose(3, animals=[m4, m3])]
    collect(tmp_path, *poses, also=(ending,))
    header = {"header": [0, 1, 2, 3], "index_col": 0}
    path = tmp_path / "cage-07" / f"1970-01-01T00Z.{ending}"
    found = pandas.read_csv(path, **header) if ending == "csv" else pandas.read_hdf(path)
    assert list(found.columns.names) == ["scorer", "individuals", "bodyparts", "coords"]
    assert list(found.index) == [1, 2, 3]
    x = found.xs("x", axis=1, level="coords").droplevel(["scorer", "bodyparts"], axis=1)
    assert x["m3"].fillna(-1).tolist() == [1, -1, 1]
    assert x["m4"].fillna(-1).tolist() == [-1, -1, 1]


def test_our_own_layout_as_csv(tmp_path: Path) -> None:
    point = Keypoint(0.1, 2.0, 0.9, x_mm=15.25, y_mm=-25.5)
    poses = [pose(1, {"snout": point}, t_us=1_000_000, mono_us=7), pose(2, animals=[], t_us=1_500_000, mono_us=8)]
    collect(tmp_path, *poses, started(0, cage="=7"), also=("tidy.csv",))
    assert names(tmp_path) == ["1970-01-01T00Z.tidy.csv"]
    path = tmp_path / "cage-07" / "1970-01-01T00Z.tidy.csv"
    found, parquet = (
        pandas.read_csv(path, parse_dates=["time"]),
        pandas.read_parquet(path.parent / "1970-01-01T00Z.parquet"),
    )
    assert list(found.columns) == list(parquet.columns)
    assert found["time"].tolist() == parquet["time"].tolist()
    assert found["slot"].tolist() == [0, -1]
    assert found["synced"].tolist() == [True, True]
    assert found["snout_x"].fillna(-1).tolist() == [0.1, -1]
    assert found["snout_x_mm"].fillna(-1).tolist() == [15.25, -1]
    assert found["tag:cage"].tolist() == ["'=7", "'=7"]  # no formula in a spreadsheet
    collect(tmp_path, pose(3), also=())
    assert pandas.read_csv(path)["seq"].tolist() == [1, 2, 3]


@pytest.mark.slow
def test_an_hour_with_the_most_keypoints_and_the_longest_names_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tables")
    for part in range(5):
        points = {f"{part * 200 + k:04}" + "\u8001" * 196: Keypoint(1.0, 2.0, 0.5) for k in range(200)}
        collect(tmp_path, pose(part, points), also=("csv", "h5"))
    found = pandas.read_hdf(tmp_path / "cage-07" / "1970-01-01T00Z.h5")
    # Two models with 200 keypoints each may have run within the hour; what comes beyond them is left out.
    assert found.shape == (5, 400 * 3)
    assert found.notna().to_numpy().sum() == 2 * 200 * 3
