"""Rows are added to label tables of every layout, and every other cell stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dlc_project import LAYOUTS, NAMES, labels, write_csv

from edgepose.system.atomic_files import replace_files
from edgepose_train.labels.label_cells import Cells, new_cells
from edgepose_train.labels.label_table import read_label_table, table_writers


def write_both(stem: Path, cells: Cells) -> None:
    replace_files(table_writers(stem, cells))


@pytest.fixture(params=LAYOUTS)
def table(request, tmp_path):
    """Makes a table of two rows with one label missing."""
    values = labels(2)
    values[1, 2] = np.nan
    rows = [LAYOUTS[request.param]("cage1", f"img{i}.png") for i in range(2)]
    return write_csv(tmp_path / "cage1" / "CollectedData_Ann.csv", rows, values)


def test_rows_are_added_and_the_others_stay(table):
    before = table.read_text("utf-8").splitlines()
    old = read_label_table(table)
    new = np.array([[0.1, 1 / 3], [np.nan, np.nan], [5, 6]])
    cells = read_label_table(table).cells.with_rows("cage1", NAMES, {"img2.png": new})
    write_both(table.with_suffix(""), cells)
    assert table.read_text("utf-8").splitlines()[:-1] == before
    for path in (table, table.with_suffix(".h5")):
        found = read_label_table(path)
        np.testing.assert_array_equal(found.xy_px, np.concatenate([old.xy_px, new[None]]))
        assert [image.split("/")[-1] for image in found.images] == ["img0.png", "img1.png", "img2.png"]


def test_a_row_takes_the_place_of_the_same_image(table):
    new = np.full((3, 2), 7.0)
    cells = read_label_table(table).cells.with_rows("cage1", NAMES[::-1], {"img0.png": new})
    assert len(cells.rows) == 2
    assert set(cells.rows[0][cells.index_width :]) == {"7.0"}
    assert cells.rows[1] == read_label_table(table).cells.rows[1]


def test_columns_are_found_by_name(tmp_path):
    """The table has an animal, another order of body parts, and a likelihood, which a person does not give."""
    coords = ("x", "y", "likelihood")
    rows = LAYOUTS["three columns"]("cage1", "img0.png")
    path = write_csv(tmp_path / "t.csv", [rows], np.ones((1, 3, 3)), coords=coords, individuals=["mouse"])
    cells = read_label_table(path).cells.with_rows("cage1", NAMES[::-1], {"img1.png": np.arange(6.0).reshape(3, 2)})
    assert cells.rows[1] == ["labeled-data", "cage1", "img1.png", "4.0", "5.0", "", "2.0", "3.0", "", "0.0", "1.0", ""]
    write_both(tmp_path / "t", cells)
    assert read_label_table(tmp_path / "t.h5").cells.header == read_label_table(path).cells.header


def test_h5_alone_gives_the_same_cells(table):
    write_both(table.with_suffix(""), read_label_table(table).cells)
    from_h5, from_csv = read_label_table(table.with_suffix(".h5")).cells, read_label_table(table).cells
    assert [row[from_h5.index_width :] for row in from_h5.rows] == [
        [repr(float(cell)) if cell else "" for cell in row[from_csv.index_width :]] for row in from_csv.rows
    ]


@pytest.mark.parametrize("unchanged", ["t.csv", "t.h5"])
def test_the_csv_takes_its_name_last(tmp_path, unchanged):
    """edgepose reads the CSV: while it is the old one, edgepose knows the old labels. A folder cannot be replaced."""
    (tmp_path / unchanged).mkdir()
    cells = new_cells("Ann", NAMES, 2).with_rows("cage1", NAMES, {"img0.png": labels(1)[0]})
    with pytest.raises(OSError, match="directory"):
        write_both(tmp_path / "t", cells)
    assert sorted(path.name for path in tmp_path.iterdir()) == (["t.csv", "t.h5"] if unchanged == "t.csv" else ["t.h5"])


def test_cells_keep_every_character(tmp_path):
    """Spaces, quotes and the words that mean `not labelled` stay as somebody has written them."""
    path = tmp_path / "cage1" / "CollectedData_Ann.csv"
    path.parent.mkdir()
    text = 'scorer, Ann ,Ann\nbodyparts,snout,snout\ncoords, x,y\n"labeled-data/cage1/a, b.png", 1.50,n/a\n'
    path.write_text(text)
    table = read_label_table(path)
    np.testing.assert_array_equal(table.xy_px, [[[1.5, np.nan]]])
    write_both(path.with_suffix(""), table.cells)
    assert path.read_text() == text
    np.testing.assert_array_equal(read_label_table(path.with_suffix(".h5")).xy_px, table.xy_px)
