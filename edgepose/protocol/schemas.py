"""JSON Schemas of everything on the topics, made from the structs that are read and written."""

from __future__ import annotations

from typing import Any

import msgspec

from edgepose.protocol.commands import COMMANDS, ReplyMessage
from edgepose.protocol.messages import TOPICS

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def payloads() -> dict[str, type[msgspec.Struct]]:
    """What is on each topic: by topic leaf, and `command/<name>` and `reply`."""
    kinds: dict[str, type[msgspec.Struct]] = {leaf: topic.payload for leaf, topic in TOPICS.items()}
    return kinds | {f"command/{name}": command for name, command in COMMANDS.items()} | {"reply": ReplyMessage}


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of each topic's payload, by the names of `payloads`."""
    return {name: {"$schema": _DRAFT, **tidy(msgspec.json.schema(kind))} for name, kind in payloads().items()}


def tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Docstrings without their indentation."""
    return {
        key: " ".join(value.split())
        if key == "description" and isinstance(value, str)
        else tidy(value)
        if isinstance(value, dict)
        else value
        for key, value in schema.items()
    }
