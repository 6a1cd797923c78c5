"""Reads and writes one label file of DeepLabCut, CSV or H5: its numbers, and its cells as they were written.

Which files of a project count, and which image a row means, is decided in `deeplabcut.py`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose_train.labels.label_cells import Cells, Column, cell_number

CSV_SUFFIXES = {".csv"}
H5_SUFFIXES = {".h5", ".hdf", ".hdf5"}
_HEADER_ROWS = ("scorer", "individuals", "bodyparts", "coords")
_MOST_COLUMNS = 20_000  # keypoints of several animals, with x, y and likelihood
_OTHER_COORDS = {"likelihood", "visible"}  # DeepLabCut's refined machine labels and Lightning Pose keep these


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The content of a label file, for N images and K keypoints.

    Attributes:
        path: the file.
        names: the keypoints, in the order of the file.
        images: the path of each row's image as it was written, with `/` between its parts.
        xy_px: (N, K, 2), NaN where a keypoint is not labelled.
        cells: the whole table as it was written.
    """

    path: Path
    names: tuple[str, ...]
    images: tuple[str, ...]
    xy_px: NDArray[np.float64]
    cells: Cells


def read_label_table(path: Path) -> LabelTable:
    """Reads and checks a label file. Raises DatasetError with one line that names the line or column at fault."""
    if path.suffix.lower() in H5_SUFFIXES:
        cells = _read_h5(path)
        places = [f"row {number}" for number in range(1, len(cells.rows) + 1)]
    else:
        cells, places = _read_csv(path)
    columns = cells.columns()
    if len(columns) > _MOST_COLUMNS:
        raise DatasetError(f"{path}: has {len(columns)} columns; edgepose reads up to {_MOST_COLUMNS}")
    values = _positions(path, cells, columns, places)
    names, x_columns, y_columns = _keypoint_columns(path, columns, np.asarray(np.isfinite(values).any(axis=0)))
    images = tuple(cells.image_path(row) for row in cells.rows)
    return LabelTable(path, names, images, np.stack([values[:, x_columns], values[:, y_columns]], axis=2), cells)


def _positions(path: Path, cells: Cells, columns: Sequence[Column], places: Sequence[str]) -> NDArray[np.float64]:
    """Returns (N, C), NaN in the columns that hold no position."""
    values = np.full((len(cells.rows), len(columns)), math.nan)
    for i, row in enumerate(cells.rows):
        for c, column in enumerate(columns):
            if column.coord in _OTHER_COORDS:
                continue
            cell = row[cells.index_width + c]
            try:
                values[i, c] = cell_number(cell)
            except ValueError:
                where = f"{path}, {places[i]}, {column.bodypart} {column.coord}"
                raise DatasetError(f"{where}: {cell.strip()!r} is not a number") from None
    return values


def _keypoint_columns(
    path: Path, columns: Sequence[Column], filled: NDArray[np.bool_]
) -> tuple[tuple[str, ...], list[int], list[int]]:
    """Returns the names in the file's order, and the columns of their x and their y.

    filled: (C,), which columns hold any number.
    """
    # `single` holds the points that exist once, whatever the number of animals. One animal and these points make one
    # pose. Multi-animal projects list every animal that might be there, but only the one that is labelled counts.
    animals = dict.fromkeys(c.individual for c in columns if c.individual not in {"", "single"})
    labelled = sorted({c.individual for c, any_ in zip(columns, filled, strict=True) if any_} & animals.keys())
    if len(labelled) > 1:
        raise DatasetError(
            f"{path}: labels {len(labelled)} animals ({', '.join(labelled)}); edgepose follows one, "
            "so keep the columns of one individual"
        )
    left_out = animals.keys() - (labelled or list(animals)[:1])
    found: dict[str, dict[str, int]] = {}
    for i, column in enumerate(columns):
        if column.coord in _OTHER_COORDS or column.individual in left_out:
            continue
        if column.coord not in {"x", "y"}:
            raise DatasetError(f"{path}: body part {column.bodypart!r} has a column {column.coord!r}; expected x and y")
        if column.coord in found.setdefault(column.bodypart, {}):
            raise DatasetError(f"{path}: body part {column.bodypart!r} has two columns {column.coord!r}")
        found[column.bodypart][column.coord] = i
    for name, coords in found.items():
        for coord in ("x", "y"):
            if coord not in coords:
                raise DatasetError(f"{path}: body part {name!r} has no column {coord!r}")
    if not found:
        raise DatasetError(f"{path}: has no body parts")
    return tuple(found), [c["x"] for c in found.values()], [c["y"] for c in found.values()]


