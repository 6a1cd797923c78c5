"""Defines the layout of our tables: names, order, types and units of the columns. Parquet and CSV share it.

A row is an animal in a frame. A frame in which no animal was found has one row, with slot -1 and nothing about an
animal. The rows of one pose lie one after the other, slot 0 first. The key of collected poses is (device, boot, seq,
slot), that of an analyzed video (video, frame, slot).

A table has the columns of `TYPES` that it can know, in that order; then the tags, `tag:<name>`; then for each keypoint
`<name>_x`, `<name>_y` and `<name>_score`, and where millimetres are known also `<name>_x_mm`, `<name>_y_mm`. What is
not known is null, and nothing between two commas in CSV. x and y are pixels of the frame; (0, 0) is the centre of the
top-left pixel. Everything metric is in millimetres.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from edgepose.types import Skeleton

ColumnType: TypeAlias = Literal["text", "bool", "int16", "int32", "int64", "time", "float32", "float64"]

VERSION = 2  # 1 was that of `collect` before animals had rows of their own; it was not written into the files
METADATA_KEY = "edgepose"  # of the JSON in a Parquet file that says what the table is

# `time` is in UTC with microseconds; `t_s` is in seconds since the first frame of the video.
TYPES: Mapping[str, ColumnType] = {
    "device": "text",
    "boot": "text",
    "video": "text",
    "seq": "int64",
    "frame": "int64",
    "slot": "int16",
    "animal": "text",
    "time": "time",
    "t_s": "float64",
    "mono_us": "int64",
    "synced": "bool",
    "clock_error_us": "int64",
    "replay": "bool",
    "latency_ms": "float64",
    "model": "text",
    "width": "int32",
    "height": "int32",
    "id_score": "float32",
    "score": "float32",
}
POSITION = ("x", "y", "score")
MILLIMETRES = ("x_mm", "y_mm")
PARTS = (*POSITION, *MILLIMETRES, "z_mm")
NO_ANIMAL = -1  # the slot of a frame in which no animal was found

_TAG, _POINT = "tag:", "point:"
_MOST_LETTERS = 200


def tag_column(name: str) -> str:
    """Returns the name of the column of a tag."""
    return _TAG + column_text(name)


def keypoint_column(keypoint: str, part: str) -> str:
    """Returns the name of a column of a keypoint. part: one of PARTS.

    `point:` stands before a keypoint that would otherwise get the column of a tag, or one of TYPES.
    """
    name = column_text(keypoint)
    taken = any(f"{name}_{other}" in TYPES for other in PARTS)
    return f"{_POINT if taken or name.startswith((_TAG, _POINT)) else ''}{name}_{part}"


def is_tag(column: str) -> bool:
    """Returns True for the column of a tag."""
    return column.startswith(_TAG)


def keypoints_in(columns: Iterable[str]) -> list[str]:
    """Returns the keypoints that have columns, in the order of their scores. Unknown columns belong to none."""
    known = {*columns}
    stems = [name.removesuffix("_score") for name in columns if name.endswith("_score") and name not in TYPES]
    return [
        stem.removeprefix(_POINT)
        for stem in stems
        if not is_tag(stem) and known.issuperset(f"{stem}_{part}" for part in POSITION)
    ]


def column_type(column: str) -> ColumnType | None:
    """Returns the type of a column; None for one that this layout does not know."""
    if is_tag(column):
        return "text"
    return TYPES.get(column) or ("float32" if column.endswith(tuple(f"_{part}" for part in PARTS)) else None)


def in_order(columns: Collection[str], keypoints: Iterable[str] = ()) -> list[str]:
    """Returns the columns in the order of a table, those that this layout does not know at the end.

    keypoints: they come before the other keypoints; columns that are missing are added for them.
    """
    ordered = [name for name in TYPES if name in columns] + sorted(filter(is_tag, columns))
    for keypoint in dict.fromkeys([*map(column_text, keypoints), *keypoints_in(columns)]):
        names = {part: keypoint_column(keypoint, part) for part in PARTS}
        ordered += [name for part, name in names.items() if part in POSITION or name in columns]
    return [*dict.fromkeys([*ordered, *columns])]


def free_name(name: str, columns: Collection[str]) -> str:
    """Returns the name for a column that somebody else has added, where `columns` may have it already."""
    while name in columns:
        name += "_"
    return name


def column_text(text: str) -> str:
    """Returns foreign text as it may be part of a column's name: bounded, and free of control characters.

    Where that changes the text, a hash of the original text is appended, so that two texts do not become one.
    """
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)[:_MOST_LETTERS]
    if clean == text:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{clean[: _MOST_LETTERS - 9]}~{digest}"


def metadata(models: Iterable[str], skeleton: Skeleton | None) -> dict[str, str]:
    """Returns what stands in a Parquet file about its table.

    Args:
        models: the ids of the models that made the poses.
        skeleton: the keypoints and the edges between them; None where they are not known.
    """
    content = {"layout": VERSION, "models": list(models), "skeleton": skeleton and msgspec.to_builtins(skeleton)}
    return {METADATA_KEY: json.dumps(content)}
