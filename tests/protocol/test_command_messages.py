"""What may be asked of a device: what each command takes, what it changes, and how the answer looks."""

from __future__ import annotations

import base64
import json
from typing import Any, get_args

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.protocol.codec import decode, encode
from edgepose.protocol.commands import COMMANDS, LONGEST_ID, CommandName, ReplyMessage, Set, changed
from edgepose.protocol.messages import Settings
from edgepose.protocol.schemas import schemas

RATES = st.none() | st.floats(0.001, 1000)
SCORES = st.floats(0, 1)
REGIONS = st.none() | st.tuples(*[st.integers(0, 65_535)] * 2, *[st.integers(16, 65_535)] * 2)
SETTINGS = st.builds(Settings, rate_hz=RATES, min_score=SCORES, region=REGIONS)
CHANGES = st.fixed_dictionaries(
    {}, optional={"rate_hz": RATES, "min_score": st.none() | SCORES, "region": REGIONS.map(lambda r: r and list(r))}
)


def as_json(settings: Settings) -> dict[str, Any]:
    return dict(json.loads(msgspec.json.encode(settings)))


def test_the_config_knows_the_same_commands() -> None:
    assert get_args(CommandName) == tuple(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_sent_without_anything(name: str) -> None:
    assert decode(b"{}", COMMANDS[name]) == COMMANDS[name]()
    assert COMMANDS[name]().id is None


@given(SETTINGS, CHANGES)
def test_set_changes_what_is_given_and_null_goes_back(before: Settings, change: dict[str, Any]) -> None:
    after = as_json(changed(before, decode(json.dumps(change).encode(), Set)))
    for name, value in as_json(before).items():
        expected = change.get(name, value)
        assert after[name] == (as_json(Settings())[name] if expected is None else expected)


@given(SETTINGS)
def test_settings_read_back_from_their_file(settings: Settings) -> None:
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("ping", {"why": "x"}),
        ("ping", {"id": 7}),
        ("ping", {"id": "x" * (LONGEST_ID + 1)}),
        ("set", {"rate_hz": 0}),
        ("set", {"rate_hz": 1e-320}),
        ("set", {"rate_hz": 1001}),
        ("set", {"rate_hz": "5"}),
        ("set", {"min_score": 1.1}),
        ("set", {"min_score": True}),
        ("set", {"region": [0, 0, 15, 100]}),
        ("set", {"region": [-1, 0, 100, 100]}),
        ("set", {"region": [0, 0, 100]}),
        ("set", {"region": [0.5, 0, 100, 100]}),
        ("mark", {"phase": "begin"}),
        ("mark", {"text": "x" * 501}),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(json.dumps(fields).encode(), COMMANDS[name])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schemas()[f"command/{name}"]).validate(fields)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("name", ["rate_hz", "min_score"])
def test_no_setting_is_a_number_that_is_none(name: str, value: str) -> None:
    """As a setting it would be null in the file, and all settings would be lost with it."""
    with pytest.raises(msgspec.DecodeError):
        decode(f'{{"{name}": {value}}}'.encode(), Set)


def test_a_picture_is_base64() -> None:
    reply = ReplyMessage(
        device="d", boot="b", command="snapshot", id="1", ok=True, error="", result={"jpeg": b"\xff\xd8"}
    )
    as_json = json.loads(encode(reply))
    jsonschema.Draft202012Validator(schemas()["reply"]).validate(as_json)
    assert base64.b64decode(as_json["result"]["jpeg"]) == b"\xff\xd8"
