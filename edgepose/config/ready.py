"""Finds the ready configurations of `firmware_configs`, and makes copies of them that work in any folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from edgepose.errors import UsageError
from edgepose.system.shipped_files import shipped
from edgepose.system.wording import did_you_mean


def ready_configs() -> dict[str, Path]:
    """Returns the file of each ready configuration by its name, such as `home-cage` or `pi-4`."""
    folder = shipped("firmware_configs")
    files = [path for pattern in ("*.yaml", "boards/*.yaml", "uses/*.yaml") for path in sorted(folder.glob(pattern))]
    return {path.stem: path for path in files}


def boards() -> dict[str, Path]:
    """Returns the ready configurations that are for one kind of board each."""
    return {name: path for name, path in ready_configs().items() if path.parent.name == "boards"}


def find_ready(name: str, among: Mapping[str, Path], option: str) -> Path:
    """Returns the file of that name. Raises UsageError with a suggestion where there is none."""
    if name not in among:
        raise UsageError(f"{option} {name}: there is none of this name{did_you_mean(name, among)}")
    return among[name]


def purpose(path: Path) -> str:
    """Returns the first sentence of the file, which says what it is for."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").partition(". ")[0].rstrip(".:")


def companions(text: str) -> list[Path]:
    """Returns the other shipped files that a ready configuration mentions, such as `boot/home-cage.txt`."""
    folder = shipped("firmware_configs")
    return [folder / name for name in dict.fromkeys(re.findall(r"\b(?:boot|broker)/[\w-]+\.\w+", text))]


def with_settings(text: str, settings: Mapping[str, Any]) -> str:
    """Returns the text of a configuration with other top-level settings; its comments stay.

    Args:
        text: the YAML text.
        settings: `device`, `model` and `mqtt`, where they are to be changed. Of `mqtt`, what names the broker is
            replaced, and what is said about the messages stays.
    """
    for key in ("model", "device"):
        if key in settings:
            text = re.sub(rf"(?m)^{key}:[^#\n]*?( *(?:#.*)?)$\n", "", text)
            text = re.sub(r"(?m)^(?=[a-z])", _line(key, settings[key]), text, count=1)
    if "mqtt" in settings:
        head, _, rest = text.partition("\nmqtt:\n")
        end = re.search(r"(?m)^(?=[a-z])", rest)
        block, others = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
        block = re.sub(r"(?m)^  (host|port|username|password_file|tls):.*\n", "", block)
        lines = "".join(f"  {_line(key, value)}" for key, value in settings["mqtt"].items())
        text = f"{head.rstrip()}\nmqtt:\n{lines}{block}{others}"
    return text


def _line(key: str, value: Any) -> str:
    return yaml.safe_dump({key: value}, default_flow_style=False)
