"""What the daemon's YAML file may hold: one struct for each section. `loading` reads it."""

from __future__ import annotations

import socket
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgepose.config.camera import CameraConfig
from edgepose.config.closed_loop import GpioConfig, ProcessorConfig, RuleConfig, RuleName
from edgepose.config.section import Section
from edgepose.protocol.commands import CommandName
from edgepose.protocol.messages import Region

DeviceName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+$", description="one MQTT topic level, such as cage-07")]


Polygon = Annotated[tuple[tuple[float, float], ...], Meta(min_length=3)]


class InferenceConfig(Section, frozen=True, kw_only=True):
    """threads: of the interpreter; 0 measures at start and takes what is fastest. delegate: what runs the model; auto
    is a Coral Edge TPU where one is plugged in and the model was compiled for it, else the CPU. library: the
    delegate's, where it is not the system's libedgetpu.so.1. device: which Edge TPU, such as usb:0; one daemon each.
    soft_limit_c: where the board's processor is hotter, there are fewer poses, so that the firmware need not slow
    everything down; null: never."""

    threads: Annotated[int, Meta(ge=0, le=16)] = 0
    delegate: Literal["auto", "cpu", "edgetpu"] = "auto"
    library: str | None = None
    device: Annotated[str, Meta(pattern=r"^((usb|pci)?(:\d)?)$")] = ""
    soft_limit_c: Annotated[float, Meta(ge=30, le=110)] | None = 75.0


class ViewConfig(Section, frozen=True, kw_only=True):
    """region: (x, y, w, h) of the frame to look at; None: all of it. follow: look through a window that follows the
    animal, so that the model sees it larger. zoom: how much larger; None: as the model was trained for."""

    region: Region | None = None
    follow: bool = False
    zoom: Annotated[float, Meta(gt=1, le=10)] | None = None


Point = tuple[float, float]


class LengthConfig(Section, frozen=True, kw_only=True):
    """between: two points, pixels of the frame. mm: how far they are apart on the ground, seen from straight above."""

    between: tuple[Point, Point]
    mm: Annotated[float, Meta(gt=0, le=1e9)]


class PlaceConfig(Section, frozen=True, kw_only=True):
    """px: a point of the frame. mm: where it is on the ground."""

    px: Point
    mm: Point


class GeometryConfig(Section, frozen=True, kw_only=True):
    """Keypoints in millimetres, published beside their pixels. calibration: file of the lens, from `edgepose calibrate`
    or OpenCV; None: the lens does not distort. Then either a length, where the camera looks straight down; mm count
    from the top-left pixel. Or four or more points of the ground, from wherever the camera looks."""

    calibration: str | None = None
    length: LengthConfig | None = None
    points: tuple[PlaceConfig, ...] = ()

    def __post_init__(self) -> None:
        if (self.length is None) == (not self.points):
            raise ValueError("give either a length or points, of which the millimetres follow")
        if self.points and len(self.points) < 4:
            raise ValueError(f"{len(self.points)} points; give four or more")


