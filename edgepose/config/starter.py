"""Makes the configuration file that `edgepose init` writes, from the schema: what was chosen first, the rest explained.

What was chosen is active. All other settings follow behind a `#` with their default, or with an example where leaving
them out is the default.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import msgspec.inspect as kinds
import yaml

from edgepose.config.schema import Config
from edgepose.system.field_docs import field_descriptions, summary

_WIDTH = 116  # columns of the file
_WIDEST_VALUE = 48  # columns; a wider value is written over several lines
_WIDEST_CODE = 34  # columns; longer settings do not move the column of descriptions
_FIRST = ("device", "model", "camera", "mqtt")
_HEADER = """\
# The configuration of edgepose. Paths are relative to the folder of this file.
#
#   edgepose check      Is everything ready?
#   edgepose run        Start.
#
# Settings behind a # show their default, or an example where the default is to leave them out.
"""
_OPTIONAL = """
# -------- Everything below is optional. To change a setting, remove the # in front of it and of its section. --------
"""

Setting = tuple[str, str]
"""A line of YAML and the description that stands on its right."""


def starter_file(chosen: Mapping[str, Any]) -> str:
    """Returns the text of a configuration file.

    Args:
        chosen: the settings to write, as YAML has them; at least `model` and `camera`.
    """
    config = kinds.type_info(Config)
    assert isinstance(config, kinds.StructType)
    fields = {field.name: field for field in config.fields}
    first = [fields.pop(name) for name in _FIRST]
    return _HEADER + _blocks(first, chosen) + _OPTIONAL + _blocks(list(fields.values()), chosen)


def _blocks(fields: Sequence[kinds.Field], chosen: Mapping[str, Any]) -> str:
    """Each section is a block; single settings that follow each other share one."""
    blocks: list[list[Setting]] = []
    was_single = False
    for field in fields:
        settings = list(_settings(field, chosen.get(field.name), commented=field.name not in chosen))
        if was_single and len(settings) == 1:
            blocks[-1] += settings
        else:
            blocks.append(settings)
        was_single = len(settings) == 1
    return "".join(f"\n{_aligned(block)}" for block in blocks)


def _aligned(block: list[Setting]) -> str:
    narrow = [len(code) for code, text in block if text and len(code) <= _WIDEST_CODE]
    column = max(narrow, default=_WIDEST_CODE) + 2
    return "".join(f"{line}\n" for code, text in block for line in _lines(code, text, column))


def _lines(code: str, text: str, column: int) -> Iterator[str]:
    """Yields the setting with its description in a column on the right, further right where the setting is too long."""
    if not text:
        yield code
        return
    extra = max(len(code) + 2 - column, 0)
    first, *more = textwrap.wrap(text, _WIDTH - column, initial_indent=" " * extra, break_on_hyphens=False)
    yield f"{code:<{column + extra}}# {first[extra:]}"
    margin = code[: code.find("#") + 1]
    yield from (f"{margin:<{column}}# {part}" for part in more)


def _settings(field: kinds.Field, value: Any, *, commented: bool) -> Iterator[Setting]:
    """Yields a setting, or a section with its settings, at the top level of the file."""
    margin = "# " if commented else ""
    kind, about = _plain(field.type)
    struct = _struct(kind, value)
    if struct is None:
        yield from _value(field, field_descriptions(Config).get(field.name, ""), value, margin)
        return
    inner = next(iter(about.get("examples", ())), {}) if value is None else value
    yield f"{margin}{field.name}:", summary(struct.cls)
    if struct.tag_field:
        yield f"{margin}  {struct.tag_field}: {struct.tag}", _tags(kind)
    texts = field_descriptions(struct.cls)
    for child in struct.fields:
        rare = not commented and child.name not in inner
        yield from _value(
            child,
            texts.get(child.name, ""),
            inner.get(child.name),
            f"{margin}  # " if rare else f"{margin}  ",
            plain=value is None and bool(inner),
        )


def _value(field: kinds.Field, description: str, value: Any, margin: str, *, plain: bool = False) -> Iterator[Setting]:
    """Yields a setting with its value, or else with its default or example."""
    value = msgspec.to_builtins(_default_or_example(field, plain=plain) if value is None else value)
    text = _yaml(value, flow=True)
    if len(text) <= _WIDEST_VALUE:
        yield f"{margin}{field.name}: {text}", description
        return
    yield f"{margin}{field.name}:", description
    yield from ((f"{margin}  {line}", "") for line in _yaml(value, flow=None).splitlines())


def _default_or_example(field: kinds.Field, *, plain: bool) -> Any:
    """Returns the default; the example where there is none. plain: True in a section that is an example already."""
    kind, about = _plain(field.type)
    example = next(iter(about.get("examples", ())), None)
    if field.required:
        return example
    default = {} if field.default is msgspec.NODEFAULT else field.default
    is_empty = default == {} or (default is None and _struct(kind, None) is not None)
    return example if is_empty and example is not None and not plain else default


def _yaml(value: Any, *, flow: bool | None) -> str:
    text = yaml.safe_dump(value, default_flow_style=flow, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").rstrip()


def _tags(kind: kinds.Type) -> str:
    names = [str(one.tag) for one in getattr(kind, "types", ()) if isinstance(one, kinds.StructType)]
    return f"The kind of camera: {', '.join(names)}."


def _plain(kind: kinds.Type) -> tuple[kinds.Type, dict[str, Any]]:
    """Returns the type without its examples, and the examples."""
    about: dict[str, Any] = {}
    while isinstance(kind, kinds.Metadata):
        about = (kind.extra_json_schema or {}) | about
        kind = kind.type
    return kind, about


def _struct(kind: kinds.Type, value: Any) -> kinds.StructType | None:
    """Returns the struct that a section is: the one that is not null, or whose tag the value has."""
    members = kind.types if isinstance(kind, kinds.UnionType) else (kind,)
    structs = [one for one in members if isinstance(one, kinds.StructType)]
    if structs and structs[0].tag_field:
        return next(one for one in structs if one.tag == value[one.tag_field])
    others = [one for one in members if not isinstance(one, kinds.StructType | kinds.NoneType)]
    return structs[0] if structs and not others else None
