"""H5 files are what pandas, and so DeepLabCut, expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd  # noqa: TID251  as DeepLabCut reads the files
import pytest
from pose_tables import pose_table

from edgepose.errors import EdgeposeError
from edgepose.tables.deeplabcut_h5 import H5_KEY, write_h5
from edgepose.tables.pose_table import write_table

COLUMNS = {
    "scorer": ["model@123456."] * 6,
    "bodyparts": ["snout"] * 3 + ["老鼠"] * 3,
    "coords": ["x", "y", "likelihood"] * 2,
}
INDEXES = {
    "numbers": np.array([0, 1, 5]),
    "names": [f"labeled-data/cage/é{i}.png" for i in range(3)],
    "levels": [("labeled-data", "cage", f"img{2 - i}.png") for i in range(3)],
}


def values(count: int) -> np.ndarray:
    found = np.arange(6.0 * count).reshape(count, 6) / 3
    found[1:2, 2] = np.nan
    return found


def expected(count: int, index) -> pd.DataFrame:
    columns = pd.MultiIndex.from_arrays(list(COLUMNS.values()), names=list(COLUMNS))
    if len(index) and isinstance(index[0], tuple):
        index = pd.MultiIndex.from_tuples(index)
    return pd.DataFrame(values(count), columns=columns, index=index)


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES.keys())
def test_pandas_reads_what_it_would_have_written(index, tmp_path):
    write_h5(tmp_path / "ours.h5", values(3), COLUMNS, index)
    expected(3, index).to_hdf(tmp_path / "theirs.h5", key=H5_KEY)
    for path in (tmp_path / "ours.h5", tmp_path / "theirs.h5"):
        pd.testing.assert_frame_equal(pd.read_hdf(path, H5_KEY), expected(3, index), check_exact=True)
    found = pd.read_hdf(tmp_path / "ours.h5")
    assert found["model@123456."]["snout"]["x"].tolist() == values(3)[:, 0].tolist()
    found.to_hdf(tmp_path / "ours.h5", key=H5_KEY)  # pandas can write it again


@pytest.mark.parametrize("index", [np.empty(0, np.int64), []], ids=["numbers", "names"])
def test_a_table_without_rows_is_read_too(index, tmp_path):
    write_h5(tmp_path / "empty.h5", values(0), COLUMNS, index)
    found = pd.read_hdf(tmp_path / "empty.h5", H5_KEY)
    assert found.shape == (0, 6)
    assert found.columns.equals(expected(0, []).columns)


def test_a_file_that_cannot_be_made_is_one_line(tmp_path):
    with pytest.raises(OSError, match="No such file or directory"):
        write_h5(tmp_path / "none" / "a.h5", values(3), COLUMNS, INDEXES["numbers"])
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write_h5(tmp_path / "folder.h5", values(3), COLUMNS, INDEXES["numbers"])


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, full_disk):
    table = pose_table(np.zeros((10_000, 1, 3)))
    with pytest.raises(EdgeposeError) as error:
        write_table(tmp_path / "a.h5", table)
    assert str(error.value) == f"{tmp_path}/a.h5: cannot write (HDF5 could not write all of it; make room on the disk)"
    assert list(tmp_path.iterdir()) == []
