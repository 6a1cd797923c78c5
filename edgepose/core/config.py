"""The daemon's YAML file, strictly read: an unknown key or a wrong type is an error that teaches."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from edgepose.core.commands import CommandName
from edgepose.core.errors import ConfigError
from edgepose.core.messages import Region
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


class View(_Section, frozen=True, kw_only=True):
    """region: (x, y, w, h) of the frame to look at; None: all of it. follow: look through a window that follows the
    animal, so that the model sees it larger. zoom: how much larger; None: as the model was trained for."""

    region: Region | None = None
    follow: bool = False
    zoom: Annotated[float, Meta(gt=1, le=10)] | None = None


Point = tuple[float, float]


class Length(_Section, frozen=True, kw_only=True):
    """between: two points, pixels of the frame. mm: how far they are apart on the ground, seen from straight above."""

    between: tuple[Point, Point]
    mm: Annotated[float, Meta(gt=0, le=1e9)]


class Place(_Section, frozen=True, kw_only=True):
    """px: a point of the frame. mm: where it is on the ground."""

    px: Point
    mm: Point


class Geometry(_Section, frozen=True, kw_only=True):
    """Keypoints in millimetres, published beside their pixels. calibration: file of the lens, from `edgepose calibrate`
    or OpenCV; None: the lens does not distort. Then either a length, where the camera looks straight down; mm count
    from the top-left pixel. Or four or more points of the ground, from wherever the camera looks."""

    calibration: str | None = None
    length: Length | None = None
    points: tuple[Place, ...] = ()

    def __post_init__(self) -> None:
        if (self.length is None) == (not self.points):
            raise ValueError("give either a length or points, of which the millimetres follow")
        if self.points and len(self.points) < 4:
            raise ValueError(f"{len(self.points)} points; give four or more")


class Tls(_Section, frozen=True, kw_only=True):
    """An encrypted connection, always verified. ca: PEM file of the authority that signed the broker's certificate;
    without it the system's authorities. cert, key: PEM files of this device's own certificate, where the broker asks
    for one. server_name: the name in the broker's certificate, where that is not `mqtt.host`."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None


class Mqtt(_Section, frozen=True, kw_only=True):
    """The password never stands in the config. password_file: a file whose first line it is; without one, the
    systemd credential `mqtt-password` or the variable EDGEPOSE_MQTT_PASSWORD.
    format: of the payloads. frames_per_message: more than 1 logs in bulk, on /poses."""

    host: str = "localhost"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password_file: str | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    tls: Tls | None = None
    format: Literal["json", "msgpack"] = "json"
    frames_per_message: Annotated[int, Meta(ge=1, le=100)] = 1


class Spool(_Section, frozen=True, kw_only=True):
    """Where poses wait for the broker. folder: on the disk, for what waits longer; ram_folder: in memory-backed
    storage, for what was just sent. Default: systemd's, or the user's own.
    when_full: which poses make way for a live camera beyond max_mb; a video waits instead."""

    folder: str | None = None
    ram_folder: str | None = None
    max_mb: Annotated[float, Meta(ge=1, le=1e6)] = 1000.0
    max_age_h: Annotated[float, Meta(gt=0, le=1e5)] = 720.0
    when_full: Literal["drop_oldest", "drop_newest"] = "drop_oldest"


Tag = Annotated[str, Meta(max_length=200)]
TagName = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,40}$", description="such as subject or cage")]


class Config(_Section, frozen=True, kw_only=True):
    """device: name in the topics, default the host name. model: path of a .tflite with its card beside it.
    tags: what the recordings are of, such as subject, cage and experiment; they travel with the poses.
    commands: which ones are carried out when somebody sends them over MQTT."""

    device: DeviceName | None = None
    model: str
    camera: Camera
    inference: Inference = Inference()
    view: View = View()
    geometry: Geometry | None = None
    mqtt: Mqtt = Mqtt()
    spool: Spool = Spool()
    tags: dict[TagName, Tag] = {}
    commands: tuple[CommandName, ...] = ("ping",)

    def device_name(self) -> str:
        return self.device or socket.gethostname()


S = TypeVar("S", bound=_Section)


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
    geometry = config.geometry and _resolved(config.geometry, folder, "calibration")
    mqtt = _resolved(mqtt, folder, "password_file")
    if mqtt.tls:
        mqtt = msgspec.structs.replace(mqtt, tls=_resolved(mqtt.tls, folder, "ca", "cert", "key"))
    spool = _resolved(config.spool, folder, "folder", "ram_folder")
    model = _under(folder, config.model)
    return msgspec.structs.replace(config, model=model, camera=camera, geometry=geometry, mqtt=mqtt, spool=spool)


def _resolved(section: S, folder: Path, *keys: str) -> S:
    paths = {key: _under(folder, path) for key in keys if (path := getattr(section, key))}
    return msgspec.structs.replace(section, **paths)


def _under(folder: Path, path: str) -> str:
    return str(folder / Path(path).expanduser())


def config_schema() -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Config)}
