"""Reads text files strictly: unknown keys are errors, and every error says what is wrong, where, and what was meant."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import msgspec.inspect as kinds
import yaml

from edgepose.system.wording import did_you_mean

T = TypeVar("T")

_MOST_NODES = 100_000  # values of a YAML file, with every alias written out
_AT = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")  # one step of a path such as mqtt.host, size_wh[0] or scores[...]
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")
_TYPES: dict[str, tuple[type[Any], str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "str": (str, "text"),
    "bool": (bool, "true or false"),
    "array": (list, "a list"),
    "object": (dict, "settings of its own"),
    "null": (type(None), "nothing"),
}
"""By the names that msgspec gives them: the types that YAML makes, and what people call them."""
_TYPE = "|".join(_TYPES)
_EXPECTED = re.compile(rf"`((?:{_TYPE})(?: \| (?:{_TYPE}))*)`")
_EXPECTED_AND_GOT = re.compile(rf"^Expected {_EXPECTED.pattern}, got `(?P<got>{_TYPE})`$")
_YAML_PROBLEMS = {
    "found character '\\t' that cannot start any token": "there is a tab; indent with spaces",
    "mapping values are not allowed here": "a colon stands where none may be; check the indentation, or quote the text",
}
_NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"),
    "tag:yaml.org,2002:float": re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
}
_CHOICE = re.compile(r"Invalid (?:enum )?value '?(?P<name>[^']*)'?$")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of every section of a file. It refuses unknown keys, so that a misspelt one is reported."""


class Loader(yaml.SafeLoader):
    """Reads YAML in which each key may occur once.

    What YAML 1.1 takes for another value than people mean stays text: dates, numbers of base 60 such as 20:00, and
    octal numbers such as 01773.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML's own class attribute
        first: [(tag, _NUMBERS.get(tag, pattern)) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    _composed = 0  # nodes of this document so far

    def compose_document(self) -> yaml.Node | None:
        """Refuses a document whose aliases repeat so much that a few lines stand for gigabytes."""
        node: yaml.Node | None = super().compose_document()
        if node is not None:
            self._check_size(node, _expanded_size(node, {}))
        return node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        node: yaml.Node | None = super().compose_node(parent, index)
        self._composed += 1
        if node is not None:
            self._check_size(node, self._composed)
        return node

    def _check_size(self, node: yaml.Node, size: float) -> None:
        if size > _MOST_NODES:
            problem = f"it has more than {_MOST_NODES} values, with every alias (*name) written out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"the key {key.value!r} occurs twice"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _expanded_size(node: yaml.Node, sizes: dict[int, float]) -> float:
    """Returns how many values a node stands for when every alias is written out. `sizes` has those that are known."""
    if id(node) not in sizes:
        sizes[id(node)] = math.inf  # until it is known: a node inside itself has no end
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        is_scalar = isinstance(node, yaml.ScalarNode)
        sizes[id(node)] = 1 if is_scalar else 1 + sum(_expanded_size(part, sizes) for part in parts)
    return sizes[id(node)]


def read_text(path: Path, error: type[Exception], advice: str) -> str:
    """Reads a UTF-8 file. Raises `error`, whose one line ends with the advice."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = f"not UTF-8 text at byte {exc.start}" if isinstance(exc, UnicodeDecodeError) else exc.strerror
        raise error(f"{path}: cannot read ({why}); {advice}") from None


def read_yaml(text: str, where: str, error: type[Exception], loader: type[Loader] = Loader) -> Any:
    """Reads YAML; `where` is the file's name, for messages. Raises `error`, whose one line names line and mistake."""
    try:
        return yaml.load(text, loader)  # noqa: S506  every Loader is a SafeLoader
    # Not only YAMLError: deep nesting raises RecursionError, and a value that does not suit its !!tag raises anything.
    except Exception as exc:
        mark = getattr(exc, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(exc, "problem", None) or exc).split())
        raise error(f"{where}{line}: cannot read as YAML ({_YAML_PROBLEMS.get(problem, problem)})") from None


