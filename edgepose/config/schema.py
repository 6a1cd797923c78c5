"""What the daemon's YAML file may hold: one struct for each section. `loading` reads it.

Every field has a description, which `edgepose config schema` and the file that `edgepose init` writes show.
"""

from __future__ import annotations

import socket
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgepose.config.camera import CameraConfig
from edgepose.config.closed_loop import GpioConfig, Point, ProcessorConfig, RuleConfig, RuleName
from edgepose.config.section import Section
from edgepose.protocol.commands import CommandName
from edgepose.protocol.messages import Region

DeviceName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+$")]
Polygon = Annotated[tuple[Point, ...], Meta(min_length=3)]
Port = Annotated[int, Meta(ge=1, le=65535)]


class InferenceConfig(Section, frozen=True, kw_only=True):
    """How the model runs on this board."""

    threads: Annotated[
        int,
        Meta(
            ge=0,
            le=16,
            description="Threads of the interpreter; 0 measures at start and takes the number that is fastest.",
        ),
    ] = 0
    delegate: Annotated[
        Literal["auto", "cpu", "edgetpu"],
        Meta(
            description="What runs the model. auto takes a Coral Edge TPU where one is plugged in and the model was "
            "compiled for it, and otherwise the CPU."
        ),
    ] = "auto"
    library: Annotated[
        str | None, Meta(description="The Edge TPU's library; null takes the system's libedgetpu.so.1.")
    ] = None
    device: Annotated[
        str,
        Meta(
            pattern=r"^((usb|pci)?(:\d)?)$",
            description="Which Edge TPU, such as usb:0, where there are several; each serves one daemon. Empty takes "
            "the first one.",
        ),
    ] = ""
    soft_limit_c: Annotated[
        Annotated[float, Meta(ge=30, le=110)] | None,
        Meta(
            description="Temperature of the processor in °C above which fewer poses are made, so that the firmware "
            "need not slow everything down; null sets no limit."
        ),
    ] = 75.0


class ViewConfig(Section, frozen=True, kw_only=True):
    """The part of the frame that the model gets."""

    region: Annotated[
        Region | None,
        Meta(
            description="A rectangle [x, y, width, height] in pixels of the frame; null is the whole frame.",
            examples=[[80, 0, 480, 480]],
        ),
    ] = None
    follow: Annotated[
        bool,
        Meta(
            description="true gives the model a window that follows the animal and shows it larger. The model must be "
            "trained with `edgepose-train fit --follow`."
        ),
    ] = False
    zoom: Annotated[
        Annotated[float, Meta(gt=1, le=10)] | None,
        Meta(description="How many times larger the window shows the animal; null is what the model was trained for."),
    ] = None


class LengthConfig(Section, frozen=True, kw_only=True):
    """A known length on the ground, for a camera that looks straight down."""

    between: Annotated[
        tuple[Point, Point],
        Meta(description="Two points [x, y] in pixels of the frame.", examples=[[[9, 8], [9, 560]]]),
    ]
    mm: Annotated[float, Meta(gt=0, le=1e9, description="Their distance in millimetres.", examples=[400])]


class PlaceConfig(Section, frozen=True, kw_only=True):
    """A point of the ground whose place is known."""

    px: Annotated[Point, Meta(description="The point [x, y] in pixels of the frame.", examples=[[102, 60]])]
    mm: Annotated[Point, Meta(description="The same point [x, y] in millimetres on the ground.", examples=[[0, 0]])]


class GeometryConfig(Section, frozen=True, kw_only=True):
    """Keypoints in millimetres, published beside their pixels. Give either a length or points."""

    calibration: Annotated[
        str | None,
        Meta(
            description="The file that `edgepose calibrate` or OpenCV wrote about the lens; null is a lens that does "
            "not distort.",
            examples=["camera.yaml"],
        ),
    ] = None
    length: Annotated[
        LengthConfig | None,
        Meta(
            description="A known length, where the camera looks straight down; millimetres count from the top left "
            "pixel.",
            examples=[{"between": [[9, 8], [9, 560]], "mm": 400}],
        ),
    ] = None
    points: Annotated[
        tuple[PlaceConfig, ...],
        Meta(
            description="Four or more known points of the ground, where the camera looks from the side.",
            examples=[
                [
                    {"px": [102, 60], "mm": [0, 0]},
                    {"px": [540, 66], "mm": [400, 0]},
                    {"px": [610, 430], "mm": [400, 300]},
                    {"px": [40, 424], "mm": [0, 300]},
                ]
            ],
        ),
    ] = ()

    def __post_init__(self) -> None:
        if (self.length is None) == (not self.points):
            raise ValueError("give either a length or points, of which the millimetres follow")
        if self.points and len(self.points) < 4:
            raise ValueError(f"{len(self.points)} points; give four or more")


