"""Configs of earlier versions: which keys have other names now. Comments and layout stay as they are."""

from __future__ import annotations

import yaml

RENAMED = {("camera", "type"): "source"}
"""(section, key) and what the key is called now."""


def migrate(text: str) -> tuple[str, list[str]]:
    """The text with today's keys, and a line for each change; as it was where it is no YAML, which others tell."""
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return text, []
    edits: list[tuple[int, int, str]] = []
    notes = []
    for section, node in _pairs(root):
        keys = {key.value for key, _ in _pairs(node)}
        for key, _ in _pairs(node):
            new = RENAMED.get((section.value, key.value))
            if new and new not in keys:
                edits.append((key.start_mark.index, key.end_mark.index, new))
                notes.append(f"{section.value}.{key.value} is called {section.value}.{new} now")
    for start, end, new in reversed(edits):
        text = text[:start] + new + text[end:]
    return text, notes


def _pairs(node: yaml.Node | None) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