class TlsConfig(Section, frozen=True, kw_only=True):
    """An encrypted connection, always verified. ca: PEM file of the authority that signed the broker's certificate;
    without it the system's authorities. cert, key: PEM files of this device's own certificate, where the broker asks
    for one. server_name: the name in the broker's certificate, where that is not `mqtt.host`."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None


class MqttConfig(Section, frozen=True, kw_only=True):
    """The password never stands in the config. password_file: a file whose first line it is; without one, the
    systemd credential `mqtt-password` or the variable EDGEPOSE_MQTT_PASSWORD.
    format: of the payloads. frames_per_message: more than 1 logs in bulk, on /poses.
    home_assistant: makes the device known there; needs format json."""

    host: str = "localhost"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password_file: str | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    tls: TlsConfig | None = None
    format: Literal["json", "msgpack"] = "json"
    frames_per_message: Annotated[int, Meta(ge=1, le=100)] = 1
    home_assistant: bool = False


class SpoolConfig(Section, frozen=True, kw_only=True):
    """Where poses wait for the broker. folder: on the disk, for what waits longer; ram_folder: in memory-backed
    storage, for what was just sent. Default: systemd's, or the user's own.
    when_full: which poses make way for a live camera beyond max_mb; a video waits instead."""

    folder: str | None = None
    ram_folder: str | None = None
    max_mb: Annotated[float, Meta(ge=1, le=1e6)] = 1000.0
    max_age_h: Annotated[float, Meta(gt=0, le=1e5)] = 720.0
    when_full: Literal["drop_oldest", "drop_newest"] = "drop_oldest"


# YAML reads an unquoted 20:00 as a number of base 60, which is the minute of the day.
TimeOfDay = (
    Annotated[int, Meta(ge=0, lt=24 * 60)]
    | Annotated[str, Meta(pattern=r"^([01]?\d|2[0-3]):[0-5]\d$", description="such as 20:00, local time")]
)


class BetweenConfig(Section, frozen=True, kw_only=True):
    """Each day from the first time to the second, over midnight where that is earlier."""

    between: tuple[TimeOfDay, TimeOfDay]


class RecordConfig(Section, frozen=True, kw_only=True):
    """Video in `folder`, with its times and poses beside it. codec: h264 needs PyAV, mjpeg is several times larger.
    Beyond max_gb and max_age_h, and where the disk gets full, the oldest segments go.
    when: always, while an experiment is marked (the command `mark`), or between two times of the day."""

    folder: str
    codec: Literal["h264", "mjpeg"] = "h264"
    segment_s: Annotated[float, Meta(ge=1, le=86_400)] = 600.0
    max_gb: Annotated[float, Meta(gt=0, le=1e5)] = 16.0
    max_age_h: Annotated[float, Meta(gt=0, le=1e5)] = 720.0
    when: Literal["always", "marked"] | BetweenConfig = "always"


class HardFramesConfig(Section, frozen=True, kw_only=True):
    """Frames for the next round of labelling, in `folder`: those with a keypoint whose score is below `below`, or that
    jumps; the worst of each 1 / per_hour. Beyond max_mb nothing is saved until somebody fetches them."""

    folder: str
    below: Annotated[float, Meta(ge=0, le=1)] = 0.5
    per_hour: Annotated[float, Meta(gt=0, le=7200)] = 20.0
    max_mb: Annotated[float, Meta(gt=0, le=1e6)] = 500.0


Tag = Annotated[str, Meta(max_length=200)]
TagName = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,40}$", description="such as subject or cage")]


class PrometheusConfig(Section, frozen=True, kw_only=True):
    """/health as numbers on http://host:port/metrics. host: 0.0.0.0 lets others in, whoever they are."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 9464


class Config(Section, frozen=True, kw_only=True):
    """device: name in the topics, default the host name. model: path of a .tflite with its card beside it.
    masks: parts of the frame that nobody may see, black in everything that leaves the camera: name and corners.
    tags: what the recordings are of, such as subject, cage and experiment; they travel with the poses.
    rules: what happens when a pose meets conditions. gpio: pins that edges come in and go out by. processor: own code.
    record: the video, kept on this device. uncertain: frames to be labelled, kept there too.
    commands: which ones are carried out when somebody sends them over MQTT."""

    device: DeviceName | None = None
    model: str
    camera: CameraConfig
    masks: dict[str, Polygon] = msgspec.field(default_factory=dict)
    inference: InferenceConfig = InferenceConfig()
    view: ViewConfig = ViewConfig()
    geometry: GeometryConfig | None = None
    mqtt: MqttConfig = MqttConfig()
    spool: SpoolConfig = SpoolConfig()
    record: RecordConfig | None = None
    uncertain: HardFramesConfig | None = None
    prometheus: PrometheusConfig | None = None
    rules: dict[RuleName, RuleConfig] = msgspec.field(default_factory=dict)
    gpio: GpioConfig = GpioConfig()
    processor: ProcessorConfig | None = None
    tags: dict[TagName, Tag] = msgspec.field(default_factory=dict)
    commands: tuple[CommandName, ...] = ("ping",)

    def __post_init__(self) -> None:
        if self.record is not None and self.record.when == "marked" and "mark" not in self.commands:
            raise ValueError("record.when: `marked` needs `mark` among the commands")
        pins = [rule.pin for rule in self.rules.values() if rule.pin is not None] + list(self.gpio.inputs.values())
        pins += [self.gpio.sync.pin] if self.gpio.sync else []
        if twice := {pin for pin in pins if pins.count(pin) > 1}:
            raise ValueError(f"rules and gpio: pin {min(twice)} is used twice")

    def device_name(self) -> str:
        return self.device or socket.gethostname()

    def wants_full(self) -> bool:
        """Whether frames are needed in the camera's own size, beside what the model looks at."""
        cut = self.view.follow or self.view.region is not None or "set" in self.commands
        return cut or self.record is not None or self.uncertain is not None or "snapshot" in self.commands


def config_schema() -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Config)}
