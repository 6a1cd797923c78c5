"""Strict decoding: unknown keys are errors; every error names the key, its place and what was meant."""

from __future__ import annotations

import difflib
import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<key>key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")
_TAG = re.compile(r"Invalid value '(?P<name>[^']*)'$")


def convert(data: Any, kind: type[T], where: str, error: type[Exception]) -> T:
    """`data` (of a YAML or JSON file) as `kind`; raises `error` with one line such as
    `edgepose.yaml: camera.sourse: unknown key; did you mean 'source'?`"""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as exc:
        raise error(f"{where}: {_explain(str(exc), kind)}") from None


def _explain(message: str, kind: type[Any]) -> str:
    match = _AT.match(message)
    assert match is not None
    what, path = match["what"], (match["path"] or "").lstrip(".")
    prefix = f"{path}." if path else ""
    if unknown := _UNKNOWN.search(what):
        return f"{prefix}{unknown['name']}: unknown key{_did_you_mean(unknown['name'], _keys(kind))}"
    if missing := _MISSING.search(what):
        return f"{prefix}{missing['name']}: missing"
    if (tag := _TAG.search(what)) is not None:
        return f"{path}: {tag['name']!r} is not known{_did_you_mean(tag['name'], _choices(kind))}"
    return f"{path}: {what[:1].lower()}{what[1:]}" if path else what[:1].lower() + what[1:]


def _did_you_mean(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def _schema_parts(kind: type[Any]) -> list[dict[str, Any]]:
    (root,), parts = msgspec.json.schema_components([kind])
    return [root, *parts.values()]


def _keys(kind: type[Any]) -> set[str]:
    """Every key that may stand anywhere in `kind`."""
    return {key for part in _schema_parts(kind) for key in part.get("properties", {})}


def _choices(kind: type[Any]) -> set[str]:
    """Every word that an enumerated key of `kind` accepts."""
    found: set[str] = set()
    for part in _schema_parts(kind):
        for schema in part.get("properties", {}).values():
            found.update(str(choice) for choice in schema.get("enum", ()))
    return found
