"""Turns poses into rows of our tables: what every pose has, the tags of the daemon's start, each animal's keypoints."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from msgspec import UNSET

from edgepose.protocol.messages import AnimalMessage, EventMessage, InfoMessage, PoseMessage
from edgepose.system.wording import printable
from edgepose.tables.layout import (
    MILLIMETRES,
    NO_ANIMAL,
    POSITION,
    TYPES,
    in_order,
    is_tag,
    keypoint_column,
    keypoints_in,
    tag_column,
)
from edgepose.tables.parquet import ArrowTable, arrow_table
from edgepose.types import Column, Skeleton

log = logging.getLogger(__name__)

COLUMNS = tuple(name for name in TYPES if name not in {"video", "t_s"})
NULLABLE = ("animal", "mono_us", "clock_error_us", "id_score", "score")
_CELLS_AT_ONCE = 500_000  # as Python's own values, rows times keypoints
_MOST_KEYPOINTS = 400  # in an hour; a model has 200 at most
_MOST_TAGS = 300  # in an hour; a start has 100 at most


def tables_of(poses: Iterable[PoseMessage]) -> Iterator[ArrowTable]:
    """Yields tables with one row for each animal of each pose. A keypoint that an animal does not have is null."""
    rest = iter(poses)
    while part := _next_part(rest):
        yield _table(part)


def _next_part(rest: Iterator[PoseMessage]) -> list[PoseMessage]:
    """Returns the next poses, few enough that their table as Python objects does not fill the memory."""
    part: list[PoseMessage] = []
    rows, names = 0, set[str]()
    for pose in rest:
        part.append(pose)
        rows += max(1, len(pose.animals))
        names.update(*(animal.keypoints for animal in pose.animals))
        if rows * (len(COLUMNS) + len(names)) > _CELLS_AT_ONCE:
            break
    return part


def _table(poses: Sequence[PoseMessage]) -> ArrowTable:
    rows: list[tuple[PoseMessage, int, AnimalMessage | None]] = []
    for pose in poses:
        rows += [(pose, slot, animal) for slot, animal in enumerate(pose.animals)] or [(pose, NO_ANIMAL, None)]
    animals = [animal for _, _, animal in rows]
    columns: dict[str, Column] = {
        "device": [pose.device for pose, _, _ in rows],
        "boot": [pose.boot for pose, _, _ in rows],
        "seq": [pose.seq for pose, _, _ in rows],
        "frame": [pose.frame for pose, _, _ in rows],
        "slot": [slot for _, slot, _ in rows],
        "animal": [animal and animal.id for animal in animals],
        "time": [pose.t_us for pose, _, _ in rows],
        "mono_us": [pose.mono_us for pose, _, _ in rows],
        "synced": [pose.synced for pose, _, _ in rows],
        "clock_error_us": [pose.clock_error_us for pose, _, _ in rows],
        "replay": [pose.replay for pose, _, _ in rows],
        "latency_ms": [pose.latency_ms for pose, _, _ in rows],
        "model": [pose.model for pose, _, _ in rows],
        "width": [pose.size_wh[0] for pose, _, _ in rows],
        "height": [pose.size_wh[1] for pose, _, _ in rows],
        "id_score": [animal and animal.id_score for animal in animals],
        "score": [animal and animal.score for animal in animals],
    }
    found = (name for animal in animals if animal for name in animal.keypoints)
    for name in _bounded(found, _MOST_KEYPOINTS, "keypoints"):
        columns |= _keypoint_columns(name, animals)
    return arrow_table(columns)


def _keypoint_columns(name: str, animals: Sequence[AnimalMessage | None]) -> dict[str, Column]:
    """Returns the columns of a keypoint, those in mm only where an animal has them."""
    points = [animal.keypoints.get(name) if animal else None for animal in animals]
    columns = {part: [point and getattr(point, part) for point in points] for part in POSITION}
    for part in MILLIMETRES:
        values = [None if point is None or (mm := getattr(point, part)) is UNSET else mm for point in points]
        if any(value is not None for value in values):
            columns[part] = values
    return {keypoint_column(name, part): values for part, values in columns.items()}


def _bounded(names: Iterable[str], most: int, what: str) -> list[str]:
    """Returns each name once, and no more than `most`. what: the things that have these names, in words.

    A program that invents ever new names must not stop the files of other devices.
    """
    found = list(dict.fromkeys(names))
    if len(found) > most:
        log.warning("more than %d %s in an hour: %s and others are left out", most, what, printable(found[most]))
    return found[:most]


def skeleton_of(info: InfoMessage | None, models: Iterable[str]) -> Skeleton | None:
    """Returns the device's skeleton; None where its info is of a model that made none of these poses."""
    return info.skeleton if info is not None and info.model in models else None


def ordered(table: ArrowTable, skeleton: Skeleton | None) -> ArrowTable:
    """Returns the table with its columns in the order of the layout.

    skeleton: its keypoints come first, whether the table has them or not.
    """
    import pyarrow as pa

    first = skeleton.keypoints if skeleton else ()
    known = keypoints_in(table.column_names)
    surplus = {*known}.difference(_bounded([*first, *known], _MOST_KEYPOINTS, "keypoints"))
    unwanted = [name for keypoint in surplus for name in _columns_of(keypoint, table)]
    table = table.drop_columns(unwanted) if unwanted else table
    found = dict(zip(table.column_names, table.columns, strict=True))
    nothing = pa.nulls(len(table), pa.float32())
    return pa.table({name: found.get(name, nothing) for name in in_order(table.column_names, first)})


def _columns_of(keypoint: str, table: ArrowTable) -> list[str]:
    names = [keypoint_column(keypoint, part) for part in (*POSITION, *MILLIMETRES)]
    return [name for name in names if name in table.column_names]


def with_tags(table: ArrowTable, starts: Iterable[EventMessage]) -> ArrowTable:
    """Returns the table with the tags of each start for the poses up to the next start of the same boot.

    Poses before all starts keep the tags that they have. starts: `started` events.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known = sorted(starts, key=lambda start: start.seq)
    at = _latest(table, known)
    tags = [{tag_column(name): value for name, value in start.tags.items()} for start in known]
    names = [*filter(is_tag, table.column_names), *(name for one in tags for name in one)]
    for column in sorted(_bounded(names, _MOST_TAGS, "tags")):
        values = pa.array([*(one.get(column) for one in tags), None], pa.string()).take(pa.array(at))
        if column in table.column_names:
            values = pc.if_else(pa.array(at < len(known)), values, table[column].combine_chunks())
            table = table.set_column(table.column_names.index(column), column, values)
        else:
            table = table.append_column(column, values)
    return table


def _latest(table: ArrowTable, starts: Sequence[EventMessage]) -> np.typing.NDArray[np.int64]:
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
