"""Parquet files in our layout, with pyarrow (extra `collect`), which is imported only where it is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from edgepose.errors import EdgeposeError
from edgepose.system.extras import extra
from edgepose.tables.layout import METADATA_KEY, VERSION, ColumnType, column_type
from edgepose.types import Column

ArrowTable: TypeAlias = Any  # of pyarrow


def need_pyarrow(purpose: str = "writing Parquet") -> None:
    """Raises EdgeposeError where pyarrow is not installed: at once, not after an hour of work."""
    with extra("collect", purpose):
        import pyarrow.parquet  # noqa: F401


def arrow_type(kind: ColumnType) -> Any:
    """Returns pyarrow's type."""
    import pyarrow as pa

    types = {"text": pa.string(), "bool": pa.bool_(), "time": pa.timestamp("us", tz="UTC")}
    return types.get(kind) or getattr(pa, kind)()


def arrow_table(columns: Mapping[str, Column]) -> ArrowTable:
    """Returns a table of columns of one length, with the types of the layout; None and NaN are null."""
    import pyarrow as pa

    arrays = {}
    for name, values in columns.items():
        kind = column_type(name)
        arrays[name] = pa.array(values, arrow_type(kind) if kind else None, from_pandas=True)
    return pa.table(arrays)


def plain_columns(table: ArrowTable) -> dict[str, Column]:
    """Returns the columns for CSV: numbers that may be unknown as arrays with NaN, everything else as lists."""
    import pyarrow as pa

    return {
        name: column.to_numpy() if pa.types.is_floating(column.type) else column.to_pylist()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def write_parquet(path: Path, table: ArrowTable, metadata: Mapping[str, str]) -> None:
    """Writes a table with what `layout.metadata` says about it. Raises OSError."""
    import pyarrow.parquet as pq

    pq.write_table(table.replace_schema_metadata(dict(metadata)), path, compression="zstd")


def read_parquet(path: Path, columns: list[str] | None = None) -> ArrowTable:
    """Reads a table of any version up to ours, or some of its columns, whatever other columns there are.

    Raises EdgeposeError for a file that cannot be read, or that a newer version has written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=columns, partitioning=None)
    except (OSError, pa.ArrowException) as exc:
        raise EdgeposeError(f"{path}: cannot read ({' '.join(str(exc).split())}); move it away") from None
    if (version := layout_of(table.schema)) > VERSION:
        raise EdgeposeError(f"{path}: a newer edgepose has written it (layout {version}); upgrade edgepose to read it")
    return table


def layout_of(schema: Any) -> int:
    """Returns the version of the layout that a file's schema names; 1 where it names none."""
    try:
        return int(json.loads((schema.metadata or {})[METADATA_KEY.encode()])["layout"])
    except (KeyError, TypeError, ValueError):
        return 1
