"""Keeps the cells of a DeepLabCut table as they were written. Rows can be added, and every other cell stays as it is.

Header rows are `scorer`, `individuals` (in multi-animal projects only), `bodyparts` and `coords`. The first cells of
every other row name the image: one cell with its path (older projects), or one cell for each part of the path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgepose_train.labels.project_files import LABELS

LEVELS = ("scorer", "bodyparts", "coords")
COORDS = ("x", "y", "likelihood")
_NOT_LABELLED = {"", "nan", "na", "n/a", "null", "none"}


@dataclass(frozen=True, slots=True)
class Column:
    """The names above one column of numbers. `individual` is empty in single-animal files."""

    individual: str
    bodypart: str
    coord: str


@dataclass(frozen=True)
class Cells:
    """A label table, all cells of which are text as in the file.

    Attributes:
        header: one row for each level.
        rows: one row for each image.
        index_width: how many cells at the start of every row name the level or the image.
    """

    header: list[list[str]]
    rows: list[list[str]]
    index_width: int

    def columns(self) -> list[Column]:
        """Returns what each of the C columns of numbers holds."""
        levels = {row[0].strip(): [cell.strip() for cell in row[self.index_width :]] for row in self.header}
        individuals = levels.get("individuals", [""] * len(levels["coords"]))
        return [Column(*cells) for cells in zip(individuals, levels["bodyparts"], levels["coords"], strict=True)]

    def image_path(self, row: Sequence[str]) -> str:
        """Returns the path of the row's image as it was written, with `/` between its parts."""
        return "/".join(cell.strip() for cell in row[: self.index_width] if cell.strip()).replace("\\", "/")

    def image_name(self, row: Sequence[str]) -> str:
        """Returns the file name of the row's image."""
        return PurePosixPath(self.image_path(row)).name

    def values(self) -> NDArray[np.float64]:
        """Returns the numbers, (N, C). Cells that hold no number are NaN."""
        numbers = [[_number_or_nan(cell) for cell in row[self.index_width :]] for row in self.rows]
        return np.array(numbers, np.float64).reshape(len(self.rows), len(self.header[0]) - self.index_width)

    def with_rows(self, video: str, names: Sequence[str], labels: dict[str, NDArray[np.float64]]) -> Cells:
        """Returns a table in which the rows of `labels` replace those of the same images, or come last.

        A keypoint that the table lacks gets columns.

        Args:
            video: the folder of the images in `labeled-data`.
            names: the K keypoints.
            labels: by file name of the image, (K, C) of x, y and, with C = 3, the likelihood.
        """
        missing = [name for name in names if name not in {column.bodypart for column in self.columns()}]
        if missing:
            return self._with_columns(missing).with_rows(video, names, labels)
        fresh = {image: self._row(video, image, names, values) for image, values in sorted(labels.items())}
        rows = [fresh.pop(self.image_name(row), row) for row in self.rows]
        return replace(self, rows=rows + list(fresh.values()))

    def _with_columns(self, names: Sequence[str]) -> Cells:
        coords = list(dict.fromkeys(column.coord for column in self.columns()))
        columns = [(name, coord) for name in names for coord in coords]
        added = {"bodyparts": [name for name, _ in columns], "coords": [coord for _, coord in columns]}
        header = [
            row + added.get(row[0].strip(), row[self.index_width : self.index_width + 1] * len(columns))
            for row in self.header
        ]
        return replace(self, header=header, rows=[row + [""] * len(columns) for row in self.rows])

    def without(self, images: set[str]) -> Cells:
        """Returns a table without the rows of these images, given by their file names."""
        return replace(self, rows=[row for row in self.rows if self.image_name(row) not in images])

    def _row(self, video: str, image: str, names: Sequence[str], values: NDArray[np.float64]) -> list[str]:
        path = [LABELS, video, image]
        index = path if self.index_width == 3 else ["/".join(path), *[""] * (self.index_width - 1)]
        cells = []
        for column in self.columns():
            c = COORDS.index(column.coord) if column.coord in COORDS else len(COORDS)
            is_given = column.bodypart in names and c < values.shape[1]
            cells.append(cell_text(values[names.index(column.bodypart), c]) if is_given else "")
        return index + cells


def new_cells(scorer: str, names: Sequence[str], coords: int) -> Cells:
    """Returns a table without rows. `coords` is 2 for x and y, or 3 with the likelihood."""
    columns = [(scorer, name, coord) for name in names for coord in COORDS[:coords]]
    header = [[level, "", "", *(column[i] for column in columns)] for i, level in enumerate(LEVELS)]
    return Cells(header, [], 3)


def cell_text(value: float) -> str:
    """Returns the shortest text that gives the same number again, and nothing for NaN."""
    return "" if math.isnan(value) else repr(float(value))


def cell_number(cell: str) -> float:
    """Returns the number in a cell, and NaN for a cell that means `not labelled`. Raises ValueError."""
    text = cell.strip()
    if text.lower() in _NOT_LABELLED:
        return math.nan
    value = float(text)
    if math.isinf(value):
        raise ValueError
    return value


def _number_or_nan(cell: str) -> float:
    try:
        return cell_number(cell)
    except ValueError:
        return math.nan
