"""Writes the poses of a video as a table: CSV and Parquet here, DeepLabCut's H5 by the desktop side.

Rows are frame numbers. CSV and H5 have DeepLabCut's header (scorer, bodyparts, coords x, y, likelihood), so its
tools and its users' scripts read them. Numbers are not rounded: a file is where precision is cheap.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.core.errors import EdgeposeError, UsageError
from edgepose.core.types import F64, Skeleton

COORDS = ("x", "y", "likelihood")


@dataclass(frozen=True, slots=True)
class PoseTable:
    """values: (N, K, 3) of x, y in frame pixels and the score. frames: (N,) frame numbers. scorer: the model."""

    values: F64
    frames: tuple[int, ...]
    skeleton: Skeleton
    scorer: str


Writer = Callable[[Path, PoseTable], None]


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
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        open_writer(path)(temporary, table)
        temporary.replace(path)
    except OSError as exc:
        raise EdgeposeError(f"{path}: cannot write ({exc.strerror or exc})") from None
    finally:
        temporary.unlink(missing_ok=True)


def _write_csv(path: Path, table: PoseTable) -> None:
    names = table.skeleton.keypoints
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["scorer", *[table.scorer] * (len(COORDS) * len(names))])
        writer.writerow(["bodyparts", *(name for name in names for _ in COORDS)])
        writer.writerow(["coords", *(COORDS * len(names))])
        for frame, row in zip(table.frames, table.values.reshape(len(table.frames), -1), strict=True):
            writer.writerow([frame, *row.tolist()])


def _write_parquet(path: Path, table: PoseTable) -> None:
    """Flat columns `frame`, `<keypoint>_x`, `<keypoint>_y`, `<keypoint>_likelihood`: Parquet has no header rows."""
    arrow: Any = importlib.import_module("pyarrow")
    columns: dict[str, Any] = {"frame": np.asarray(table.frames, np.int64)}
    for k, name in enumerate(table.skeleton.keypoints):
        for c, coord in enumerate(COORDS):
            columns[f"{name}_{coord}"] = table.values[:, k, c]
    made = arrow.table(columns).replace_schema_metadata({"scorer": table.scorer})
    importlib.import_module("pyarrow.parquet").write_table(made, path)


def _write_h5(path: Path, table: PoseTable) -> None:
    # By name: a plain import would make pandas a dependency of the device.
    h5: Any = importlib.import_module("edgepose_train.dlc_h5")
    h5.write_h5(path, table.values, table.frames, table.skeleton.keypoints, table.scorer)


# ending: module it needs, how to get it, writer
_WRITERS: dict[str, tuple[str, str, Writer]] = {
    ".csv": ("", "", _write_csv),
    ".h5": ("edgepose_train.dlc_h5", "pip install 'edgepose[train]'", _write_h5),
    ".parquet": ("pyarrow.parquet", "pip install pyarrow", _write_parquet),
}
