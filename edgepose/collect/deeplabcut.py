"""The poses of an hour in DeepLabCut's layout too, in files beside the Parquet file.

A row is a frame, with its number within one start of the daemon. So each start has a file of its own: the first
`<hour>.csv`, the next `<hour>_2.csv`. Frames without a pose have no row. A keypoint that is not known has neither a
position nor a likelihood.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

import numpy as np

from edgepose.collect.columns import PARTS, Table, keypoints_in, skeleton_of
from edgepose.collect.hours import boot_changes
from edgepose.protocol.messages import InfoMessage
from edgepose.system.atomic_files import write_whole
from edgepose.tables.deeplabcut import column_levels
from edgepose.tables.deeplabcut import write_deeplabcut as write_file
from edgepose.types import F64, Skeleton

ENDINGS = ("csv", "h5")
_DECIMALS = 4  # the columns are float32, which has no more


def write_deeplabcut(hour: Path, table: Table, info: InfoMessage | None, endings: Collection[str]) -> None:
    """Writes the files of an hour. Raises EdgeposeError.

    Args:
        hour: the Parquet file of `table`.
        table: the poses.
        info: that of the device; its keypoints have columns whether they were seen or not.
        endings: what to write; files that are there already are kept up to date as well.
    """
    for ending in ENDINGS:
        if ending in endings or hour.with_suffix(f".{ending}").exists():
            for number, part in enumerate(_starts(table), 1):
                name = hour.stem if number == 1 else f"{hour.stem}_{number}"
                if found := _values(part, info):
                    path, (values, levels) = hour.with_name(f"{name}.{ending}"), found
                    frames = part["frame"].to_pylist()
                    write_whole(path, partial(write_file, frames=frames, values=values, levels=levels))


def _starts(table: Table) -> list[Table]:
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


def _values(part: Table, info: InfoMessage | None) -> tuple[F64, dict[str, list[str]]] | None:
    """Returns None where no keypoint is known."""
    found, model = dict(zip(part.column_names, part.columns, strict=True)), part["model"][0].as_py()
    seen = [name for name in keypoints_in(part) if found[f"{name}_score"].null_count < len(part)]
    names = tuple(dict.fromkeys([*skeleton_of(info, [model]), *seen]))
    if not names:
        return None
    values = np.full((len(part), len(names), len(PARTS)), np.nan)
    for k, name in enumerate(names):
        for c, one in enumerate(PARTS):
            if (column := found.get(f"{name}_{one}")) is not None:
                values[:, k, c] = np.round(column.to_numpy().astype(np.float64), _DECIMALS)
    return values.reshape(len(part), -1), column_levels(Skeleton(names), model)
