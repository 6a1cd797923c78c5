"""A DeepLabCut table cell by cell, so that rows can be added and every other cell stays what it was."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgepose_train.labels.label_table import H5_SUFFIXES
from edgepose_train.labels.project_files import LABELS

_COORDS = ("x", "y", "likelihood")
_LEVELS = ("scorer", "bodyparts", "coords")


@dataclass(frozen=True)
class Cells:
    """header: rows `scorer`, [`individuals`,] `bodyparts`, `coords`. rows: one per image. Each row begins with
    `index_width` cells, which name the header's row or the image."""

    header: list[list[str]]
    rows: list[list[str]]
    index_width: int

    def image(self, row: Sequence[str]) -> str:
        """File name of the row's image."""
        path = "/".join(cell for cell in row[: self.index_width] if cell).replace("\\", "/")
        return PurePosixPath(path).name

    def with_rows(self, video: str, names: Sequence[str], labels: dict[str, NDArray[np.float64]]) -> Cells:
        """Rows of `labels` take the place of those of the same image, or come last.

        labels: by image file name, (K, C): x, y and, with C = 3, the likelihood of the K keypoints `names`.
        """
        fresh = {image: self._row(video, image, names, values) for image, values in sorted(labels.items())}
        rows = [fresh.pop(self.image(row), row) for row in self.rows]
        return replace(self, rows=rows + list(fresh.values()))

    def without(self, images: set[str]) -> Cells:
        return replace(self, rows=[row for row in self.rows if self.image(row) not in images])

    def _row(self, video: str, image: str, names: Sequence[str], values: NDArray[np.float64]) -> list[str]:
        path = [LABELS, video, image]
        index = path if self.index_width == 3 else ["/".join(path), *[""] * (self.index_width - 1)]
        bodyparts, coords = self.header[-2][self.index_width :], self.header[-1][self.index_width :]
        cells = []
        for name, coord in zip(bodyparts, coords, strict=True):
            c = _COORDS.index(coord) if coord in _COORDS else len(_COORDS)
            known = name in names and c < values.shape[1]
            cells.append(_text(values[names.index(name), c]) if known else "")
        return index + cells


def new_cells(scorer: str, names: Sequence[str], coords: int) -> Cells:
    """A table without rows. coords: 2 for x and y, 3 with the likelihood."""
    columns = [(scorer, name, coord) for name in names for coord in _COORDS[:coords]]
    header = [[level, "", "", *(column[i] for column in columns)] for i, level in enumerate(_LEVELS)]
    return Cells(header, [], 3)


def read_cells(path: Path) -> Cells:
    """Of a file that `read_label_table` could read."""
    if path.suffix.lower() in H5_SUFFIXES:
        from edgepose_train.labels.dlc_h5 import read_h5_cells

        return Cells(*read_h5_cells(path))
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(cell.strip() for cell in row)]
    end = next(i for i, row in enumerate(rows) if row[0] == "coords") + 1
    bodyparts = rows[end - 2]
    width = next(i for i, cell in enumerate(bodyparts) if i and cell)
    return Cells(rows[:end], rows[end:], width)


def write_csv(path: Path, cells: Cells) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([*cells.header, *cells.rows])


def write_h5(path: Path, cells: Cells) -> None:
    """Raises OSError."""
    from edgepose_train.labels.dlc_h5 import write_h5_cells

    write_h5_cells(path, cells.header, cells.rows, cells.index_width)


def write_both(stem: Path, cells: Cells) -> None:
    """`<stem>.h5`, then `<stem>.csv`, which edgepose reads; each appears when both are complete."""
    replace_files(
        {
            stem.with_name(f"{stem.name}.h5"): lambda path: write_h5(path, cells),
            stem.with_name(f"{stem.name}.csv"): lambda path: write_csv(path, cells),
        }
    )


def replace_files(writers: dict[Path, Callable[[Path], object]]) -> None:
    """Writes every file under another name and onto the disk; only when all are there do they take their names,
    in this order."""
    temporary = {path: path.with_name(f".{path.name}.part") for path in writers}
    try:
        for path, write in writers.items():
            write(temporary[path])
            with temporary[path].open("rb") as file:
                os.fsync(file.fileno())
        for path in writers:
            temporary[path].replace(path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))
