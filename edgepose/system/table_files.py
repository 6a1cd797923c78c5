"""Tables of named columns as files, CSV or Parquet; and files that appear when they are complete."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgeposeError
from edgepose.system.atomic_files import replace_files
from edgepose.types import F64

Column: TypeAlias = F64 | NDArray[np.int64] | Sequence[str]
_ROWS_AT_ONCE = 10_000


def write_columns(path: Path, columns: dict[str, Column]) -> None:
    """Writes columns of one length under their names, as Parquet where the file ends in .parquet, or else as CSV.

    Raises EdgeposeError.
    """
    if path.suffix.lower() == ".parquet":
        write_whole(path, lambda temporary: write_arrow(temporary, columns, {}))
    else:
        write_whole(path, lambda temporary: _write_csv(temporary, columns))


def write_arrow(path: Path, columns: dict[str, Column], metadata: dict[str, str]) -> None:
    """Writes columns of one length as Parquet, with texts about the table. Raises OSError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary name, and gives the file its own name when it is complete and on the disk.

    Raises EdgeposeError.
    """
    try:
        replace_files({path: write})
    except OSError as exc:
        raise EdgeposeError(f"{path}: cannot write ({exc.strerror or exc})") from None


def csv_cells(values: Column) -> list[float | int | str]:
    """Returns the values as Python's own, an empty text for NaN."""
    return ["" if value != value else value for value in np.asarray(values).tolist()]  # noqa: PLR0124  NaN


def _write_csv(path: Path, columns: dict[str, Column]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        rows = max(len(values) for values in columns.values())
        for start in range(0, rows, _ROWS_AT_ONCE):  # as Python's own numbers, a day's columns would fill the memory
            part = [csv_cells(values[start : start + _ROWS_AT_ONCE]) for values in columns.values()]
            writer.writerows(zip(*part, strict=True))
