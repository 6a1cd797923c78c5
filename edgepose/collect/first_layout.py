"""Converts files that collectors wrote before animals had rows of their own (layout 1) to the layout of today.

A row was a pose, without `device` and `slot`. Tags had the columns `tag_<name>`, as dictionaries, and keypoints
`<name>_x`, `<name>_y` and `<name>_score` in single precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepose.protocol.codec import ONLY_ANIMAL
from edgepose.tables.layout import POSITION, TYPES, free_name, keypoint_column, tag_column
from edgepose.tables.parquet import ArrowTable, arrow_type

_TAG = "tag_"
_FIXED = ("boot", "seq", "frame", "time", "synced", "replay", "latency_ms", "model", "width", "height")


def to_today(table: ArrowTable, device: str) -> ArrowTable:
    """Returns a table of layout 1 in the layout of today: each pose has one animal, as `versions` makes of a message.

    Raises KeyError where a column is missing.
    """
    import pyarrow as pa

    single, rows = pa.float32(), len(table)
    found = dict(zip(table.column_names, table.columns, strict=True))
    floats = {name for name, column in found.items() if pa.types.is_floating(column.type)}
    stems = [name.removesuffix("_score") for name in found if name.endswith("_score")]
    points = [stem for stem in stems if floats.issuperset(f"{stem}_{part}" for part in POSITION)]
    scores = [found[f"{point}_score"].to_numpy() for point in points]
    columns: dict[str, Any] = {name: found[name] for name in _FIXED}
    columns |= {
        "device": pa.repeat(device, rows),
        "slot": pa.repeat(pa.scalar(0, arrow_type("int16")), rows),
        "animal": pa.repeat(ONLY_ANIMAL, rows),
        "id_score": pa.repeat(pa.scalar(1.0, single), rows),
        "score": pa.array(_mean(np.stack(scores)) if scores else np.zeros(rows), single),
    }
    columns |= {name: pa.nulls(rows, arrow_type(TYPES[name])) for name in ("mono_us", "clock_error_us")}
    for name, column in found.items():
        if name.startswith(_TAG) and name not in floats:
            columns[tag_column(name.removeprefix(_TAG))] = column.cast(pa.string())
    for point in points:
        columns |= {keypoint_column(point, part): found.pop(f"{point}_{part}") for part in POSITION}
    for name, column in found.items():  # somebody has added them
        if name not in _FIXED and (name in floats or not name.startswith(_TAG)):
            columns[free_name(name, columns)] = column
    return pa.table(columns)


def _mean(scores: np.typing.NDArray[np.float32]) -> np.typing.NDArray[np.float64]:
    """Returns the mean of the scores (K, N) in each row, 0 where there is none."""
    known = np.isfinite(scores)
    return np.asarray(np.where(known, scores, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.float64).round(3)
