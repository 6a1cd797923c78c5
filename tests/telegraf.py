"""A model of Telegraf: its mqtt_consumer and its json_v2 parser, as far as our configuration uses them.

It follows plugins/parsers/json_v2/parser.go and plugins/inputs/mqtt_consumer of influxdata/telegraf (1.34), including
its peculiarities: all members of an object write into one metric, of which copies are passed on; each element of an
array becomes its own metric; a nested object replaces what was passed on before, so that an empty one at the end leaves
nothing.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_MISSING = object()
_KINDS = {"int": int, "float": float, "string": str, "bool": bool}


@dataclass
class Metric:
    """A point for the database. `time_us` is in epoch microseconds; None stands for the time of arrival."""

    name: str
    time_us: int | None
    tags: dict[str, str] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)

    def merged(self, other: Metric) -> Metric:
        """Returns a copy with the tags and fields of the other one added."""
        both = copy.deepcopy(self)
        both.tags |= other.tags
        both.fields |= other.fields
        return both


@dataclass
class _Node:
    """A value on its way into `metric`.

    Attributes:
        name: its path, joined by underscores.
        shown: its name in the metric.
    """

    metric: Metric
    value: Any
    name: str = ""
    shown: str = ""
    tag: bool = False
    kind: str | None = None


def consume(plugin: dict[str, Any], topic: str, payload: bytes) -> list[Metric]:
    """Returns what one [[inputs.mqtt_consumer]] makes of a message on a topic that it subscribes to."""
    metrics = parse(plugin["json_v2"], payload)
    if topic_tag := plugin.get("topic_tag", "topic"):
        for metric in metrics:
            metric.tags[topic_tag] = topic
    levels = topic.split("/")
    for parsing in plugin.get("topic_parsing", []):
        wanted = parsing["topic"].split("/")
        if len(wanted) == len(levels) and all(one in {"+", level} for one, level in zip(wanted, levels, strict=True)):
            names = parsing["tags"].split("/")
            assert len(names) == len(levels), "Telegraf refuses to start"
            found = {name: level for name, level in zip(names, levels, strict=True) if name not in {"_", ""}}
            for metric in metrics:
                metric.tags |= found
    return metrics


def parse(configs: Sequence[dict[str, Any]], payload: bytes) -> list[Metric]:
    """Returns what the json_v2 tables make of a message.

    Raises:
        KeyError: a path is missing. Telegraf logs an error then and drops the message.
    """
    data, metrics = json.loads(payload), []
    for config in configs:
        time_us = _time_us(config, get(data, config["timestamp_path"])) if "timestamp_path" in config else None
        name = config.get("measurement_name", "mqtt_consumer")
        fields = _plain(data, config.get("field", []), name, time_us, tag=False)
        tags = _plain(data, config.get("tag", []), name, time_us, tag=True)
        objects = list(_objects(data, config.get("object", []), name, time_us))
        metrics += _product(tags, fields)
        metrics = _product(objects, metrics) if objects and metrics else metrics + objects
    return metrics


def get(data: Any, path: str) -> Any:
    """Follows a GJSON path, as far as it is used.

    It knows @this; keys and indices joined by dots; # for each element of an array; and {a,"b":path} for a new object,
    without the members that are missing.
    """
    if path == "@this":
        return data
    if path.startswith("{"):
        members = [member.split(":", 1) if ":" in member else [member] * 2 for member in path[1:-1].split(",")]
        found = {name.strip('"'): get(data, source) for name, source in members}
        return {name: value for name, value in found.items() if value is not _MISSING}
    step, _, rest = path.partition(".")
    if isinstance(data, dict):
        found = data.get(step, _MISSING)
    elif isinstance(data, list) and step == "#":
        return [value for one in data if (value := get(one, rest)) is not _MISSING]
    elif isinstance(data, list) and step.isdigit() and int(step) < len(data):
        found = data[int(step)]
    else:
        found = _MISSING
    return found if found is _MISSING or not rest else get(found, rest)


def _there(data: Any, table: dict[str, Any]) -> Any:
    found = get(data, table["path"])
    if found is _MISSING and not table.get("optional"):
        raise KeyError(table["path"])
    return found


def _time_us(table: dict[str, Any], value: Any) -> int:
    per_second = {"unix": 1, "unix_ms": 10**3, "unix_us": 10**6, "unix_ns": 10**9}[table["timestamp_format"]]
    return int(value) * 10**6 // per_second


def _plain(data: Any, tables: list[dict[str, Any]], name: str, time_us: int | None, *, tag: bool) -> list[Metric]:
    """Returns the values of [[field]] or [[tag]] tables; objects are ignored."""
    found: list[Metric] = []
    for table in tables:
        value = _there(data, table)
        if value is _MISSING or isinstance(value, dict):
            continue
        shown = table.get("rename") or table["path"].rsplit(".", 1)[-1]
        node = _Node(Metric(name, time_us), value, shown, shown, tag, table.get("type"))
        found = _product(found, _expand(node, {}, time_us))
    return found


def _objects(data: Any, tables: list[dict[str, Any]], name: str, time_us: int | None) -> Iterator[Metric]:
    for table in tables:
        value = _there(data, table)
        if value is not _MISSING:
            yield from _expand(_Node(Metric(name, time_us), value), table, time_us)


def _product(left: list[Metric], right: list[Metric]) -> list[Metric]:
    if not left or not right:
        return left or right
    return [one.merged(other) for one in left for other in right]


def _expand(node: _Node, table: dict[str, Any], time_us: int | None) -> list[Metric]:
    if isinstance(node.value, dict):
        return _combine(node, table, time_us)
    if isinstance(node.value, list):
        found = []
        for value in node.value:
            metric = Metric(node.metric.name, time_us).merged(node.metric)
            child = _Node(metric, value, node.name, node.shown, node.tag, node.kind)
            found += _expand(child, table, time_us)
        return found
    if table.get("timestamp_key") and node.name == table["timestamp_key"]:
        node.metric.time_us = _time_us(table, node.value)
    elif node.value is not None:
        _put(node)
    return [node.metric]


def _put(node: _Node) -> None:
    """Numbers are floats unless the configuration says otherwise."""
    value = float(node.value) if type(node.value) is int else node.value
    if node.tag:
        node.metric.tags[node.shown] = json.dumps(node.value) if not isinstance(node.value, str) else node.value
    else:
        node.metric.fields[node.shown] = _KINDS[node.kind](value) if node.kind else value


def _combine(node: _Node, table: dict[str, Any], time_us: int | None) -> list[Metric]:
    found: list[Metric] = []
    for key, value in node.value.items():
        plain = key.replace(" ", "_")
        name = f"{node.name}_{plain}" if node.name else plain
        if name in table.get("excluded_keys", []) or not _included(name, value, table):
            continue
        shown = plain if table.get("disable_prepend_keys") else name
        shown = table.get("renames", {}).get(name, shown)
        kind = table.get("fields", {}).get(name, node.kind)
        child = _Node(node.metric, value, name, shown, name in table.get("tags", []), kind)
        if isinstance(value, dict):
            found = _combine(child, table, time_us)
        else:
            found = _product(_expand(child, table, time_us), found)
    return found


def _included(name: str, value: Any, table: dict[str, Any]) -> bool:
    if not table.get("included_keys"):
        return True
    keys = [*table["included_keys"], *table.get("tags", [])]
    return any(key == name or (isinstance(value, dict | list) and key.startswith(name)) for key in keys)
