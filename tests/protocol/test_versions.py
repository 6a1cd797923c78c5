"""Messages of other versions: those of version 1 are converted, and newer ones are recognised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.protocol import examples
from edgepose.protocol.codec import encode
from edgepose.protocol.commands import ReplyMessage
from edgepose.protocol.messages import BatchMessage, EventMessage, Keypoint, Message, PoseMessage, StatusMessage
from edgepose.protocol.schemas import schemas
from edgepose.protocol.topics import TOPICS
from edgepose.protocol.versions import NewerVersionError, UnreadableMessageError, read_message, upgraded

OLD = Path(__file__).parents[1] / "version_1"
KINDS: dict[str, type[Message]] = {**{leaf: topic.payload for leaf, topic in TOPICS.items()}, "reply": ReplyMessage}


def with_fields(message: Message, **fields: Any) -> bytes:
    return json.dumps({**json.loads(encode(message)), **fields}).encode()


@pytest.mark.parametrize("leaf", KINDS)
def test_each_message_of_version_1_becomes_one_of_ours(leaf: str) -> None:
    old = json.loads((OLD / f"{leaf}.json").read_bytes())
    found = json.loads(encode(read_message((OLD / f"{leaf}.json").read_bytes(), KINDS[leaf])))
    jsonschema.validate(json.loads(upgraded((OLD / f"{leaf}.json").read_bytes())), schemas()[leaf])
    assert (old["v"], found["v"]) == (1, 2)
    if leaf not in {"pose", "poses"}:
        assert found == {**found, **old, "v": 2}


@pytest.mark.parametrize("leaf", ["pose", "poses", "event"])
def test_messagepack_of_version_1_says_the_same_as_json(leaf: str) -> None:
    kind = KINDS[leaf]
    read = [read_message((OLD / f"{leaf}.{ending}").read_bytes(), kind) for ending in ("json", "msgpack")]
    assert read[0] == read[1]


def test_a_pose_of_version_1_is_one_animal() -> None:
    pose = read_message((OLD / "pose.json").read_bytes(), PoseMessage)
    (animal,) = pose.animals
    assert (animal.id, animal.id_score, animal.score) == ("1", 1.0, 0.7)
    assert animal.keypoints == {"snout": Keypoint(1000.0, 2.5, 0.9), "tail": Keypoint(3.25, 4.5, 0.5)}
    assert (pose.mono_us, pose.clock_error_us) == (None, None)
    assert (pose.seq, pose.frame, pose.t_us, pose.size_wh) == (1000, 0, 1_700_000_000_001_000, (640, 480))


def test_a_pose_of_version_1_without_keypoints_is_an_animal_of_unknown_score() -> None:
    old = json.loads((OLD / "pose.json").read_bytes())
    (animal,) = read_message(json.dumps({**old, "keypoints": {}}).encode(), PoseMessage).animals
    assert (animal.score, animal.keypoints) == (0.0, {})


def test_fields_that_are_not_known_are_ignored() -> None:
    pose = json.loads(with_fields(examples.POSE, lens="wide"))
    pose["animals"][0] |= {"pose3d": [1, 2, 3]}
    pose["animals"][0]["keypoints"]["snout"] |= {"z_mm": 1.5}
    assert read_message(json.dumps(pose).encode(), PoseMessage) == examples.POSE
    jsonschema.validate(pose, schemas()["pose"])
    for leaf, message in examples.MESSAGES.items():
        assert read_message(with_fields(message, another={"field": [1]}), KINDS[leaf]) == message
        jsonschema.validate(json.loads(with_fields(message, another=1)), schemas()[leaf])


@pytest.mark.parametrize("version", [3, 4, 2**31 - 1])
@pytest.mark.parametrize("message", [examples.POSE, examples.BATCH, examples.STATUS])
def test_a_newer_version_is_recognised_and_kept_as_it_is(message: Message, version: int) -> None:
    payload = with_fields(message, v=version, device=["no", "name"])
    with pytest.raises(NewerVersionError, match=f"version {version}") as caught:
        read_message(payload, type(message))
    assert caught.value.version == version
    assert upgraded(payload) == payload


DAMAGED = [
    b"",
    b"hello",
    b"\xff\x00",
    b"5",
    b"[]",
    b'{"v": 1}',
    b'{"v": 2}',
    b'{"v": "3"}',
    b'{"v": 0}',
    b'{"v": -1}',
    b'{"v": 1.5}',
    b'{"v": 99999999999999999999999}',
    b'{"v": null}',
    b'{"v": 1, "seq": 99999999999999999999999}',
    b"\x82\xa1v\x01\xa1k\x81\xc0\x01",  # MessagePack with a key that JSON cannot have
    b"\x81\xa1k" + b"\x91" * 100_000,
    b'{"v": 1, "keypoints": []}',
    b'{"v": 1, "keypoints": {"a": 5}}',
    b'{"v": 1, "keypoints": {"a": {}}}',
    b'{"v": 1, "keypoints": {"a": {"score": "x"}}}',
    b'{"v": 1, "poses": [[]]}',
    b'{"v": 1, "poses": 7}',
    b'{"v": 1, "a": ' + b"[" * 100_000,
    b'{"v": 2, "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("payload", DAMAGED, ids=range(len(DAMAGED)))
def test_what_is_no_message_is_unreadable(payload: bytes) -> None:
    for kind in (PoseMessage, BatchMessage, EventMessage, StatusMessage):
        with pytest.raises(UnreadableMessageError) as caught:
            read_message(payload, kind)
        assert not isinstance(caught.value, NewerVersionError)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda payload: b"\x81\xa1v" + payload))
def test_whatever_comes_has_one_kind_of_error(payload: bytes) -> None:
    with pytest.raises(UnreadableMessageError):
        read_message(payload, PoseMessage)


@given(
    st.dictionaries(
        st.sampled_from(["v", "device", "boot", "keypoints", "poses", "seq"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5) | st.just(1),
            lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
            max_leaves=8,
        ),
    )
)
def test_whatever_calls_itself_version_1_has_one_kind_of_error(fields: dict[str, Any]) -> None:
    with pytest.raises(UnreadableMessageError):
        read_message(json.dumps({**fields, "v": 1}).encode(), PoseMessage)
