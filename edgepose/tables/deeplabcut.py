"""Writes DeepLabCut's layout as CSV and H5, so that its tools and its users' scripts read our poses.

A row is a frame, under its number. The header has the levels scorer, bodyparts and coords (x, y, likelihood). Numbers
are not rounded. What is not known is NaN; in CSV that is nothing between two commas, as pandas writes it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgepose.tables.csv_files import csv_cells, text_cell
from edgepose.tables.deeplabcut_h5 import write_h5
from edgepose.types import F64, Skeleton

LEVELS = ("scorer", "individuals", "bodyparts", "coords")
COORDS = ("x", "y", "likelihood")


def column_levels(skeleton: Skeleton, scorer: str, individuals: Sequence[str] = ()) -> dict[str, list[str]]:
    """Returns for each level of the header, by name, the label of each column.

    individuals: the animals, of a table with several; then there is a level for them, as in DeepLabCut's multi-animal
    projects.
    """
    columns = [
        (scorer, individual, keypoint, coord)
        for individual in individuals or [""]
        for keypoint in skeleton.keypoints
        for coord in COORDS
    ]
    levels = {name: [column[i] for column in columns] for i, name in enumerate(LEVELS)}
    if not individuals:
        del levels["individuals"]
    return levels


def csv_header(levels: dict[str, list[str]], index_width: int = 1) -> list[list[str]]:
    """Returns the rows of a header. index_width: number of columns that name a row."""
    more = [""] * (index_width - 1)
    return [[name, *more, *map(text_cell, labels)] for name, labels in levels.items()]


def write_deeplabcut(path: Path, frames: Sequence[int], values: F64, levels: dict[str, list[str]]) -> None:
    """Writes H5 where the file ends in .h5, or else CSV. Raises OSError.

    Args:
        path: the file.
        frames: N frame numbers.
        values: (N, C).
        levels: the header, as `column_levels` makes it, of C columns.
    """
    if path.suffix.lower() == ".h5":
        write_h5(path, values, levels, np.array(frames, np.int64))
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows(csv_header(levels))
        for frame, row in zip(frames, values, strict=True):
            writer.writerow([frame, *csv_cells(row)])
