"""Payloads and their schemas: what a subscriber may rely on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.protocol.codec import as_json, decode, device_of, encode, keypoints_of
from edgepose.protocol.commands import COMMANDS
from edgepose.protocol.examples import POSE as POSE_MESSAGE
from edgepose.protocol.messages import Keypoint, PoseMessage, StatusMessage
from edgepose.protocol.schemas import schemas
from edgepose.protocol.topics import TOPICS, split_topic, topic_name
from edgepose.types import Pose, Skeleton

POSE: dict[str, Any] = {
    "v": 2,
    "device": "cage-07",
    "boot": "6f1c",
    "seq": 1840,
    "frame": 1842,
    "t_us": 1795328653996248,
    "mono_us": 8123456789,
    "synced": True,
    "clock_error_us": 180,
    "replay": False,
    "latency_ms": 23.4,
    "model": "openfield@3fa2c1",
    "size_wh": [640, 480],
    "animals": [
        {"id": "m3", "id_score": 0.99, "score": 0.97, "keypoints": {"snout": {"x": 21.52, "y": 265.43, "score": 0.98}}}
    ],
}


def with_keypoints(keypoints: dict[str, Any]) -> dict[str, Any]:
    return {**POSE, "animals": [{**POSE["animals"][0], "keypoints": keypoints}]}


def test_the_device_of_a_payload_can_always_be_part_of_a_topic() -> None:
    assert device_of(json.dumps(POSE).encode()) == "cage-07"
    for device in (None, "", "cage/07", "cage+", "#", "a\0"):
        assert device_of(json.dumps({**POSE, "device": device}).encode()) == ""
    assert device_of(b"{") == device_of(b"\xff") == device_of(b"[]") == ""


def test_a_pose_is_sent_as_documented() -> None:
    message = msgspec.convert(POSE, PoseMessage)
    assert json.loads(encode(message)) == POSE
    jsonschema.validate(POSE, schemas()["pose"])


@pytest.mark.parametrize(
    "change",
    [
        {"v": 1},
        {"v": 3},
        {"seq": "1"},
        {"size_wh": [640]},
        with_keypoints({"snout": {"x": 1.0, "y": 2.0}}),
        {"seq": -1},
        {"size_wh": [640, 0]},
        with_keypoints({"snout": {"x": 1.0, "y": 2.0, "score": 1.01}}),
        {"mono_us": "1"},
        {"device": "d" * 201},
        {"animals": POSE["animals"] * 65},
        with_keypoints({"k" * 201: {"x": 1.0, "y": 2.0, "score": 1.0}}),
        with_keypoints({f"k{i}": {"x": 1.0, "y": 2.0, "score": 1.0} for i in range(201)}),
    ],
    ids=[
        "older version",
        "newer version",
        "type",
        "length",
        "missing",
        "below 0",
        "no size",
        "score",
        "clock",
        "long device",
        "many animals",
        "long name",
        "many keypoints",
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(change: dict[str, Any]) -> None:
    broken = {**POSE, **change}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(broken, PoseMessage)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schemas()["pose"])


def test_every_topic_has_a_valid_schema() -> None:
    assert set(schemas()) == {*TOPICS, *(f"command/{name}" for name in COMMANDS), "reply"}
    for schema in schemas().values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_field_of_every_payload_has_a_description_of_its_own() -> None:
    structs = {name: struct for schema in schemas().values() for name, struct in schema["$defs"].items()}
    fields = {(name, field): one for name, struct in structs.items() for field, one in struct["properties"].items()}
    assert [field for field, one in fields.items() if not one.get("description", "").endswith(".")] == []
    assert all(struct.get("description") for struct in structs.values())


def test_what_the_device_says_of_itself_is_retained() -> None:
    assert [leaf for leaf, topic in TOPICS.items() if topic.retained] == ["info", "status", "health"]


@given(st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True), st.sampled_from(sorted(TOPICS)))
def test_topic_names_split_into_what_made_them(device: str, leaf: str) -> None:
    assert split_topic(topic_name(device, leaf)) == (device, leaf)


@pytest.mark.parametrize("name", ["edgepose/a/b", "edgepose/a/pose/x", "other/a/pose", "pose", ""])
def test_other_topics_are_not_ours(name: str) -> None:
    assert split_topic(name) is None


@given(
    st.lists(st.tuples(st.floats(-50, 4096), st.floats(-50, 4096), st.floats(0, 1)), min_size=1, max_size=8),
)
def test_keypoints_keep_a_hundredth_of_a_pixel(points: list[tuple[float, float, float]]) -> None:
    values = np.array(points, np.float32)
    names = tuple(f"k{i}" for i in range(len(points)))
    found = keypoints_of(Pose(values[:, :2], values[:, 2]), Skeleton(names))
    assert tuple(found) == names
    for name, (x, y, score) in zip(names, values.tolist(), strict=True):
        assert found[name].x == pytest.approx(x, abs=0.0051)
        assert found[name].y == pytest.approx(y, abs=0.0051)
        assert found[name].score == pytest.approx(score, abs=0.00051)


@pytest.mark.parametrize(("count", "bytes_in_table"), [(4, "531"), (12, "939"), (20, "1,347")])
def test_a_pose_is_as_long_as_the_fleet_document_says(count: int, bytes_in_table: str) -> None:
    point = Keypoint(321.45, 123.45, 0.987)
    (animal,) = POSE_MESSAGE.animals
    animal = msgspec.structs.replace(animal, keypoints={f"bodypart{i:02d}": point for i in range(count)})
    pose = msgspec.structs.replace(POSE_MESSAGE, animals=[animal])
    text = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text(encoding="utf-8")
    assert f"| {count} | {bytes_in_table} |" in text
    assert len(encode(pose)) == pytest.approx(int(bytes_in_table.replace(",", "")), rel=0.03)


def test_millimetres_stand_beside_pixels_where_they_are_known() -> None:
    pose = Pose(np.array([[1.5, 2.5], [3, 4], [5, 6]], np.float32), np.array([0.9, 0.8, 0.1], np.float32))
    skeleton = Skeleton(("snout", "leftear", "tail"))
    xy_mm = np.array([[10.12345, -3.0], [np.nan, np.nan], [7.0, 8.0]])
    found = keypoints_of(pose, skeleton, 0.5, xy_mm)
    sent = {
        "snout": {"x": 1.5, "y": 2.5, "score": 0.9, "x_mm": 10.123, "y_mm": -3.0},
        "leftear": {"x": 3.0, "y": 4.0, "score": 0.8},
    }
    assert msgspec.to_builtins(found) == sent
    jsonschema.validate(with_keypoints(sent), schemas()["pose"])
    assert msgspec.convert(with_keypoints(sent), PoseMessage).animals[0].keypoints == found


def test_a_status_reads_back() -> None:
    status = StatusMessage(device="d", boot="b", state="offline", run="r")
    assert decode(encode(status), StatusMessage) == status
    assert decode(b" \r\n" + encode(status) + b"\n", StatusMessage) == status  # as people type


@pytest.mark.parametrize(
    ("payload", "trouble"),
    [(b"", "truncated"), (b"hello", "invalid character"), (b"\xff", "invalid"), (b"5", "got `int`")],
)
def test_what_is_no_json_is_an_error_that_says_why(payload: bytes, trouble: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=trouble):
        decode(payload, StatusMessage)


@given(st.binary(max_size=64))
def test_what_an_earlier_version_wrote_as_messagepack_is_read_as_json(junk: bytes) -> None:
    assert as_json(msgspec.msgpack.encode(POSE_MESSAGE)) == as_json(encode(POSE_MESSAGE)) == encode(POSE_MESSAGE)
    as_json(junk)  # whatever it is


def test_keypoints_below_the_least_score_are_left_out() -> None:
    pose = Pose(np.zeros((3, 2), np.float32), np.array([0.2, 0.5, 0.9], np.float32))
    assert list(keypoints_of(pose, Skeleton(("a", "b", "c")), 0.5)) == ["b", "c"]
    assert keypoints_of(pose, Skeleton(("a", "b", "c")), 1.0) == {}
