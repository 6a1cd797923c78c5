"""One Parquet file for each device and hour: complete or absent, and written anew when more of its hour comes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from edgepose.core.errors import EdgeposeError
from edgepose.core.messages import PoseMessage
from edgepose.tables import sync_folder, write_whole

_CHUNK = 10_000
_SCORE = "score"


def need_pyarrow() -> None:
    """Raises EdgeposeError where it is not installed: now, not after an hour."""
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise EdgeposeError("writing Parquet needs pyarrow; pip install 'edgepose[collect]'") from None


def hour_path(folder: Path, device: str, hour: int) -> Path:
    """hour: since 1970, UTC."""
    return folder / device / f"{datetime.fromtimestamp(hour * 3600, UTC):%Y-%m-%dT%HZ}.parquet"


def write_hour(path: Path, poses: Iterable[PoseMessage], more: Iterable[Any] = ()) -> None:
    """Adds to what the file holds already, in the order of boot and seq, each pose once. more: tables like `read_hour`.
    On the disk when this returns. Raises EdgeposeError."""
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = [*more, *(_table(arrow, chunk) for chunk in _chunks(poses))]
    if path.exists():
        tables.insert(0, read_hour(path))
    table = _once(arrow, arrow.concat_tables(tables, promote_options="default"))

    def write(temporary: Path) -> None:
        parquet.write_table(table, temporary, compression="zstd")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())

    write_whole(path, write)
    sync_folder(path.parent)


def read_hour(path: Path, columns: list[str] | None = None) -> Any:
    """A pyarrow table. Raises EdgeposeError for a file that is not one of ours."""
    try:
        return importlib.import_module("pyarrow.parquet").read_table(path, columns=columns, partitioning=None)
    except (OSError, ValueError, KeyError) as exc:  # ArrowInvalid is a ValueError
        raise EdgeposeError(f"{path}: cannot read ({' '.join(str(exc).split())}); move it away") from None


def _chunks(poses: Iterable[PoseMessage]) -> Iterator[list[PoseMessage]]:
    rest = iter(poses)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _table(arrow: Any, poses: list[PoseMessage]) -> Any:
    columns: dict[str, Any] = {
        "boot": [pose.boot for pose in poses],
        "seq": [pose.seq for pose in poses],
        "frame": [pose.frame for pose in poses],
        "time": arrow.array([pose.t_us for pose in poses], arrow.timestamp("us", tz="UTC")),
        "synced": [pose.synced for pose in poses],
        "replay": [pose.replay for pose in poses],
        "latency_ms": [pose.latency_ms for pose in poses],
        "model": [pose.model for pose in poses],
        "width": arrow.array([pose.size_wh[0] for pose in poses], arrow.int32()),
        "height": arrow.array([pose.size_wh[1] for pose in poses], arrow.int32()),
    }
    names = list(dict.fromkeys(name for pose in poses for name in pose.keypoints))
    for name in names:
        for part in ("x", "y", _SCORE):
            values = [getattr(point, part) if (point := pose.keypoints.get(name)) else None for pose in poses]
            columns[f"{name}_{part}"] = arrow.array(values, arrow.float32())
    return arrow.table(columns)


def _once(arrow: Any, table: Any) -> Any:
    """Sorted, and of what came twice only the first."""
    table = table.append_column("row", arrow.array(range(len(table)), arrow.int64()))
    table = table.sort_by([("boot", "ascending"), ("seq", "ascending"), ("row", "ascending")])
    boots, seqs = table["boot"].combine_chunks(), table["seq"].combine_chunks()
    compute: Any = importlib.import_module("pyarrow.compute")
    if len(table) > 1:
        same = compute.and_(compute.equal(boots[1:], boots[:-1]), compute.equal(seqs[1:], seqs[:-1]))
        keep = arrow.concat_arrays([arrow.array([True]), compute.invert(same)])
        table = table.filter(keep)
    return table.drop_columns(["row"])