class TlsConfig(Section, frozen=True, kw_only=True):
    """An encrypted connection to the broker, whose certificate is always verified."""

    ca: Annotated[
        str | None,
        Meta(
            description="PEM file of the authority that signed the broker's certificate; null takes the system's "
            "authorities.",
            examples=["ca.pem"],
        ),
    ] = None
    cert: Annotated[
        str | None, Meta(description="PEM file of this device's own certificate, where the broker asks for one.")
    ] = None
    key: Annotated[str | None, Meta(description="PEM file of the key of this device's certificate.")] = None
    server_name: Annotated[
        str | None, Meta(description="The name in the broker's certificate, where it is not the same as `mqtt.host`.")
    ] = None


class MqttConfig(Section, frozen=True, kw_only=True):
    """The MQTT broker that gets the poses. Its password is never written in this file."""

    host: Annotated[str, Meta(description="The broker's name or address.")] = "localhost"
    port: Annotated[Port, Meta(description="The broker's port; with TLS it is usually 8883.")] = 1883
    protocol: Annotated[
        Literal["5", "3.1.1"],
        Meta(
            description='The version of MQTT. Take "3.1.1" for brokers without version 5, which then cannot report '
            "that they refuse a message."
        ),
    ] = "5"
    username: Annotated[
        str | None, Meta(description="The user name at the broker; null where the broker asks for none.")
    ] = None
    password_file: Annotated[
        str | None,
        Meta(
            description="A file whose first line is the password. null takes the systemd credential `mqtt-password`, "
            "or the variable EDGEPOSE_MQTT_PASSWORD."
        ),
    ] = None
    keepalive_s: Annotated[
        int, Meta(ge=5, le=3600, description="Seconds after which a silent connection is tested.")
    ] = 30
    tls: Annotated[
        TlsConfig | None,
        Meta(description="An encrypted connection; null is not encrypted.", examples=[{"ca": "ca.pem"}]),
    ] = None
    frames_per_message: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="Poses per message. More than 1 saves traffic and sends them on edgepose/<device>/poses.",
        ),
    ] = 1
    home_assistant: Annotated[
        bool,
        Meta(description="true shows the device in Home Assistant; `edgepose purge` removes it there again."),
    ] = False


class SpoolConfig(Section, frozen=True, kw_only=True):
    """Where poses wait while the broker cannot be reached."""

    folder: Annotated[
        str | None,
        Meta(
            description="The folder on the disk, for poses that wait long; null takes systemd's StateDirectory, or "
            "~/.local/state/edgepose."
        ),
    ] = None
    ram_folder: Annotated[
        str | None,
        Meta(
            description="The folder in memory, for poses that were just sent; null takes systemd's RuntimeDirectory, "
            "or the user's own."
        ),
    ] = None
    max_mb: Annotated[
        float,
        Meta(
            ge=1,
            le=1e6,
            description="Megabytes that waiting poses may take. A day of four keypoints at 30 Hz takes about 300.",
        ),
    ] = 1000.0
    max_age_h: Annotated[float, Meta(gt=0, le=1e5, description="Hours after which a waiting pose is dropped.")] = 720.0
    when_full: Annotated[
        Literal["drop_oldest", "drop_newest"],
        Meta(
            description="Which poses are dropped and counted where a live camera has filled max_mb; a video waits "
            "instead."
        ),
    ] = "drop_oldest"


# YAML reads an unquoted 20:00 as a number of base 60, which is the minute of the day.
TimeOfDay = (
    Annotated[int, Meta(ge=0, lt=24 * 60)]
    | Annotated[str, Meta(pattern=r"^([01]?\d|2[0-3]):[0-5]\d$", description="A local time, such as 20:00.")]
)


class BetweenConfig(Section, frozen=True, kw_only=True):
    """A part of each day."""

    between: Annotated[
        tuple[TimeOfDay, TimeOfDay],
        Meta(
            description="The local times of beginning and end. The end is on the next day where it is the earlier "
            "time.",
            examples=[["20:00", "08:00"]],
        ),
    ]


class RecordConfig(Section, frozen=True, kw_only=True):
    """H.264 video kept on this device, with its frame times and poses beside it; it needs the extra `video` (PyAV)."""

    folder: Annotated[str, Meta(description="Where the videos go.", examples=["/var/lib/edgepose/recordings"])]
    segment_s: Annotated[float, Meta(ge=1, le=86_400, description="Seconds of video in each file.")] = 600.0
    max_gb: Annotated[
        float, Meta(gt=0, le=1e5, description="Gigabytes for all videos; the oldest files make room for new ones.")
    ] = 16.0
    max_age_h: Annotated[float, Meta(gt=0, le=1e5, description="Hours after which a video is removed.")] = 720.0
    when: Annotated[
        Literal["always", "marked"] | BetweenConfig,
        Meta(
            description="When to record: always, marked (while the command `mark` marks an experiment), or "
            '{between: ["20:00", "08:00"]} each day.'
        ),
    ] = "always"


