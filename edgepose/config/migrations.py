"""Configs of earlier versions: which keys were renamed or removed. Comments and layout stay as they are."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import NamedTuple

import yaml

from edgepose import __version__
from edgepose.errors import EdgeposeError
from edgepose.system.atomic_files import write_durably

RENAMED: dict[tuple[str, ...], str] = {("camera", "type"): "source", ("uncertain",): "hard_frames"}
"""From the path of a key to its new name."""


def migrate(text: str) -> tuple[str, list[str]]:
    """Brings the text of a config to this version.

    Returns:
        The text with today's keys, and a line for each change. Text that is not YAML is returned as it is; whoever
        reads the config reports that.
    """
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return text, []
    edits: list[tuple[int, int, str]] = []
    notes = []
    for key in _keys(root, ()):
        path, new = ".".join(key.path), RENAMED.get(key.path)
        if new and new not in key.siblings:
            edits.append((key.node.start_mark.index, key.node.end_mark.index, new))
            notes.append(f"{path} is called {'.'.join((*key.path[:-1], new))} now")
        elif path == "record.codec" and isinstance(key.value, yaml.ScalarNode) and len(key.siblings) > 1:
            edits.append((*_extent(text, key), ""))
            instead = " instead of Motion JPEG" if key.value.value == "mjpeg" else ""
            notes.append(f"{path} is no longer a setting: H.264 is written{instead}")
        elif path == "mqtt.format" and isinstance(key.value, yaml.ScalarNode):
            alone = len(key.siblings) == 1 and not key.in_braces  # a section without any key would be null
            whole = (key.node.start_mark.index, key.value.end_mark.index)
            edits.append((*whole, "{}") if alone else (*_extent(text, key), ""))
            notes.append(f"{path} is no longer a setting: messages are JSON")
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text, notes


def migrate_file(path: Path, *, dry: bool) -> str:
    """Rewrites a configuration file with today's keys and keeps the old one beside it.

    Args:
        path: the file, which must be a valid configuration already.
        dry: True to change nothing.

    Returns:
        A report for the terminal: the changes as a diff, and where the old file is.

    Raises:
        EdgeposeError: the file cannot be written.
    """
    old = path.read_text(encoding="utf-8")
    new, notes = migrate(old)
    if not notes:
        return f"{path}: is of this version already\n"
    names = str(path), f"{path} for edgepose {__version__}"
    report = "".join(difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), *names))
    if dry:
        return report
    backup = path.with_name(f"{path.name}.before-{__version__}")
    try:
        for file, content in ((backup, old), (path, new)):
            write_durably(file, content.encode(), path.stat().st_mode & 0o777)
    except OSError as exc:
        raise EdgeposeError(f"{path}: cannot write ({exc.strerror}); use sudo") from None
    return f"{report}the old file: {backup}\n"


class _Key(NamedTuple):
    """A key of the file or of a section. siblings: all names in its mapping. in_braces: as in `{folder: r}`."""

    path: tuple[str, ...]
    siblings: set[str]
    node: yaml.ScalarNode
    value: yaml.Node
    in_braces: bool


def _keys(mapping: yaml.Node | None, path: tuple[str, ...]) -> list[_Key]:
    if not isinstance(mapping, yaml.MappingNode) or len(path) > 1:
        return []
    pairs = [(key, value) for key, value in mapping.value if isinstance(key, yaml.ScalarNode)]
    names = {key.value for key, _ in pairs}
    here = [_Key((*path, key.value), names, key, value, bool(mapping.flow_style)) for key, value in pairs]
    return here + [found for key in here for found in _keys(key.value, key.path)]


def _extent(text: str, key: _Key) -> tuple[int, int]:
    """Returns where a key and its value stand in the text: its whole line, or in braces with one comma."""
    start, end = key.node.start_mark.index, key.value.end_mark.index
    if not key.in_braces:
        return text.rfind("\n", 0, start) + 1, len(text) if (after := text.find("\n", end)) < 0 else after + 1
    if comma := re.match(r"\s*,\s*", text[end:]):
        return start, end + comma.end()
    return len(text[:start].rstrip().removesuffix(",")), end
