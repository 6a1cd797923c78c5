"""The AsyncAPI document: valid by AsyncAPI's own schema, complete, and the one in docs/ is current."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from brokers import VALIDATORS

from edgepose.cli.main import main
from edgepose.protocol import examples
from edgepose.protocol.asyncapi import asyncapi
from edgepose.protocol.commands import COMMANDS
from edgepose.protocol.topics import TOPICS, split_topic, topic_name

ROOT = Path(__file__).parents[2]
OFFICIAL = jsonschema.Draft7Validator(
    json.loads((Path(__file__).parent / "asyncapi-3.0.0.json").read_text(encoding="utf-8"))
)
DOCUMENT: dict[str, Any] = json.loads(json.dumps(asyncapi()))


def references(value: Any) -> Iterator[str]:
    """Yields every $ref in it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolve(reference: str) -> Any:
    assert reference.startswith("#/")
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found["$ref"] if isinstance(found, dict) and set(found) == {"$ref"} else found


def test_it_is_valid_by_the_official_schema() -> None:
    assert [error.message for error in OFFICIAL.iter_errors(DOCUMENT)] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document["operations"]["send_pose"].update(action="publish"),
        lambda document: document["operations"]["send_pose"]["bindings"]["mqtt"].update(qos=3),
        lambda document: document["components"]["schemas"]["PoseMessage"].update(type="pose"),
        lambda document: document["servers"]["broker"].pop("host"),
    ],
    ids=["action", "binding", "schema", "server"],
)
def test_the_official_schema_bites(spoil: Callable[[dict[str, Any]], Any]) -> None:
    document = copy.deepcopy(DOCUMENT)
    spoil(document)
    assert not OFFICIAL.is_valid(document)


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 40
    for reference in found:
        assert resolve(reference)


def test_every_topic_is_a_channel_with_its_operation() -> None:
    addresses = {name: channel["address"] for name, channel in DOCUMENT["channels"].items()}
    assert addresses == {
        **{leaf: topic_name("{device}", leaf) for leaf in TOPICS},
        **{word: topic_name("{device}", f"{word}/{{name}}") for word in ("command", "reply")},
    }
    assert all(split_topic(address) == ("{device}", name) for name, address in addresses.items())
    actions = {name: operation["action"] for name, operation in DOCUMENT["operations"].items()}
    assert actions == {
        **{f"send_{leaf}": "send" for leaf in TOPICS},
        **{f"receive_{name}": "receive" for name in COMMANDS},
    }
    retained = {name for name, one in DOCUMENT["operations"].items() if one["bindings"]["mqtt"]["retain"]}
    assert retained == {f"send_{leaf}" for leaf, topic in TOPICS.items() if topic.retained}


def test_there_is_an_example_of_everything() -> None:
    assert set(examples.MESSAGES) == {*TOPICS, "reply"}
    assert set(examples.COMMANDS) == set(COMMANDS)
    assert all(
        resolve(message["payload"]["$ref"])["description"] for message in DOCUMENT["components"]["messages"].values()
    )


@pytest.mark.parametrize("name", DOCUMENT["components"]["messages"])
def test_examples_fit_their_own_schema(name: str) -> None:
    message = DOCUMENT["components"]["messages"][name]
    schema = {**message["payload"], "components": DOCUMENT["components"]}
    jsonschema.Draft7Validator(schema).validate(message["examples"][0]["payload"])


@pytest.mark.parametrize(
    ("name", "change"),
    [("pose", {"size_wh": [640]}), ("pose", {"size_wh": [640, 480, 1]}), ("health", {"stage_ms": {"infer": [1, 2]}})],
)
def test_both_kinds_of_schema_refuse_alike(name: str, change: dict[str, Any]) -> None:
    """The two drafts of JSON Schema write tuples in different ways."""
    example = DOCUMENT["components"]["messages"][name]["examples"][0]["payload"]
    for validator in VALIDATORS[name]:
        validator.validate(example)
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**example, **change})


def test_the_document_in_docs_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--asyncapi"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == DOCUMENT
    stored = (ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8")
    assert stored == printed, "write it anew: edgepose schema --asyncapi > docs/asyncapi.yaml"
