"""Writes the poses of an hour beside its Parquet file: in our layout as CSV, in DeepLabCut's as CSV and H5.

In DeepLabCut's layout a row is a frame, with its number within one start of the daemon. So each start has a file of its
own: the first `<hour>.csv`, the next `<hour>_2.csv`. Frames without a pose have no row. A keypoint that is not known
has neither a position nor a likelihood. Where there are several animals, the header has a level for their names.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial
from pathlib import Path

import numpy as np

from edgepose.collect.columns import skeleton_of
from edgepose.collect.hours import boot_changes
from edgepose.protocol.messages import InfoMessage
from edgepose.system.atomic_files import write_whole
from edgepose.system.wording import printable
from edgepose.tables.csv_files import write_csv
from edgepose.tables.deeplabcut import column_levels, write_deeplabcut
from edgepose.tables.layout import POSITION, keypoint_column, keypoints_in
from edgepose.tables.parquet import ArrowTable, plain_parts
from edgepose.types import F64, Skeleton

log = logging.getLogger(__name__)

TIDY_CSV = "tidy.csv"
ENDINGS = ("csv", "h5", TIDY_CSV)
_DECIMALS = 4  # the columns are float32, which has no more
_MOST_CELLS = 60_000_000  # of one file: 480 MB of memory


def write_beside(hour: Path, table: ArrowTable, info: InfoMessage | None, endings: Collection[str]) -> None:
    """Writes the files of an hour. Raises EdgeposeError.

    Args:
        hour: the Parquet file of `table`.
        table: the poses.
        info: that of the device; its keypoints have columns whether they were seen or not.
        endings: what to write; files that are there already are kept up to date as well.
    """
    for ending in ENDINGS:
        path = hour.with_suffix(f".{ending}")
        if ending not in endings and not path.exists():
            continue
        if ending == TIDY_CSV:
            write_whole(path, partial(write_csv, parts=plain_parts(table)))
            continue
        for number, part in enumerate(_starts(table), 1):
            name = hour.stem if number == 1 else f"{hour.stem}_{number}"
            if names := _keypoints(part, info):
                frames, values, levels = _frames(part, names)
                write = partial(write_deeplabcut, frames=frames, values=values, levels=levels)
                write_whole(hour.with_name(f"{name}.{ending}"), write)


def _starts(table: ArrowTable) -> list[ArrowTable]:
    """Returns one table per start of the daemon, by time. At a start `frame` begins at 0 again, and `seq` does not."""
    if not len(table):
        return []
    import pyarrow.compute as pc

    models = table["model"].combine_chunks()
    behind = np.diff(table["frame"].to_numpy() - table["seq"].to_numpy()) < 0
    changes = pc.not_equal(models[1:], models[:-1]).to_numpy(zero_copy_only=False)
    ends = (np.flatnonzero(boot_changes(table) | behind | changes) + 1).tolist()
    parts = [table.slice(a, b - a) for a, b in zip([0, *ends], [*ends, len(table)], strict=True)]
    return sorted(parts, key=lambda part: part["time"][0].value)


def _keypoints(part: ArrowTable, info: InfoMessage | None) -> tuple[str, ...]:
    """Returns the keypoints of the device, and those that were seen."""
    skeleton, known = skeleton_of(info, [part["model"][0].as_py()]), keypoints_in(part.column_names)
    seen = [name for name in known if part[keypoint_column(name, "score")].null_count < len(part)]
    return tuple(dict.fromkeys([*(skeleton.keypoints if skeleton else ()), *seen]))


def _frames(part: ArrowTable, keypoints: tuple[str, ...]) -> tuple[list[int], F64, dict[str, list[str]]]:
    """Returns the numbers of N frames, their values (N, C), and the header of C columns."""
    import pyarrow.compute as pc

    animals = part["animal"].to_pylist()
    names = list(dict.fromkeys(name for name in animals if name is not None)) or [""]
    first = pc.less_equal(part["slot"], 0)  # the first row of each frame
    most = max(1, _MOST_CELLS // (len(part) * len(keypoints) * len(POSITION)))
    if len(names) > most:
        log.warning(
            "more animals than a DeepLabCut file can hold: %s and others have no columns", printable(names[most])
        )
        names = names[:most]
    at = np.cumsum(first.to_numpy()) - 1
    values = np.full((int(at[-1]) + 1, len(names), len(keypoints), len(POSITION)), np.nan)
    for column, name in enumerate(names):
        rows = [row for row, animal in enumerate(animals) if animal == name]
        for k, keypoint in enumerate(keypoints):
            for c, one in enumerate(POSITION):
                if (title := keypoint_column(keypoint, one)) in part.column_names:
                    found = part[title].to_numpy()[rows].astype(np.float64)
                    values[at[rows], column, k, c] = np.round(found, _DECIMALS)
    individuals = names if len(names) > 1 else ()
    levels = column_levels(Skeleton(keypoints), part["model"][0].as_py(), individuals)
    return part["frame"].filter(first).to_pylist(), values.reshape(len(values), -1), levels
