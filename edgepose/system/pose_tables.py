"""The poses of a video as a table in DeepLabCut's layout, as CSV, H5 or Parquet.

A row is a frame, under its number. CSV and H5 have DeepLabCut's header (scorer, bodyparts, coords x, y, likelihood), so
that its tools and its users' scripts read them. Numbers are not rounded. What is not known is NaN; in CSV that is
nothing between two commas, as pandas writes it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepose.errors import UsageError
from edgepose.system.deeplabcut_h5 import write_h5
from edgepose.system.extras import extra
from edgepose.system.table_files import Column, csv_cells, write_arrow, write_whole
from edgepose.types import F64, Skeleton

LEVELS = ("scorer", "bodyparts", "coords")
COORDS = ("x", "y", "likelihood")


@dataclass(frozen=True, slots=True)
class PoseTable:
    """The poses of N frames with K keypoints.

    Attributes:
        values: (N, K, 3) of x, y in pixels of the frame and the score.
        frames: (N,) frame numbers.
        skeleton: the keypoints.
        scorer: the id of the model.
    """

    values: F64
    frames: tuple[int, ...]
    skeleton: Skeleton
    scorer: str


def check_format(path: Path) -> None:
    """Checks before hours of work that a table can be written under this name.

    Raises UsageError where the file's ending is not known, and EdgeposeError where a package is not installed.
    """
    ending = path.suffix.lower()
    if ending not in _WRITERS:
        raise UsageError(f"{path}: cannot write {ending or 'a file without ending'}; use {', '.join(_WRITERS)}")
    if ending == ".h5":
        with extra("h5", f"{path}: writing .h5"):
            import h5py  # noqa: F401
    elif ending == ".parquet":
        with extra("collect", f"{path}: writing .parquet"):
            import pyarrow.parquet  # noqa: F401


def write_table(path: Path, table: PoseTable) -> None:
    """Writes the table in the format of the file's ending. The file appears when it is complete.

    Raises EdgeposeError.
    """
    check_format(path)
    write_whole(path, lambda temporary: _WRITERS[path.suffix.lower()](temporary, table))


def csv_header(skeleton: Skeleton, scorer: str, index_width: int = 1) -> list[list[str]]:
    """Returns DeepLabCut's three header rows. index_width: number of columns that name the row."""
    more = [""] * (index_width - 1)
    return [[name, *more, *labels] for name, labels in _column_levels(skeleton, scorer).items()]


def _column_levels(skeleton: Skeleton, scorer: str) -> dict[str, list[str]]:
    columns = [(scorer, keypoint, coord) for keypoint in skeleton.keypoints for coord in COORDS]
    return {name: [column[i] for column in columns] for i, name in enumerate(LEVELS)}


def _write_csv(path: Path, table: PoseTable) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows(csv_header(table.skeleton, table.scorer))
        for frame, row in zip(table.frames, table.values.reshape(len(table.frames), -1), strict=True):
            writer.writerow([frame, *csv_cells(row)])


def _write_h5(path: Path, table: PoseTable) -> None:
    values = table.values.reshape(len(table.frames), -1)
    write_h5(path, values, _column_levels(table.skeleton, table.scorer), np.array(table.frames, np.int64))


def _write_parquet(path: Path, table: PoseTable) -> None:
    """Flat columns `frame`, `<keypoint>_x`, `<keypoint>_y`, `<keypoint>_likelihood`: Parquet has no header rows."""
    columns: dict[str, Column] = {"frame": np.asarray(table.frames, np.int64)}
    for k, name in enumerate(table.skeleton.keypoints):
        for c, coord in enumerate(COORDS):
            columns[f"{name}_{coord}"] = table.values[:, k, c]
    write_arrow(path, columns, {"scorer": table.scorer})


_WRITERS: dict[str, Callable[[Path, PoseTable], None]] = {
    ".csv": _write_csv,
    ".h5": _write_h5,
    ".parquet": _write_parquet,
}
