"""One Parquet file per device and hour. It is complete or absent, and written again when more of its hour comes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.collect.columns import Table, base_schema, in_order, plain, skeleton_of, with_tags
from edgepose.collect.streams import SeqRun
from edgepose.errors import EdgeposeError
from edgepose.protocol.messages import EventMessage, InfoMessage
from edgepose.system.atomic_files import sync_folder, write_whole
from edgepose.system.extras import extra

_NAME = "%Y-%m-%dT%HZ"


def need_pyarrow() -> None:
    """Raises EdgeposeError where pyarrow is not installed: at once, not after an hour."""
    with extra("collect", "writing Parquet"):
        import pyarrow.parquet  # noqa: F401


def hour_path(folder: Path, device: str, hour: int) -> Path:
    """Returns the path of an hour's file. hour: number of hours since 1970, UTC."""
    return folder / device / f"{datetime.fromtimestamp(hour * 3600, UTC):{_NAME}}.parquet"


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
    before: Table | None,
    more: Iterable[Table],
    starts: Iterable[EventMessage] = (),
    info: InfoMessage | None = None,
) -> Table:
    """Writes the file of an hour: rows in the order of boot and seq, each pose once. It is on the disk then.

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
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [plain(table) for table in ([*more] if before is None else [before, *more])]
    table = _once(pa.concat_tables(parts, promote_options="default"))
    table = in_order(with_tags(table, starts), skeleton_of(info, table["model"].unique().to_pylist()))
    if before is None or not table.equals(before):
        write_whole(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))
        sync_folder(path.parent)
    return table


def read_hour(path: Path, columns: list[str] | None = None) -> Table:
    """Reads the file of an hour, or some of its columns. Raises EdgeposeError for a file that is not one of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=columns, partitioning=None)
    except (OSError, pa.ArrowException) as exc:
        raise EdgeposeError(f"{path}: cannot read ({' '.join(str(exc).split())}); move it away") from None
    for field in base_schema():
        if columns is None or field.name in columns:
            found = table[field.name] if field.name in table.column_names else None
            if found is None or found.type != field.type or found.null_count:
                raise EdgeposeError(f"{path}: its {field.name} is not as edgepose writes it; move it away")
    return table


def runs_in(table: Table) -> list[SeqRun]:
    """Returns the runs of poses of an hour, in the order of the table."""
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


def boot_changes(table: Table) -> Any:
    """Returns a boolean array, (rows - 1,): whether a row has another boot than the row before it."""
    import pyarrow.compute as pc

    boots = table["boot"].combine_chunks()
    return pc.not_equal(boots[1:], boots[:-1]).to_numpy(zero_copy_only=False)


def _once(table: Table) -> Table:
    """Returns the table sorted by boot and seq; of a pose that came twice it keeps the first."""
    import pyarrow as pa

    table = table.append_column("row", pa.array(np.arange(len(table))))
    table = table.sort_by([("boot", "ascending"), ("seq", "ascending"), ("row", "ascending")]).drop_columns(["row"])
    if len(table) > 1:
        keep = boot_changes(table) | (np.diff(table["seq"].to_numpy()) != 0)
        table = table.filter(pa.array(np.concatenate([[True], keep])))
    return table
