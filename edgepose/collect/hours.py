"""Reads and writes one Parquet file per device and hour.

It is complete or absent, and written again when more of its hour comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.collect.columns import COLUMNS, NULLABLE, ordered, skeleton_of, with_tags
from edgepose.collect.first_layout import to_today
from edgepose.collect.streams import SeqRun
from edgepose.errors import EdgeposeError
from edgepose.protocol.messages import EventMessage, InfoMessage
from edgepose.system.atomic_files import sync_folder, write_whole
from edgepose.tables.layout import PARTS, column_type, free_name, keypoint_column, keypoints_in, metadata
from edgepose.tables.parquet import ArrowTable, arrow_type, layout_of, read_parquet, skeleton_in, write_parquet

RUN_COLUMNS = ("boot", "seq", "frame", "slot")
_NAME = "%Y-%m-%dT%HZ"
_MOST_MODELS = 100  # that the metadata names: a reader refuses a file whose metadata are too large


def hour_path(folder: Path, device: str, hour: int) -> Path:
    """Returns the path of an hour's file. hour: number of hours since 1970, UTC."""
    return folder / device / f"{datetime.fromtimestamp(hour * 3600, UTC):{_NAME}}.parquet"


def is_folder_name(device: str) -> bool:
    """Returns True where a device can have a folder. A journal that somebody else has made may name any device."""
    return device not in {"", ".", ".."} and not {"/", "\0"}.intersection(device)


def hours_in(folder: Path) -> dict[tuple[str, int], Path]:
    """Returns the files in a collector's folder, by device and hour."""
    found = {}
    for path in sorted(folder.glob("*/*.parquet")):
        try:
            begin = datetime.strptime(path.stem, _NAME).replace(tzinfo=UTC)
        except ValueError:
            continue  # not our file
        found[path.parent.name, int(begin.timestamp()) // 3600] = path
    return found


def write_hour(
    path: Path,
    before: ArrowTable | None,
    more: Iterable[ArrowTable],
    starts: Iterable[EventMessage] = (),
    info: InfoMessage | None = None,
) -> ArrowTable:
    """Writes the file of an hour: rows in the order of boot, seq and slot, each pose once. It is on the disk then.

    Args:
        path: the file.
        before: the table that the file has; None where there is none.
        more: tables to add.
        starts: `started` events of the device, for the tags.
        info: that of the device, for the order of the columns.

    Returns:
        The whole table. Raises EdgeposeError when the file cannot be written.
    """
    import pyarrow as pa

    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [*more] if before is None else [before, *more]
    table = _once(pa.concat_tables(parts, promote_options="default"))
    models = table["model"].unique().to_pylist()
    skeleton = skeleton_of(info, models) or (skeleton_in(before.schema) if before is not None else None)
    table = ordered(with_tags(table, starts), skeleton).replace_schema_metadata(
        metadata(models[:_MOST_MODELS], skeleton)
    )
    if before is None or not table.equals(before, check_metadata=True):
        write_whole(path, lambda temporary: write_parquet(temporary, table))
        sync_folder(path.parent)
    return table


def read_hour(path: Path, columns: Sequence[str] = ()) -> ArrowTable:
    """Reads the file of an hour, or some of its columns. A file of an earlier layout is converted.

    Raises EdgeposeError for a file that is not one of ours, or of a newer version.
    """
    import pyarrow as pa

    earlier = has_first_layout(path)
    table = read_parquet(path, () if earlier else columns)
    if earlier:
        try:
            table = to_today(table, path.parent.name)
        except KeyError as exc:
            raise EdgeposeError(f"{path}: has no column {exc}, so edgepose has not written it; move it away") from None
        except pa.ArrowException as exc:
            why = " ".join(str(exc).split())
            raise EdgeposeError(f"{path}: cannot be converted from the earlier columns ({why}); move it away") from None
    table = _typed(path, table, columns or COLUMNS)
    return table.select(columns) if columns else table


def _typed(path: Path, table: ArrowTable, needed: Sequence[str]) -> ArrowTable:
    """Returns the table with the types of the layout: a program that added a column may have changed them.

    A column that somebody has added, and whose name a keypoint could have, gets another name where it has no numbers.
    Raises EdgeposeError where that cannot be done, or where a needed column is missing or has gaps.
    """
    import pyarrow as pa

    points = {keypoint_column(point, part) for point in keypoints_in(table.column_names) for part in PARTS}
    for name in dict.fromkeys([*needed, *table.column_names]):
        kind, column = column_type(name), table[name] if name in table.column_names else None
        try:
            if kind and column is not None and column.type != arrow_type(kind):
                table = table.set_column(table.column_names.index(name), name, column.cast(arrow_type(kind)))
        except pa.ArrowException:
            if name not in {*needed, *points}:
                other = free_name(name, table.column_names)
                table = table.rename_columns([other if one == name else one for one in table.column_names])
                continue
            column = None
        if column is None or (column.null_count and name in COLUMNS and name not in NULLABLE):
            raise EdgeposeError(f"{path}: its {name} is not as edgepose writes it; move it away")
    return table


def has_first_layout(path: Path) -> bool:
    """Returns True for a file that an earlier edgepose has written, and False for one that cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return layout_of(pq.read_schema(path)) == 1
    except (OSError, pa.ArrowException):
        return False


def runs_in(table: ArrowTable) -> list[SeqRun]:
    """Returns the runs of poses of an hour, in the order of the table. Its RUN_COLUMNS are enough."""
    import pyarrow.compute as pc

    table = table.filter(pc.less_equal(table["slot"], 0))  # the first row of each pose
    seqs, frames = table["seq"].to_numpy(), table["frame"].to_numpy()
    if not len(seqs):
        return []
    splits = np.flatnonzero(boot_changes(table) | (np.diff(seqs) != 1)) + 1
    firsts, lasts = [0, *splits.tolist()], [*(splits - 1).tolist(), len(seqs) - 1]
    boots = table["boot"].take(firsts).to_pylist()
    return [
        SeqRun(boot, int(seqs[a]), int(seqs[b]), int(frames[a]), int(frames[b]))
        for boot, a, b in zip(boots, firsts, lasts, strict=True)
    ]


def boot_changes(table: ArrowTable) -> Any:
    """Returns a boolean array, (rows - 1,): whether a row has another boot than the row before it."""
    import pyarrow.compute as pc

    boots = table["boot"].combine_chunks()
    return pc.not_equal(boots[1:], boots[:-1]).to_numpy(zero_copy_only=False)


def _once(table: ArrowTable) -> ArrowTable:
    """Returns the table sorted by boot and seq; of a pose that came twice it keeps the animals of the first time."""
    import pyarrow as pa

    table = table.append_column("row", pa.array(np.arange(len(table))))
    table = table.sort_by([("boot", "ascending"), ("seq", "ascending"), ("row", "ascending")]).drop_columns(["row"])
    if not len(table):
        return table
    changes = boot_changes(table) | (np.diff(table["seq"].to_numpy()) != 0)
    begins = np.concatenate([[True], changes])
    copies = np.cumsum(table["slot"].to_numpy() <= 0)  # each time that a pose came begins with slot 0 or -1
    return table.filter(pa.array(copies == copies[begins][np.cumsum(begins) - 1]))
