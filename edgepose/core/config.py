"""The daemon's YAML file, strictly read: an unknown key or a wrong type is an error that teaches."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgepose.core.errors import ConfigError
from edgepose.core.strict import convert, read_yaml

DeviceName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+$", description="one MQTT topic level, such as cage-07")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class VideoCamera(_Section, frozen=True, kw_only=True, tag_field="source", tag="video"):
    """A video file. realtime: at the file's own rate, skipping what comes late.
    Not realtime: every frame, as fast as possible."""

    path: str
    realtime: bool = True
    loop: bool = False


class SyntheticCamera(_Section, frozen=True, kw_only=True, tag_field="source", tag="synthetic"):
    """A rendered mouse whose keypoints are known, for demos and tests."""

    size_wh: tuple[Annotated[int, Meta(ge=64, le=4096)], Annotated[int, Meta(ge=64, le=4096)]] = (640, 480)
    rate_hz: Annotated[float, Meta(ge=0.01, le=1000)] = 30.0
    seed: int = 0


Camera = VideoCamera | SyntheticCamera


class Inference(_Section, frozen=True, kw_only=True):
    """threads: of the interpreter; 0 measures at start and takes what is fastest."""

    threads: Annotated[int, Meta(ge=0, le=16)] = 0


class Mqtt(_Section, frozen=True, kw_only=True):
    """password_file: a file whose first line is the password; it never stands in the config itself."""

    host: str = "localhost"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password_file: str | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30


class Config(_Section, frozen=True, kw_only=True):
    """device: name in the topics, default the host name. model: path of a .tflite with its card beside it."""

    device: DeviceName | None = None
    model: str
    camera: Camera
    inference: Inference = Inference()
    mqtt: Mqtt = Mqtt()

    def device_name(self) -> str:
        return self.device or socket.gethostname()


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
    config = parse_config(text, str(path))
    try:
        return _absolute(config, path.resolve().parent)
    except RuntimeError:
        raise ConfigError(f"{path}: a path begins with the ~ of an unknown user; write the folder out") from None


def _absolute(config: Config, folder: Path) -> Config:
    """Raises RuntimeError for the home folder of a user that does not exist."""
    camera, mqtt = config.camera, config.mqtt
    if isinstance(camera, VideoCamera):
        camera = msgspec.structs.replace(camera, path=_under(folder, camera.path))
    if mqtt.password_file:
        mqtt = msgspec.structs.replace(mqtt, password_file=_under(folder, mqtt.password_file))
    return msgspec.structs.replace(config, model=_under(folder, config.model), camera=camera, mqtt=mqtt)


def _under(folder: Path, path: str) -> str:
    return str(folder / Path(path).expanduser())


def config_schema() -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Config)}
