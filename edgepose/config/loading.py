"""Reads the daemon's YAML file strictly: an unknown key or a wrong type is an error that says what was meant."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

import msgspec

from edgepose.config.camera import ImageFolderConfig, RtspCameraConfig, VideoFileConfig
from edgepose.config.migrations import migrate
from edgepose.config.schema import Config
from edgepose.config.section import Section
from edgepose.errors import ConfigError
from edgepose.system.strict import convert, read_yaml

log = logging.getLogger(__name__)

S = TypeVar("S", bound=Section)


def parse_config(text: str, where: str) -> Config:
    """Raises ConfigError with one line that names the file, the key and the mistake."""
    data = read_yaml(text, where, ConfigError)
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: empty or not a mapping; `edgepose config init` prints a starter file")
    return convert(data, Config, where, ConfigError)


def read_config(path: Path) -> Config:
    """Paths in the file are relative to the file's own folder; `~` is the home folder."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(
            f"{path}: cannot read ({exc.strerror}); `edgepose config init` prints a starter file"
        ) from None
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8 text ({exc.reason} at byte {exc.start})") from None
    return config_at(text, str(path), path.resolve().parent)


def config_at(text: str, where: str, folder: Path) -> Config:
    """As if the file were in that folder. Keys of an earlier version are taken, and told."""
    text, notes = migrate(text)
    for note in notes:
        log.warning("%s: %s; `edgepose config migrate -c %s` rewrites the file", where, note, where)
    config = parse_config(text, where)
    try:
        return _absolute(config, folder)
    except RuntimeError:
        raise ConfigError(f"{where}: a path begins with the ~ of an unknown user; write the folder out") from None


def _absolute(config: Config, folder: Path) -> Config:
    """Raises RuntimeError for the home folder of a user that does not exist."""
    camera, mqtt = config.camera, config.mqtt
    if isinstance(camera, VideoFileConfig | ImageFolderConfig):
        camera = _resolved(camera, folder, "path")
    elif isinstance(camera, RtspCameraConfig):
        camera = _resolved(camera, folder, "password_file")
    geometry = config.geometry and _resolved(config.geometry, folder, "calibration")
    mqtt = _resolved(mqtt, folder, "password_file")
    processor = config.processor and _resolved(config.processor, folder, "folder")
    if mqtt.tls:
        mqtt = msgspec.structs.replace(mqtt, tls=_resolved(mqtt.tls, folder, "ca", "cert", "key"))
    spool = _resolved(config.spool, folder, "ram_folder")
    kept = {
        key: _resolved(section, folder, "folder")
        for key, section in (("spool", spool), ("record", config.record), ("hard_frames", config.hard_frames))
        if section is not None
    }
    model = _under(folder, config.model)
    return msgspec.structs.replace(
        config, model=model, camera=camera, geometry=geometry, mqtt=mqtt, processor=processor, **kept
    )


def _resolved(section: S, folder: Path, *keys: str) -> S:
    paths = {key: _under(folder, path) for key in keys if (path := getattr(section, key))}
    return msgspec.structs.replace(section, **paths)


def _under(folder: Path, path: str) -> str:
    return str(folder / Path(path).expanduser())
