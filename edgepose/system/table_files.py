"""Writes the poses of a video as a table: CSV and Parquet here, DeepLabCut's H5 by the desktop side.

What is computed from poses becomes a tidy table of named columns, CSV or Parquet.

Rows are frame numbers. CSV and H5 have DeepLabCut's header (scorer, bodyparts, coords x, y, likelihood), so its
tools and its users' scripts read them. Numbers are not rounded: a file is where precision is cheap. What is not known
is NaN, in CSV nothing between two commas, as pandas writes it.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError, UsageError
from edgepose.system.atomic_files import replace_durably
from edgepose.types import F64, Skeleton

COORDS = ("x", "y", "likelihood")
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class PoseTable:
    """values: (N, K, 3) of x, y in frame pixels and the score. frames: (N,) frame numbers. scorer: the model."""

    values: F64
    frames: tuple[int, ...]
    skeleton: Skeleton
    scorer: str


Writer = Callable[[Path, PoseTable], None]
Column: TypeAlias = F64 | NDArray[np.int64] | Sequence[str]


def open_writer(path: Path) -> Writer:
    """The writer for the file's ending. Fails now, not after an hour's analysis, where something is not installed."""
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise UsageError(f"{path}: cannot write {suffix or 'a file without ending'}; use {', '.join(_WRITERS)}")
    module, extra, writer = _WRITERS[suffix]
    try:
        if module:
            importlib.import_module(module)
    except ImportError as exc:
        raise EdgeposeError(
            f"{path}: writing {suffix} needs {str(exc.name).split('.')[0]}; {extra}, or write .csv"
        ) from None
    return writer


def write_table(path: Path, table: PoseTable) -> None:
    """Writes under another name first, so that a killed run leaves no half file."""
    write_whole(path, lambda temporary: open_writer(path)(temporary, table))


def write_columns(path: Path, columns: dict[str, Column]) -> None:
    """A tidy table, .parquet or else CSV: the columns, all of one length, under their names."""
    if path.suffix.lower() == ".parquet":
        write_whole(path, lambda temporary: _write_arrow(temporary, columns, {}))
    else:
        write_whole(path, lambda temporary: _write_csv_columns(temporary, columns))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Has `write` make a file of another name, which becomes `path` when it is complete and on the disk. Raises
    EdgeposeError."""
    try:
        replace_durably(path, write)
    except OSError as exc:
        raise EdgeposeError(f"{path}: cannot write ({exc.strerror or exc})") from None


def csv_header(skeleton: Skeleton, scorer: str, index_width: int = 1) -> list[list[str]]:
    """DeepLabCut's three header rows. index_width: columns that name the row."""
    names, more = skeleton.keypoints, [""] * (index_width - 1)
    return [
        ["scorer", *more, *[scorer] * (len(COORDS) * len(names))],
        ["bodyparts", *more, *(name for name in names for _ in COORDS)],
        ["coords", *more, *(COORDS * len(names))],
    ]


def csv_cells(values: Column) -> list[float | int | str]:
    """Nothing where there is NaN."""
    return ["" if value != value else value for value in np.asarray(values).tolist()]  # noqa: PLR0124  NaN


def _write_csv(path: Path, table: PoseTable) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows(csv_header(table.skeleton, table.scorer))
        for frame, row in zip(table.frames, table.values.reshape(len(table.frames), -1), strict=True):
            writer.writerow([frame, *csv_cells(row)])


def _write_csv_columns(path: Path, columns: dict[str, Column]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        rows = max(len(values) for values in columns.values())
        for start in range(0, rows, _ROWS_AT_ONCE):  # as Python's own numbers, a day's columns would fill the memory
            part = [csv_cells(values[start : start + _ROWS_AT_ONCE]) for values in columns.values()]
            writer.writerows(zip(*part, strict=True))


def _write_parquet(path: Path, table: PoseTable) -> None:
    """Flat columns `frame`, `<keypoint>_x`, `<keypoint>_y`, `<keypoint>_likelihood`: Parquet has no header rows."""
    columns: dict[str, Column] = {"frame": np.asarray(table.frames, np.int64)}
    for k, name in enumerate(table.skeleton.keypoints):
        for c, coord in enumerate(COORDS):
            columns[f"{name}_{coord}"] = table.values[:, k, c]
    _write_arrow(path, columns, {"scorer": table.scorer})


def _write_arrow(path: Path, columns: dict[str, Column], metadata: dict[str, str]) -> None:
    arrow: Any = importlib.import_module("pyarrow")
    made = arrow.table(columns).replace_schema_metadata(metadata)
    importlib.import_module("pyarrow.parquet").write_table(made, path)


def _write_h5(path: Path, table: PoseTable) -> None:
    # By name: a plain import would make pandas a dependency of the device.
    h5: Any = importlib.import_module("edgepose_train.labels.dlc_h5")
    h5.write_h5(path, table.values, table.frames, table.skeleton.keypoints, table.scorer)


# ending: module it needs, how to get it, writer
_WRITERS: dict[str, tuple[str, str, Writer]] = {
    ".csv": ("", "", _write_csv),
    ".h5": ("edgepose_train.labels.dlc_h5", "pip install 'edgepose[train]'", _write_h5),
    ".parquet": ("pyarrow.parquet", "pip install pyarrow", _write_parquet),
}
