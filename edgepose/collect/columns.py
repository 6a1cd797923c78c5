"""Poses as the columns of a table: what every pose has, the tags of the daemon's start, and the keypoints."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from edgepose.protocol.messages import EventMessage, InfoMessage, PoseMessage

log = logging.getLogger(__name__)

Table: TypeAlias = Any  # of pyarrow, which is imported only where it is needed

PARTS = ("x", "y", "score")
_TAG = "tag_"
_ROWS_AT_ONCE = 10_000
_MOST_KEYPOINTS = 1_000


def base_schema() -> Any:
    """Returns the columns that every file has, in their order."""
    import pyarrow as pa

    types = {
        "boot": pa.string(),
        "seq": pa.int64(),
        "frame": pa.int64(),
        "time": pa.timestamp("us", tz="UTC"),
        "synced": pa.bool_(),
        "replay": pa.bool_(),
        "latency_ms": pa.float64(),
        "model": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
    }
    return pa.schema(list(types.items()))


def tables_of(poses: Iterable[PoseMessage]) -> Iterator[Table]:
    """Yields tables with one row per pose. A keypoint that a pose does not have is null."""
    rest = iter(poses)
    # In parts, because an hour of Python objects would fill the memory.
    while chunk := list(islice(rest, _ROWS_AT_ONCE)):
        yield _table(chunk)


def _table(poses: Sequence[PoseMessage]) -> Table:
    import pyarrow as pa

    schema = base_schema()
    values: list[list[Any]] = [
        [pose.boot for pose in poses],
        [pose.seq for pose in poses],
        [pose.frame for pose in poses],
        [pose.t_us for pose in poses],
        [pose.synced for pose in poses],
        [pose.replay for pose in poses],
        [pose.latency_ms for pose in poses],
        [pose.model for pose in poses],
        [pose.size_wh[0] for pose in poses],
        [pose.size_wh[1] for pose in poses],
    ]
    columns = {field.name: pa.array(column, field.type) for field, column in zip(schema, values, strict=True)}
    animals = [pose.animals[0].keypoints if pose.animals else {} for pose in poses]
    for name in _bounded(name for keypoints in animals for name in keypoints):
        points = [keypoints.get(name) for keypoints in animals]
        columns[f"{name}_x"] = pa.array([point and point.x for point in points], pa.float32())
        columns[f"{name}_y"] = pa.array([point and point.y for point in points], pa.float32())
        columns[f"{name}_score"] = pa.array([point and point.score for point in points], pa.float32())
    return pa.table(columns)


def _bounded(names: Iterable[str]) -> list[str]:
    """Returns each name once, and no more than a bound.

    A program that invents ever new names must not stop the files of other devices.
    """
    found = list(dict.fromkeys(names))
    if len(found) > _MOST_KEYPOINTS:
        log.warning(
            "more than %d keypoints in an hour: %s and others are left out", _MOST_KEYPOINTS, found[_MOST_KEYPOINTS]
        )
    return found[:_MOST_KEYPOINTS]


def keypoints_in(table: Table) -> list[str]:
    """Returns the names of the keypoints, in the order of the columns."""
    import pyarrow as pa

    scores = [name for name in table.column_names if name.endswith("_score")]
    return [name.removesuffix("_score") for name in scores if table[name].type == pa.float32()]


def skeleton_of(info: InfoMessage | None, models: Iterable[str]) -> tuple[str, ...]:
    """Returns the device's keypoints; none where its info is of a model that made none of these poses."""
    return info.skeleton.keypoints if info is not None and info.model in models else ()


def plain(table: Table) -> Table:
    """Returns the table with its tags as strings, because dictionaries of several files cannot be joined."""
    import pyarrow as pa

    for name in _tags_in(table):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
    return table


def in_order(table: Table, keypoints: Sequence[str]) -> Table:
    """Returns the table with its columns in order: those of every file, tags as dictionaries, then the keypoints.

    keypoints: come first, whether the table has them or not.
    """
    import pyarrow as pa

    found = dict(zip(table.column_names, table.columns, strict=True))
    nothing = pa.nulls(len(table), pa.float32())
    columns = {name: found[name] for name in base_schema().names}
    columns |= {name: found[name].combine_chunks().dictionary_encode() for name in _tags_in(table)}
    for name in _bounded([*keypoints, *keypoints_in(table)]):
        columns |= {f"{name}_{part}": found.get(f"{name}_{part}", nothing) for part in PARTS}
    return pa.table(columns)


def with_tags(table: Table, starts: Iterable[EventMessage]) -> Table:
    """Returns the table with the tags of each start for the poses up to the next start of the same boot.

    Poses before all starts keep the tags that they have. table: as `plain` returns it. starts: `started` events.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known = sorted(starts, key=lambda start: start.seq)
    at = _latest(table, known)
    for name in sorted({name for start in known for name in start.tags}):
        column = f"{_TAG}{name}"
        values = pa.array([*(start.tags.get(name) for start in known), None], pa.string()).take(pa.array(at))
        if column in _tags_in(table):
            values = pc.if_else(pa.array(at < len(known)), values, table[column].combine_chunks())
            table = table.set_column(table.column_names.index(column), column, values)
        elif column not in table.column_names:  # a keypoint may have this name
            table = table.append_column(column, values)
    return table


def _latest(table: Table, starts: Sequence[EventMessage]) -> Any:
    """Returns for each row the index of the last start at or before its seq, len(starts) where there is none.

    starts: sorted by seq.
    """
    import pyarrow.compute as pc

    at = np.full(len(table), len(starts))
    seqs = table["seq"].to_numpy()
    for boot in table["boot"].unique().to_pylist():
        indices = [index for index, start in enumerate(starts) if start.boot == boot]
        rows = np.flatnonzero(pc.equal(table["boot"], boot).to_numpy())
        found = np.searchsorted([starts[index].seq for index in indices], seqs[rows], "right")
        at[rows] = np.array([len(starts), *indices])[found]
    return at


def _tags_in(table: Table) -> list[str]:
    import pyarrow as pa

    names = [name for name in table.column_names if name.startswith(_TAG)]
    return sorted(name for name in names if table[name].type != pa.float32())
