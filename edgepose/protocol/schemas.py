"""Makes the JSON Schemas of everything on the topics from the structs that are read and written."""

from __future__ import annotations

from typing import Any

import msgspec

from edgepose.protocol.commands import COMMANDS, ReplyMessage
from edgepose.protocol.topics import TOPICS
from edgepose.system.field_docs import described_schema

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def payloads() -> dict[str, type[msgspec.Struct]]:
    """Returns the struct of each topic, by the topic's leaf, `command/<name>` and `reply`."""
    kinds: dict[str, type[msgspec.Struct]] = {leaf: topic.payload for leaf, topic in TOPICS.items()}
    return kinds | {f"command/{name}": command for name, command in COMMANDS.items()} | {"reply": ReplyMessage}


def schemas() -> dict[str, dict[str, Any]]:
    """Returns the JSON Schema of each topic's payload, by the names of `payloads`."""
    return {
        name: {"$schema": _DRAFT, **described_schema(msgspec.json.schema(kind))} for name, kind in payloads().items()
    }