def convert(data: Any, kind: type[T], where: str, error: type[Exception]) -> T:
    """Converts the content of a YAML or JSON file to `kind`.

    Raises `error` with one line such as `edgepose.yaml: mqtt.hots: unknown key; did you mean 'host'?`.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as exc:
        raise error(f"{where}: {_explain(str(exc), kind, data)}") from None


def _explain(message: str, kind: type[Any], data: Any) -> str:
    match = _AT.match(message)
    assert match is not None
    what, path = match["what"], (match["path"] or "").lstrip(".")
    prefix = f"{path}." if path else ""
    if unknown := _UNKNOWN.search(what):
        return f"{prefix}{unknown['name']}: unknown key{did_you_mean(unknown['name'], _keys(kind, data, path))}"
    if missing := _MISSING.search(what):
        return f"{prefix}{missing['name']}: missing; add it"
    if choice := _CHOICE.search(what):
        return f"{path}: {choice['name']!r} is not known{did_you_mean(choice['name'], _choices(kind, data, path))}"
    if kinds_found := _EXPECTED_AND_GOT.match(what):
        path = _with_names(path, data, _TYPES[kinds_found["got"]][0], keys=bool(match["key"]))
        what += _remedy(kinds_found[1].split(" | "), kinds_found["got"])
    what = _EXPECTED.sub(lambda found: " or ".join(_TYPES[name][1] for name in found[1].split(" | ")), what)
    what = what.replace("matching regex", "that fits the pattern")
    place = f"{path} (a key): ".lstrip() if match["key"] else f"{path}: " if path else ""
    return f"{place}{what[:1].lower()}{what[1:]}"


def _with_names(path: str, data: Any, got: type[Any], *, keys: bool) -> str:
    """Returns the path with the name of a key in place of `[...]`: the first that has a value of that type. With `keys`
    it ends with the first key that is itself of that type."""
    steps = []
    for step in _STEP.findall(path):
        if step == "[...]" and isinstance(data, dict):
            step = next((str(key) for key, value in data.items() if type(value) is got), step)  # noqa: PLW2901
        steps.append(step)
        data = data.get(step) if isinstance(data, dict) else None
    if keys and isinstance(data, dict):
        steps += [str(key).lower() for key in data if type(key) is got][:1]
    return ".".join(steps).replace(".[", "[")


def _remedy(wanted: Sequence[str], got: str) -> str:
    """Returns what to do about a value that YAML takes for another one than was meant."""
    if got == "null":
        return "; give a value, or remove it"
    if "str" in wanted and got in {"int", "float", "bool"}:
        return "; write it in quotes"
    if got == "str" and {"int", "float"} & {*wanted}:
        return "; write it without quotes and zeros in front"
    return ""


def _keys(kind: type[Any], data: Any, path: str) -> set[str]:
    """Returns the keys that the struct at `path` may have."""
    structs = [found for found in _kinds_at(kind, data, path) if isinstance(found, kinds.StructType)]
    tags = {struct.tag_field for struct in structs if struct.tag_field}
    return {field.encode_name for struct in structs for field in struct.fields} | tags


def _choices(kind: type[Any], data: Any, path: str) -> set[str]:
    """Returns the words that are allowed at `path`."""
    found = (literal for literal in _kinds_at(kind, data, path) if isinstance(literal, kinds.LiteralType))
    return {str(value) for literal in found for value in literal.values}


def _kinds_at(kind: type[Any], data: Any, path: str) -> list[kinds.Type]:
    """Returns the types that are allowed at `path` of `data`; several for a union."""
    found = _alternatives(kinds.type_info(kind), data)
    for step in _STEP.findall(path):
        data = data.get(step) if isinstance(data, dict) else None
        found = [one for outer in found for inner in _inner(outer, step) for one in _alternatives(inner, data)]
    return found


def _inner(outer: kinds.Type, step: str) -> list[kinds.Type]:
    match outer:
        case kinds.StructType() if step == outer.tag_field:
            return [kinds.LiteralType((str(outer.tag),))]
        case kinds.StructType():
            return [field.type for field in outer.fields if field.encode_name == step]
        case kinds.TupleType():
            return list(outer.item_types)
        case kinds.DictType():
            return [outer.value_type]
        case kinds.VarTupleType() | kinds.ListType():
            return [outer.item_type]
    return []


def _alternatives(kind: kinds.Type, data: Any) -> list[kinds.Type]:
    """Returns the members of a union; of tagged structs only the one whose tag `data` has."""
    if isinstance(kind, kinds.Metadata):
        return _alternatives(kind.type, data)
    if not isinstance(kind, kinds.UnionType):
        return [kind]
    found = [one for member in kind.types for one in _alternatives(member, data)]
    if isinstance(data, dict):
        said: list[kinds.Type] = [
            one for one in found if isinstance(one, kinds.StructType) and data.get(one.tag_field) == one.tag
        ]
        return said or found
    return found
