"""DeepLabCut's H5 label files are read as pandas reads them, but nothing in them is run."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd  # noqa: TID251  as DeepLabCut writes the files
import pytest

from edgepose.errors import DatasetError
from edgepose_train.labels.dlc_h5 import H5_KEY, read_h5_cells, write_h5_cells
from edgepose_train.labels.label_cells import Cells, cell_text

COLUMNS = pd.MultiIndex.from_product(
    [["Ann"], ["snout", "bout de l'oreille\n", "老鼠"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
)
NAMES = [f"labeled-data/cage/img{i}.png" for i in range(3)]
INDEXES = {"names": NAMES, "levels": pd.MultiIndex.from_tuples([tuple(name.split("/")) for name in NAMES])}


def labels(index=NAMES) -> pd.DataFrame:
    values = np.arange(18.0).reshape(3, 6) / 3
    values[1, 2:4] = np.nan
    return pd.DataFrame(values, columns=COLUMNS, index=index)


def as_read(frame: pd.DataFrame) -> Cells:
    """What pandas says about a frame, as cells."""
    width = frame.index.nlevels
    header = [[name, *[""] * (width - 1), *frame.columns.get_level_values(name)] for name in frame.columns.names]
    keys = [key if isinstance(key, tuple) else (key,) for key in frame.index]
    rows = [[cell_text(value) for value in row] for row in frame.to_numpy().tolist()]
    return Cells(header, [[*key, *row] for key, row in zip(keys, rows, strict=True)], width)


@pytest.mark.parametrize(
    ("layout", "index"), [("fixed", "names"), ("fixed", "levels"), ("table", "names")], ids=lambda name: name
)
def test_both_layouts_are_read_as_pandas_reads_them(layout, index, tmp_path):
    frame = labels(INDEXES[index])
    frame.to_hdf(tmp_path / "a.h5", key=H5_KEY, format=layout)
    assert read_h5_cells(tmp_path / "a.h5") == as_read(frame)


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_columns_of_several_types_keep_their_places(layout, tmp_path):
    frame = labels()
    frame[COLUMNS[1]] = np.array([7, 8, 9], np.int64)
    frame[COLUMNS[4]] = np.array([0.5, 1.5, 2.5], np.float32)
    frame.to_hdf(tmp_path / "a.h5", key=H5_KEY, format=layout)
    assert read_h5_cells(tmp_path / "a.h5") == as_read(frame)


def test_a_table_without_rows(tmp_path):
    labels().iloc[:0].to_hdf(tmp_path / "a.h5", key=H5_KEY)
    cells = read_h5_cells(tmp_path / "a.h5")
    assert cells.rows == []
    write_h5_cells(tmp_path / "b.h5", cells)
    assert read_h5_cells(tmp_path / "b.h5") == cells


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES.keys())
def test_what_is_written_is_read_again_and_by_pandas(index, tmp_path):
    cells = as_read(labels(index))
    write_h5_cells(tmp_path / "a.h5", cells)
    found = pd.read_hdf(tmp_path / "a.h5", H5_KEY)
    pd.testing.assert_frame_equal(found, labels(INDEXES["levels"]), check_exact=True)
    assert [row[-6:] for row in read_h5_cells(tmp_path / "a.h5").rows] == [row[-6:] for row in cells.rows]


@pytest.mark.parametrize("project", ["openfield-Pranav-2018-10-30", "Reaching-Mackenzie-2018-08-30"])
def test_the_files_of_public_projects(public_projects, project):
    paths = sorted((public_projects / project).rglob("CollectedData_*.h5"))
    assert paths
    for path in paths:
        assert read_h5_cells(path) == as_read(pd.read_hdf(path))


def test_nothing_in_a_file_is_run(tmp_path):
    """The pickle would make a file: `posix.system("touch ...")`."""
    path = tmp_path / "a.h5"
    labels().to_hdf(path, key=H5_KEY, format="table")
    with h5py.File(path, "r+") as file:
        file[H5_KEY].attrs["non_index_axes"] = np.bytes_(f"cposix\nsystem\n(Vtouch {tmp_path}/run\ntR.".encode())
    with pytest.raises(DatasetError, match=r"cannot read as H5 \(a name is stored as an object, by GLOBAL\)"):
        read_h5_cells(path)
    assert not (tmp_path / "run").exists()


def test_names_that_are_stored_as_objects_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    labels().to_hdf(path, key=H5_KEY)
    with h5py.File(path, "r+") as file:
        del file[H5_KEY]["axis1"]
        axis = file[H5_KEY].create_dataset("axis1", (3,), h5py.vlen_dtype(np.uint8))
        axis[0] = np.frombuffer(b"(lp0\n.", np.uint8)
    with pytest.raises(DatasetError, match="names are stored as objects"):
        read_h5_cells(path)


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_a_damaged_file_is_one_line_that_names_it(layout, tmp_path):
    path = tmp_path / "a.h5"
    labels().to_hdf(path, key=H5_KEY, format=layout)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    complaints = []
    for attempt in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 40):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged if attempt % 2 else whole[: rng.integers(len(whole))])
        try:
            read_h5_cells(path)
        except DatasetError as exc:
            complaints.append(str(exc))
    assert len(complaints) > 30
    assert all(text.startswith(f"{path}: ") and len(text.splitlines()) == 1 for text in complaints)


def test_an_empty_cell_and_a_path_with_backslashes(tmp_path: Path):
    cells = Cells(
        [["scorer", "Ann", "Ann"], ["bodyparts", "snout", "snout"], ["coords", "x", "y"]],
        [["labeled-data\\cage\\img0.png", "", "nan"], ["labeled-data/cage/img1.png", "1.5", "2"]],
        1,
    )
    write_h5_cells(tmp_path / "a.h5", cells)
    rows = read_h5_cells(tmp_path / "a.h5").rows
    assert rows == [["labeled-data", "cage", "img0.png", "", ""], ["labeled-data", "cage", "img1.png", "1.5", "2.0"]]
