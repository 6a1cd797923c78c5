"""JSON Schemas of everything on the topics, made from the structs that are read and written."""

from __future__ import annotations

from typing import Any

import msgspec

from edgepose.core.commands import COMMANDS, ReplyMessage
from edgepose.core.messages import TOPICS

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of each topic's payload: by topic leaf, and `command/<name>` and `reply`."""
    kinds: dict[str, type[msgspec.Struct]] = {leaf: topic.payload for leaf, topic in TOPICS.items()}
    kinds |= {f"command/{name}": command for name, command in COMMANDS.items()}
    kinds["reply"] = ReplyMessage
    return {name: {"$schema": _DRAFT, **msgspec.json.schema(kind)} for name, kind in kinds.items()}
