"""Writes the poses of a video as a table. The ending of the file's name chooses the format.

poses.csv        DeepLabCut's layout
poses.h5         the same (extra `h5`)
poses.parquet    our own layout (extra `collect`)
poses.tidy.csv   the same as CSV
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepose.errors import UsageError
from edgepose.protocol.codec import ONLY_ANIMAL
from edgepose.system.atomic_files import write_whole
from edgepose.system.extras import extra
from edgepose.tables.csv_files import write_csv
from edgepose.tables.deeplabcut import column_levels, write_deeplabcut
from edgepose.tables.layout import keypoint_column, metadata
from edgepose.tables.parquet import arrow_table, need_pyarrow, write_parquet
from edgepose.types import F64, Column, Skeleton

PARQUET, TIDY_CSV = ".parquet", ".tidy.csv"
DEEPLABCUT_FORMATS = (".csv", ".h5")
FORMATS = (*DEEPLABCUT_FORMATS, PARQUET, TIDY_CSV)


@dataclass(frozen=True, slots=True)
class PoseTable:
    """The poses of one animal in N frames of a video, with K keypoints.

    Attributes:
        values: (N, K, 3) of x, y in pixels of the frame and the score.
        frames: (N,) frame numbers.
        skeleton: the keypoints.
        scorer: the id of the model.
        video: name of the file.
        size_wh: size of its frames.
        time_s: (N,) times of the frames, from the first one.
        xy_mm: (N, K, 2) positions on the ground; None where they are not known.
    """

    values: F64
    frames: tuple[int, ...]
    skeleton: Skeleton
    scorer: str
    video: str
    size_wh: tuple[int, int]
    time_s: F64
    xy_mm: F64 | None = None


def format_of(path: Path) -> str:
    """Returns the ending that chooses the format. Raises UsageError where there is no such format."""
    name = path.name.lower()
    if name.endswith(TIDY_CSV):
        return TIDY_CSV
    if (ending := path.suffix.lower()) in FORMATS:
        return ending
    raise UsageError(f"{path}: cannot write {ending or 'a file without ending'}; use {', '.join(FORMATS)}")


def with_part(path: Path, part: str) -> Path:
    """Returns a name with `part` before the ending that chooses the format."""
    ending = len(format_of(path))
    return path.with_name(f"{path.name[:-ending]}{part}{path.name[-ending:]}")


def check_format(path: Path) -> None:
    """Checks before hours of work that a table can be written under this name.

    Raises UsageError where there is no such format, and EdgeposeError where a package is not installed.
    """
    ending = format_of(path)
    if ending == ".h5":
        with extra("h5", f"{path}: writing .h5"):
            import h5py  # noqa: F401
    elif ending == PARQUET:
        need_pyarrow(f"{path}: writing {PARQUET}")


def write_table(path: Path, table: PoseTable) -> None:
    """Writes the table in the format of the file's ending. The file appears when it is complete.

    Raises EdgeposeError.
    """
    check_format(path)
    if format_of(path) in DEEPLABCUT_FORMATS:
        values, levels = table.values.reshape(len(table.frames), -1), column_levels(table.skeleton, table.scorer)
        write_whole(path, lambda temporary: write_deeplabcut(temporary, table.frames, values, levels))
    else:
        write_columns(path, pose_columns(table), metadata([table.scorer], table.skeleton))


def write_columns(path: Path, columns: dict[str, Column], about: dict[str, str]) -> None:
    """Writes columns of one length, as Parquet where the file ends so, or else as CSV.

    The file appears when it is complete. Raises EdgeposeError. about: what `layout.metadata` says, for Parquet.
    """
    if path.suffix.lower() == PARQUET:
        write_whole(path, lambda temporary: write_parquet(temporary, arrow_table(columns, about)))
    else:
        write_whole(path, lambda temporary: write_csv(temporary, [columns]))


def pose_columns(table: PoseTable) -> dict[str, Column]:
    """Returns the columns of our layout. The animal is always in slot 0."""
    rows = len(table.frames)
    columns: dict[str, Column] = {
        **frame_columns(table),
        "model": [table.scorer] * rows,
        "width": np.full(rows, table.size_wh[0], np.int32),
        "height": np.full(rows, table.size_wh[1], np.int32),
        "id_score": np.ones(rows, np.float32),
        "score": table.values[..., 2].mean(axis=1).astype(np.float32),
    }
    for k, name in enumerate(table.skeleton.keypoints):
        parts = dict(zip(("x", "y", "score"), table.values[:, k].T, strict=True))
        if table.xy_mm is not None:
            parts |= dict(zip(("x_mm", "y_mm"), table.xy_mm[:, k].T, strict=True))
        columns |= {keypoint_column(name, part): values.astype(np.float32) for part, values in parts.items()}
    return columns


def frame_columns(table: PoseTable) -> dict[str, Column]:
    """Returns the columns that say which animal in which frame a row is about."""
    return {
        "video": [table.video] * len(table.frames),
        "frame": np.asarray(table.frames, np.int64),
        "slot": np.zeros(len(table.frames), np.int16),
        "animal": [ONLY_ANIMAL] * len(table.frames),
        "t_s": table.time_s,
    }