# --- CSV ---------------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> tuple[Cells, list[str]]:
    """Returns the table, and the place of each of its rows in the file, for messages."""
    header: dict[str, list[str]] = {}
    rows, places = [], []
    index_width = 0
    for number, row in _csv_lines(path):
        if "coords" not in header:
            _check_header_row(path, number, row, header)
            header[row[0].strip()] = row
            if "coords" in header:
                index_width = _index_width(path, header)
        elif len(row) != len(header["coords"]):
            columns = len(header["coords"]) - index_width
            raise DatasetError(
                f"{path}, line {number}: {len(row) - index_width} values, but the header has {columns} columns"
            )
        else:
            rows.append(row)
            places.append(f"line {number}")
    if "coords" not in header:
        raise DatasetError(f"{path}: empty or cut off before its `coords` row; not a label file")
    return Cells(list(header.values()), rows, index_width), places


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells of every row that is not blank."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # -sig: Excel starts files with a byte order mark
            reader = csv.reader(file)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, row
    except OSError as exc:
        raise DatasetError(f"{path}: cannot read ({exc.strerror})") from None
    except (UnicodeDecodeError, csv.Error):
        raise DatasetError(f"{path}: not a text file of comma-separated values in UTF-8") from None


def _check_header_row(path: Path, number: int, row: list[str], header: dict[str, list[str]]) -> None:
    name = row[0].strip()
    if not header and name != "scorer":
        hint = "separated by semicolons; save it with commas" if name.startswith("scorer;") else "not a label file"
        raise DatasetError(f"{path}, line {number}: expected `scorer` first, got {name[:30]!r}; {hint}")
    if name not in _HEADER_ROWS or name in header:
        raise DatasetError(f"{path}, line {number}: expected a header row `coords`, got {row[0]!r}; not a label file")


def _index_width(path: Path, header: dict[str, list[str]]) -> int:
    """Returns how many columns name the image, and checks that every other column has a name."""
    if "bodyparts" not in header:
        raise DatasetError(f"{path}: no header row `bodyparts`; not a label file")
    widths = {name: len(row) for name, row in header.items()}
    if len(set(widths.values())) != 1:
        found = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise DatasetError(f"{path}: header rows differ in length ({found} cells)")
    # Every index column but the first, which names the header's row, is empty in the header.
    bodyparts = [cell.strip() for cell in header["bodyparts"]]
    index_width = next((i for i, cell in enumerate(bodyparts) if i and cell), len(bodyparts))
    for i in range(index_width, len(bodyparts)):
        if not bodyparts[i] or not header["coords"][i].strip():
            raise DatasetError(f"{path}: column {i + 1} has no name in the header")
    return index_width


def _read_h5(path: Path) -> Cells:
    try:
        from edgepose_train.labels.dlc_h5 import read_h5_cells
    except ImportError as exc:
        raise DatasetError(f"{path}: H5 files need {exc.name}; pip install 'edgepose[train]'") from None
    return read_h5_cells(path)


# --- writing -----------------------------------------------------------------------------------------------


def write_csv(path: Path, cells: Cells) -> None:
    """Writes the table as CSV. Raises OSError."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([*cells.header, *cells.rows])


def write_h5(path: Path, cells: Cells) -> None:
    """Writes the table as DeepLabCut's H5. Raises OSError."""
    from edgepose_train.labels.dlc_h5 import write_h5_cells

    write_h5_cells(path, cells)


def table_writers(stem: Path, cells: Cells) -> dict[Path, Callable[[Path], None]]:
    """Returns the writers of `<stem>.h5` and `<stem>.csv` for `replace_files`.

    The CSV, which edgepose reads, takes its name last, so that it is never ahead of the H5.
    """
    return {
        stem.with_name(f"{stem.name}.h5"): lambda path: write_h5(path, cells),
        stem.with_name(f"{stem.name}.csv"): lambda path: write_csv(path, cells),
    }
