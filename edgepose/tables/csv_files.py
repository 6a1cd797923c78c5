"""Writes CSV files, and defines how numbers, texts and what is not known become cells.

A spreadsheet takes a cell that begins with =, +, - or @, or with the full-width form of one, for a formula and computes
it, whoever wrote it. Such a text gets an apostrophe before it, as OWASP advises ("CSV Injection"); a number does not.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from edgepose.system.atomic_files import write_whole
from edgepose.types import Column

ROWS_AT_ONCE = 10_000  # as Python's own values, more would fill the memory
_STARTS = r"[=+\-@\t\n\uff1d\uff0b\uff0d\uff20]"
_FORMULA, _ESCAPED = re.compile(f"'*{_STARTS}"), re.compile(f"'+{_STARTS}")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def write_csv(path: Path, parts: Iterable[Mapping[str, Column]]) -> None:
    """Writes parts of a table, one below the other. Raises OSError.

    parts: the columns by name, of one length in each part. All parts have the same columns, and there is at least one.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, columns in enumerate(parts):
            if not number:
                writer.writerow(map(text_cell, columns))
            rows = max(map(len, columns.values()))
            for start in range(0, rows, ROWS_AT_ONCE):
                cells = [csv_cells(values[start : start + ROWS_AT_ONCE]) for values in columns.values()]
                writer.writerows(zip(*cells, strict=True))


def csv_cells(values: Column) -> list[object]:
    """Returns the cells of a column; what is not known, None or NaN, is an empty text.

    Numbers keep all digits that their type has, and no more.
    """
    if not isinstance(values, np.ndarray):
        return list(map(_cell, values))
    if values.dtype == np.float32:  # as Python's own, 0.1 would become 0.10000000149011612
        return ["" if cell == "nan" else cell for cell in values.astype(str).tolist()]
    return ["" if value != value else value for value in values.tolist()]  # noqa: PLR0124  NaN


def _cell(value: object) -> object:
    if isinstance(value, datetime):  # always with microseconds, because pandas expects one format in a column
        return value.isoformat(timespec="microseconds")
    return text_cell(value) if isinstance(value, str) else "" if value is None else value


def text_cell(text: str) -> str:
    """Returns a text as a spreadsheet may see it; `cell_text` undoes this.

    A carriage return becomes a space: the csv module does not quote a single one, and it would end the line.
    """
    text = text.replace("\r", " ")
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def cell_text(cell: str) -> str:
    """Returns the text that `text_cell` was given."""
    return cell[1:] if _ESCAPED.match(cell) else cell


def write_rows(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes rows below the names of their columns. The file appears when it is complete. Raises EdgeposeError."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(head)
            writer.writerows(csv_cells(row) for row in rows)

    write_whole(path, write)
