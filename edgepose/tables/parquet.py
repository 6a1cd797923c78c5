"""Reads and writes Parquet files in our layout, with pyarrow (extra `collect`), which only these functions import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec

from edgepose.errors import EdgeposeError
from edgepose.system.extras import extra
from edgepose.tables.csv_files import ROWS_AT_ONCE
from edgepose.tables.layout import METADATA_KEY, VERSION, ColumnType, column_type
from edgepose.types import Column, Skeleton

ArrowTable: TypeAlias = Any  # of pyarrow
T = TypeVar("T")


def need_pyarrow(purpose: str = "writing Parquet") -> None:
    """Raises EdgeposeError where pyarrow is not installed: at once, not after an hour of work."""
    with extra("collect", purpose):
        import pyarrow.parquet  # noqa: F401


def arrow_type(kind: ColumnType) -> Any:
    """Returns pyarrow's type."""
    import pyarrow as pa

    types = {"text": pa.string(), "bool": pa.bool_(), "time": pa.timestamp("us", tz="UTC")}
    return types.get(kind) or getattr(pa, kind)()


def arrow_table(columns: Mapping[str, Column], metadata: Mapping[str, str] | None = None) -> ArrowTable:
    """Returns a table of columns of one length, with the types of the layout; None and NaN are null.

    metadata: what `layout.metadata` says about it.
    """
    import pyarrow as pa

    arrays = {}
    for name, values in columns.items():
        kind = column_type(name)
        arrays[name] = pa.array(values, arrow_type(kind) if kind else None, from_pandas=True)
    return pa.table(arrays).replace_schema_metadata(metadata)


def plain_parts(table: ArrowTable) -> Iterator[dict[str, Column]]:
    """Yields the columns of parts of the table, one below the other, for CSV: numbers with a fraction as arrays, in
    which NaN is not known, everything else as lists."""
    import pyarrow as pa

    for start in range(0, max(1, len(table)), ROWS_AT_ONCE):
        part = table.slice(start, ROWS_AT_ONCE)
        yield {
            name: column.to_numpy() if pa.types.is_floating(column.type) else column.to_pylist()
            for name, column in zip(part.column_names, part.columns, strict=True)
        }


def write_parquet(path: Path, table: ArrowTable) -> None:
    """Writes a table that has `layout.metadata` as the metadata of its schema. Raises OSError."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")


def read_parquet(path: Path, columns: Sequence[str] = ()) -> ArrowTable:
    """Reads a table of any version up to ours, whatever other columns there are.

    columns: those to read; without them, and where a file does not have all of them, every column is read. Raises
    EdgeposeError for a file that cannot be read, or that a newer version has written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        wanted = [*columns] if columns and {*columns} <= {*schema.names} else None
        table = pq.read_table(path, columns=wanted, partitioning=None)
    except (OSError, pa.ArrowException) as exc:
        raise EdgeposeError(f"{path}: cannot read ({' '.join(str(exc).split())}); move it away") from None
    if (version := layout_of(schema)) > VERSION:
        raise EdgeposeError(f"{path}: a newer edgepose has written it (layout {version}); upgrade edgepose to read it")
    return table


class _Layout(msgspec.Struct):
    layout: int | None = None


class _About(msgspec.Struct):
    skeleton: Skeleton | None = None


def layout_of(schema: Any) -> int:
    """Returns the version of the layout of a file, which its schema names.

    Where it names none, the file is of layout 1, which has no slots, or another program has written it again.
    """
    return _decoded(schema, _Layout).layout or (VERSION if "slot" in schema.names else 1)


def skeleton_in(schema: Any) -> Skeleton | None:
    """Returns the skeleton that a file's schema names; None where it names none."""
    return _decoded(schema, _About).skeleton


def _decoded(schema: Any, kind: type[T]) -> T:
    try:
        return msgspec.json.decode((schema.metadata or {}).get(METADATA_KEY.encode(), b"{}"), type=kind)
    except ValueError:  # msgspec's errors are ValueErrors
        return kind()
