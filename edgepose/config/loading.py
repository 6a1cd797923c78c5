"""Reads the daemon's YAML file strictly: an unknown key or a wrong type is an error that says what was meant."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from edgepose.config.migrations import migrate
from edgepose.config.schema import Config
from edgepose.errors import ConfigError
from edgepose.system.shipped_files import DEMO_MODEL
from edgepose.system.strict import Section, convert, read_text, read_yaml

log = logging.getLogger(__name__)

_PATHS = {
    "camera": ("path", "password_file"),  # a kind of camera has one of them, or none
    "geometry": ("calibration",),
    "mqtt": ("password_file",),
    "processor": ("folder",),
    "spool": ("folder", "ram_folder"),
    "record": ("folder",),
    "hard_frames": ("folder",),
}
"""The settings of each section that are paths."""
_TLS_PATHS = ("ca", "cert", "key")


def read_config(path: Path) -> Config:
    """Reads a configuration file.

    Returns:
        The configuration with absolute paths: those in the file are relative to its folder, `~` is the home folder, and
        the model `demo` is the one that comes with edgepose.

    Raises:
        ConfigError: the file cannot be read, or holds a mistake; one line names file, key and mistake.
    """
    text = read_text(path, ConfigError, "`edgepose init` writes a configuration")
    return config_at(text, str(path), path.resolve().parent)


def config_at(text: str, where: str, folder: Path) -> Config:
    """Reads a configuration as if its file were in `folder`. Keys of earlier versions are accepted with a warning.

    Args:
        text: the YAML text.
        where: the name of the file, for messages.
        folder: the folder that relative paths start from.

    Raises:
        ConfigError: as `read_config`.
    """
    text, notes = migrate(text)
    for note in notes:
        log.warning("%s: %s; `edgepose config migrate -c %s` rewrites the file", where, note, where)
    config = parse_config(text, where)
    try:
        return _with_absolute_paths(config, folder)
    except RuntimeError:
        raise ConfigError(f"{where}: a path begins with the ~ of an unknown user; write the folder out") from None


def parse_config(text: str, where: str) -> Config:
    """Returns the configuration with its paths as they are written. Raises ConfigError as `read_config`."""
    data = read_yaml(text, where, ConfigError)
    if not isinstance(data, dict):
        raise ConfigError(
            f"{where}: not a list of settings such as `model: demo`; `edgepose init` writes a configuration"
        )
    if path := _not_finite(data):
        raise ConfigError(f"{where}: {path[1:]}: neither .nan nor .inf is a setting; give a number")
    return convert(data, Config, where, ConfigError)


def _not_finite(data: Any, path: str = "") -> str | None:
    """Returns where a number is not finite; None where all are."""
    if isinstance(data, float):
        return None if math.isfinite(data) else path
    inner = [(f".{key}", value) for key, value in data.items()] if isinstance(data, dict) else []
    inner += [(f"[{i}]", value) for i, value in enumerate(data)] if isinstance(data, list) else []
    return next((found for step, value in inner if (found := _not_finite(value, path + step))), None)


def effective_yaml(config: Config) -> str:
    """Returns the YAML of everything in effect, with the default device name. It holds no passwords: only the names of
    their files are part of a configuration."""
    named = msgspec.structs.replace(config, device=config.device_name())
    return yaml.safe_dump(msgspec.to_builtins(named), sort_keys=False)


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    """Raises RuntimeError for the home folder of a user that does not exist."""
    sections: dict[str, Any] = {
        name: _resolved(section, folder, keys)
        for name, keys in _PATHS.items()
        if (section := getattr(config, name)) is not None
    }
    if tls := config.mqtt.tls:
        sections["mqtt"] = msgspec.structs.replace(sections["mqtt"], tls=_resolved(tls, folder, _TLS_PATHS))
    return msgspec.structs.replace(config, model=_model(folder, config.model), **sections)


def _model(folder: Path, model: str) -> str:
    """Returns the model's file. The folder of a fit names the model in it."""
    if model == "demo":
        return str(DEMO_MODEL)
    path = Path(_under(folder, model))
    return str(path / "model.tflite" if path.is_dir() else path)


def _resolved(section: Section, folder: Path, keys: Sequence[str]) -> Section:
    paths = {key: _under(folder, path) for key in keys if (path := getattr(section, key, None))}
    return msgspec.structs.replace(section, **paths)


def _under(folder: Path, path: str) -> str:
    return str(folder / Path(path).expanduser())
