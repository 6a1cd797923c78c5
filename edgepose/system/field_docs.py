"""Reads the descriptions of a struct's fields from its docstring, so that the schemas that we ship can show them."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

_FIELD = re.compile(r"^ {4}(\w+): ", re.MULTILINE)


def summary(kind: type) -> str:
    """Returns the docstring of a class without its `Attributes:`, in one line."""
    return " ".join((inspect.getdoc(kind) or "").partition("\nAttributes:")[0].split())


def field_descriptions(kind: type) -> dict[str, str]:
    """Returns the text of each field, in one line, from the `Attributes:` of the class and of its bases."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        _, *parts = _FIELD.split(inspect.cleandoc(one.__doc__ or "").partition("\nAttributes:")[2])
        found |= {name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)}
    return found


def described_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns a JSON Schema of msgspec's with the description of each struct and of each of its fields."""
    kinds = {kind.__name__: kind for kind in _subclasses(msgspec.Struct)}
    definitions = {name: _described(part, kinds[name]) for name, part in schema.get("$defs", {}).items()}
    return {**schema, "$defs": definitions}


def _described(definition: dict[str, Any], kind: type) -> dict[str, Any]:
    texts = field_descriptions(kind)
    fields = {
        name: {**field, "description": texts[name]} if name in texts else field
        for name, field in definition.get("properties", {}).items()
    }
    return {**definition, "description": summary(kind), "properties": fields}


def _subclasses(kind: type) -> list[type]:
    direct: list[type] = kind.__subclasses__()
    return [one for sub in direct for one in (sub, *_subclasses(sub))]
