"""The layout of tables: no two things share a column, and foreign names are harmless."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from edgepose.tables.layout import (
    METADATA_KEY,
    PARTS,
    POSITION,
    TYPES,
    column_text,
    column_type,
    in_order,
    is_tag,
    keypoint_column,
    keypoints_in,
    metadata,
    tag_column,
)
from edgepose.types import Skeleton

WORDS = st.lists(
    st.sampled_from(["tag:", "point:", "id", "x", "mm", "score", "_", "latency", "t", "s", "frame", "clock_error"])
).map("".join)
NAMES = st.lists(WORDS | st.text(max_size=4), unique=True, max_size=6)


@given(NAMES, NAMES)
def test_keypoints_tags_and_fixed_columns_never_share_a_column(keypoints: list[str], tags: list[str]) -> None:
    columns = [*TYPES, *map(tag_column, tags)]
    columns += [keypoint_column(name, part) for name in keypoints for part in PARTS]
    assert len({*columns}) == len(columns)


@given(NAMES, NAMES)
def test_columns_say_what_they_are(keypoints: list[str], tags: list[str]) -> None:
    columns = [
        *map(tag_column, tags),
        *(keypoint_column(name, part) for name in keypoints for part in POSITION),
        *TYPES,
    ]
    assert keypoints_in(columns) == [column_text(name) for name in keypoints]
    assert [name for name in columns if is_tag(name)] == [tag_column(name) for name in tags]
    ordered = in_order([*reversed(columns), "unknown"], keypoints)
    assert ordered[: len(TYPES)] == [*TYPES]
    assert ordered[-1] == "unknown"
    assert keypoints_in(ordered) == keypoints_in(columns)
    assert {*ordered} == {*columns, "unknown"}


def test_names_that_would_collide_get_a_prefix() -> None:
    assert keypoint_column("snout", "x") == "snout_x"
    assert keypoint_column("tag", "x") == "tag_x"
    assert tag_column("x") == "tag:x"
    assert keypoint_column("tag:x", "score") == "point:tag:x_score"
    assert keypoint_column("id", "score") == "point:id_score"
    assert column_type("point:id_score") == "float32"


@given(st.text(st.characters(), max_size=300))
def test_names_are_bounded_and_printable(text: str) -> None:
    clean = column_text(text)
    assert len(clean) <= 200
    assert clean.isprintable()
    assert column_text(clean) == clean
    assert (clean == text) == (text.isprintable() and len(text) <= 200)


def test_long_names_and_control_characters_stay_apart() -> None:
    names = ["a" * 201, "a" * 202, "a" * 200, "a\nb", "a\rb", "a?b", "a\ud800b"]
    assert len({column_text(name) for name in names}) == len(names)
    assert column_text("a\nb").startswith("a?b~")


def test_keypoints_of_the_skeleton_come_first_and_have_columns_without_being_seen() -> None:
    columns = ["tail_score", "tail_y", "tail_x", "tail_x_mm", "tag:b", "tag:a", "frame", "seq"]
    assert in_order(columns, ["ear"]) == [
        *("seq", "frame", "tag:a", "tag:b", "ear_x", "ear_y", "ear_score"),
        *("tail_x", "tail_y", "tail_score", "tail_x_mm"),
    ]


def test_metadata_say_layout_models_and_skeleton() -> None:
    skeleton = Skeleton(("a", "b"), (("a", "b"),))
    about = json.loads(metadata(["m@1"], skeleton)[METADATA_KEY])
    assert about == {
        "layout": 2,
        "models": ["m@1"],
        "skeleton": {"keypoints": ["a", "b"], "edges": [["a", "b"]], "flip_pairs": []},
    }
    assert json.loads(metadata([], None)[METADATA_KEY])["skeleton"] is None
