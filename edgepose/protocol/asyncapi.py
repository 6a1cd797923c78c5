"""Makes the AsyncAPI 3.0 document of the topics, which says who sends what where, from the structs and the topic table.

Schemas within AsyncAPI are JSON Schema draft 7, those of `schemas` are draft 2020-12.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edgepose.protocol import examples
from edgepose.protocol.commands import COMMANDS
from edgepose.protocol.schemas import payloads
from edgepose.protocol.topics import TOPICS, topic_name
from edgepose.system.field_docs import described_schema

_ABOUT = (
    "Keypoints of animals from cameras, each of which is one `device`. A device sends poses and reports about "
    "itself, and receives commands. Everything is QoS 1, so a message may come twice: `(device, boot, seq)` identifies "
    "a pose, `(device, boot, event)` an event."
)
_REPLIES = (
    "Goes to the command's MQTT 5 response topic, with its correlation data; "
    "to this topic where the command names none."
)
_MQTT = {"bindingVersion": "0.2.0"}
_PARAMETERS = {
    "device": {"description": "One camera: `device` in its config, by default the host name.", "examples": ["cage-07"]},
    "command": {"description": "Name of a command.", "enum": list(COMMANDS)},
}
_ASKED = {
    "responseTopic": {"type": "string", "description": "Where the reply goes; may be left out."},
    "correlationData": {"type": "string", "description": "Comes back with the reply, on a response topic."},
}


def asyncapi() -> dict[str, Any]:
    """Returns the document, as JSON or YAML would hold it. Its version is the payloads' `v`."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "edgepose",
            "version": str(examples.STATUS.v),
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": _schemas(), "parameters": _PARAMETERS},
    }


def _server() -> dict[str, Any]:
    will = {"topic": topic_name("{device}", "status"), "qos": 1, "retain": True}
    return {
        "host": "{host}:1883",
        "protocol": "mqtt",
        "protocolVersion": "5",
        "description": "The lab's broker. Also MQTT 3.1.1; mqtts on port 8883 where the broker has TLS.",
        "variables": {"host": {"default": "localhost", "description": "`mqtt.host` of the device's config."}},
        "bindings": {"mqtt": {"lastWill": {**will, "message": "state: offline"}, **_MQTT}},
    }


def _channels() -> dict[str, Any]:
    """Returns one channel for each topic; all commands share one, and so do all replies."""
    device = _ref("components", "parameters", "device")
    both = {"parameters": {"device": device, "name": _ref("components", "parameters", "command")}}
    channels = {
        leaf: {
            "address": topic_name("{device}", leaf),
            "description": _summary(topic.payload) + (" Retained." if topic.retained else ""),
            "messages": {leaf: _ref("components", "messages", leaf)},
            "parameters": {"device": device},
        }
        for leaf, topic in TOPICS.items()
    }
    channels["command"] = {
        "address": topic_name("{device}", "command/{name}"),
        "description": "What the device is asked to do; its config says which commands it carries out.",
        "messages": {name: _ref("components", "messages", _command(name)) for name in COMMANDS},
        **both,
    }
    channels["reply"] = {
        "address": topic_name("{device}", "reply/{name}"),
        "description": _REPLIES,
        "messages": {"reply": _ref("components", "messages", "reply")},
        **both,
    }
    return channels


def _operations() -> dict[str, Any]:
    sent = {
        f"send_{leaf}": {
            "action": "send",
            "channel": _ref("channels", leaf),
            "summary": _summary(topic.payload),
            "messages": [_ref("channels", leaf, "messages", leaf)],
            "bindings": {"mqtt": {"qos": 1, "retain": topic.retained, **_MQTT}},
        }
        for leaf, topic in TOPICS.items()
    }
    received = {
        f"receive_{name}": {
            "action": "receive",
            "channel": _ref("channels", "command"),
            "summary": _summary(command),
            "messages": [_ref("channels", "command", "messages", name)],
            "bindings": {"mqtt": {"qos": 1, "retain": False, **_MQTT}},
            "reply": {
                "channel": _ref("channels", "reply"),
                "messages": [_ref("channels", "reply", "messages", "reply")],
            },
        }
        for name, command in COMMANDS.items()
    }
    return {**sent, **received}


def _messages() -> dict[str, Any]:
    commands = {_command(name): (f"command/{name}", example) for name, example in examples.COMMANDS.items()}
    named = {name: (name, example) for name, example in examples.MESSAGES.items()} | commands
    kinds = payloads()
    return {
        name: {
            "name": name,
            "payload": _ref("components", "schemas", kinds[payload].__name__),
            "examples": [{"payload": msgspec.json.decode(msgspec.json.encode(example))}],
            "bindings": {"mqtt": {**(_ASKED if name in commands else {}), **_MQTT}},
        }
        for name, (payload, example) in named.items()
    }


def _schemas() -> dict[str, Any]:
    """Returns the schema of every struct, by the struct's name."""
    _, found = msgspec.json.schema_components(payloads().values(), ref_template="#/components/schemas/{name}")
    return {name: _draft_7(schema) for name, schema in described_schema({"$defs": found})["$defs"].items()}


def _draft_7(schema: Any) -> Any:
    """Converts a schema of draft 2020-12: in draft 7 the members of a tuple stand in `items`."""
    if isinstance(schema, list):
        return [_draft_7(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _draft_7(value) for key, value in schema.items() if key != "prefixItems"}
    return {**changed, "items": _draft_7(schema["prefixItems"])} if "prefixItems" in schema else changed


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "/".join(["#", *path])}


def _command(name: str) -> str:
    """Returns the name of a command's message: the command `health` and the topic /health need different ones."""
    return f"command_{name}"


def _summary(kind: type[msgspec.Struct]) -> str:
    """Returns the first sentence of a struct's docstring."""
    first = " ".join((kind.__doc__ or "").split()).split(". ")[0]
    return first if first.endswith((".", "?")) else f"{first}."