class HardFramesConfig(Section, frozen=True, kw_only=True):
    """Frames that the model finds hard, kept on this device for the next round of labelling."""

    folder: Annotated[str, Meta(description="Where the frames go.", examples=["/var/lib/edgepose/hard_frames"])]
    below: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="A frame is hard where the score of a keypoint is below this, or where a keypoint jumps.",
        ),
    ] = 0.5
    per_hour: Annotated[
        float, Meta(gt=0, le=7200, description="The most frames kept in an hour; the hardest ones.")
    ] = 20.0
    max_mb: Annotated[
        float, Meta(gt=0, le=1e6, description="Megabytes after which no frame is kept until somebody fetches them.")
    ] = 500.0


Tag = Annotated[str, Meta(max_length=200)]
TagName = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,40}$")]


class PrometheusConfig(Section, frozen=True, kw_only=True):
    """The device's health as numbers on http://host:port/metrics, for Prometheus."""

    host: Annotated[
        str,
        Meta(description="The address to listen at. 0.0.0.0 lets every computer of the network read the numbers."),
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="The port to listen at.")] = 9464


class Config(Section, frozen=True, kw_only=True):
    """The configuration of the daemon. Paths are relative to the folder of the file."""

    device: Annotated[
        DeviceName | None,
        Meta(
            description="The name of this device in the topics edgepose/<device>/...; null takes the host name.",
            examples=["cage-07"],
        ),
    ] = None
    model: Annotated[
        str,
        Meta(
            description="The model from `edgepose-train fit`, a .tflite file with its card (.json) beside it. `demo` "
            "is the model that comes with edgepose.",
            examples=["model.tflite"],
        ),
    ]
    camera: Annotated[CameraConfig, Meta(description="Where frames come from.")]
    mqtt: Annotated[MqttConfig, Meta(description="The broker that gets the poses.")] = MqttConfig()
    tags: Annotated[
        dict[TagName, Tag],
        Meta(
            description="What is recorded. Tags travel with the poses into the collected files.",
            examples=[{"subject": "m3", "cage": "7"}],
        ),
    ] = msgspec.field(default_factory=dict)
    commands: Annotated[
        tuple[CommandName, ...],
        Meta(
            description="The commands that are carried out when somebody sends them over MQTT: ping, health, snapshot, "
            "set, mark, restart, model."
        ),
    ] = ("ping",)
    inference: Annotated[InferenceConfig, Meta(description="How the model runs.")] = InferenceConfig()
    view: Annotated[ViewConfig, Meta(description="The part of the frame that the model gets.")] = ViewConfig()
    masks: Annotated[
        dict[str, Polygon],
        Meta(
            description="Parts of the frame that nobody may see, by name, each with its corners in pixels. They are "
            "black in everything that leaves the camera.",
            examples=[{"door": [[0, 0], [90, 0], [90, 480]]}],
        ),
    ] = msgspec.field(default_factory=dict)
    geometry: Annotated[
        GeometryConfig | None,
        Meta(
            description="How pixels become millimetres; null publishes pixels only.",
            examples=[{"calibration": "camera.yaml", "length": {"between": [[9, 8], [9, 560]], "mm": 400}}],
        ),
    ] = None
    record: Annotated[RecordConfig | None, Meta(description="Video kept on this device; null records nothing.")] = None
    hard_frames: Annotated[
        HardFramesConfig | None, Meta(description="Frames kept for the next round of labelling; null keeps none.")
    ] = None
    rules: Annotated[
        dict[RuleName, RuleConfig],
        Meta(
            description="What happens when poses meet conditions, by a name of your choice.",
            examples=[
                {
                    "reward": {
                        "when": {"in_zone": {"keypoint": "snout", "zone": [[500, 180], [640, 180], [640, 300]]}},
                        "pin": 17,
                        "pulse_ms": 50,
                    }
                }
            ],
        ),
    ] = msgspec.field(default_factory=dict)
    gpio: Annotated[GpioConfig, Meta(description="Signals in and out of the board's pins.")] = GpioConfig()
    processor: Annotated[
        ProcessorConfig | None, Meta(description="Your own Python code at each pose; null runs none.")
    ] = None
    spool: Annotated[SpoolConfig, Meta(description="Where poses wait for the broker.")] = SpoolConfig()
    prometheus: Annotated[PrometheusConfig | None, Meta(description="Numbers for Prometheus; null offers none.")] = None

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
        """Returns True when frames are needed in the camera's own size, besides the picture that the model gets."""
        cut = self.view.follow or self.view.region is not None or "set" in self.commands
        return cut or self.record is not None or self.hard_frames is not None or "snapshot" in self.commands


def config_schema() -> dict[str, Any]:
    """Returns the JSON Schema of the file, for editors that complete and check YAML."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Config)}
    for definition in schema["$defs"].values():
        if source := definition.get("properties", {}).get("source"):
            source["description"] = "The kind of camera, which decides what else this section may hold."
    return schema
