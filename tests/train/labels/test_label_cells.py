"""Tables to which rows are added: every other cell stays, in every layout."""

from __future__ import annotations

import numpy as np
import pytest
from dlc_project import LAYOUTS, NAMES, labels, write_csv

from edgepose_train.labels import label_cells
from edgepose_train.labels.label_cells import read_cells, replace_files, write_both
from edgepose_train.labels.label_table import read_label_table


@pytest.fixture(params=LAYOUTS)
def table(request, tmp_path):
    """Two rows, one label missing."""
    values = labels(2)
    values[1, 2] = np.nan
    rows = [LAYOUTS[request.param]("cage1", f"img{i}.png") for i in range(2)]
    return write_csv(tmp_path / "cage1" / "CollectedData_Ann.csv", rows, values)


def test_rows_are_added_and_the_others_stay(table):
    before = table.read_text("utf-8").splitlines()
    old = read_label_table(table)
    new = np.array([[0.1, 1 / 3], [np.nan, np.nan], [5, 6]])
    cells = read_cells(table).with_rows("cage1", NAMES, {"img2.png": new})
    write_both(table.with_suffix(""), cells)
    assert table.read_text("utf-8").splitlines()[:-1] == before
    for path in (table, table.with_suffix(".h5")):
        found = read_label_table(path)
        np.testing.assert_array_equal(found.xy_px, np.concatenate([old.xy_px, new[None]]))
        assert [image.split("/")[-1] for image in found.images] == ["img0.png", "img1.png", "img2.png"]


def test_a_row_takes_the_place_of_the_same_image(table):
    new = np.full((3, 2), 7.0)
    cells = read_cells(table).with_rows("cage1", NAMES[::-1], {"img0.png": new})
    assert len(cells.rows) == 2
    assert set(cells.rows[0][cells.index_width :]) == {"7.0"}
    assert cells.rows[1] == read_cells(table).rows[1]


def test_columns_are_found_by_name(tmp_path):
    """With an animal's name, another order of body parts, and the likelihood, which a person does not give."""
    coords = ("x", "y", "likelihood")
    rows = LAYOUTS["three columns"]("cage1", "img0.png")
    path = write_csv(tmp_path / "t.csv", [rows], np.ones((1, 3, 3)), coords=coords, individuals=["mouse"])
    cells = read_cells(path).with_rows("cage1", NAMES[::-1], {"img1.png": np.arange(6.0).reshape(3, 2)})
    assert cells.rows[1] == ["labeled-data", "cage1", "img1.png", "4.0", "5.0", "", "2.0", "3.0", "", "0.0", "1.0", ""]
    write_both(tmp_path / "t", cells)
    assert read_cells(tmp_path / "t.h5").header == read_cells(path).header


def test_h5_alone_gives_the_same_cells(table):
    write_both(table.with_suffix(""), read_cells(table))
    from_h5, from_csv = read_cells(table.with_suffix(".h5")), read_cells(table)
    assert [row[from_h5.index_width :] for row in from_h5.rows] == [
        [repr(float(cell)) if cell else "" for cell in row[from_csv.index_width :]] for row in from_csv.rows
    ]


def test_files_keep_their_content_when_one_cannot_be_written(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("old")

    def fail(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        replace_files({first: lambda path: path.write_text("new"), second: fail})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert first.read_text() == "old"


def test_csv_is_renamed_last(tmp_path, monkeypatch):
    """edgepose reads the CSV: while it is old, so is what edgepose knows."""
    renamed = []
    whole = label_cells.Path.replace
    monkeypatch.setattr(label_cells.Path, "replace", lambda path, to: (renamed.append(to.name), whole(path, to))[1])
    cells = label_cells.new_cells("Ann", NAMES, 2).with_rows("cage1", NAMES, {"img0.png": labels(1)[0]})
    write_both(tmp_path / "t", cells)
    assert renamed == ["t.h5", "t.csv"]
