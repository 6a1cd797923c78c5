"""Defines what the daemon's YAML file may hold: one struct for each section. `loading` reads it.

The `Attributes:` of each struct describe its fields; `edgepose config schema` and the file that `edgepose init` writes
show these texts.
"""

from __future__ import annotations

import socket
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgepose.config.camera import CameraConfig
from edgepose.config.closed_loop import GpioConfig, Point, ProcessorConfig, RuleConfig, RuleName
from edgepose.protocol.commands import CommandName
from edgepose.protocol.messages import Region, Score
from edgepose.system.field_docs import described_schema
from edgepose.system.strict import Section

DeviceName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+$")]
Polygon = Annotated[tuple[Point, ...], Meta(min_length=3)]
Port = Annotated[int, Meta(ge=1, le=65_535)]


class InferenceConfig(Section, frozen=True, kw_only=True):
    """How the model runs on this board.

    Attributes:
        threads: Threads of the interpreter; 0 measures at start and takes the number that is fastest.
        delegate: What runs the model. auto takes a Coral Edge TPU where one is plugged in and the model was compiled
            for it, and otherwise the CPU.
        library: The Edge TPU's library; null takes the system's libedgetpu.so.1.
        device: Which Edge TPU, such as usb:0, where there are several; each serves one daemon. Empty takes the first
            one.
        soft_limit_c: Temperature of the processor in °C above which fewer poses are made, so that the firmware need not
            slow everything down; null sets no limit.
        min_animal_score: An animal that the model is less sure of, from 0 to 1, is left out of the poses; 0 leaves out
            none.
    """

    threads: Annotated[int, Meta(ge=0, le=16)] = 0
    delegate: Literal["auto", "cpu", "edgetpu"] = "auto"
    library: str | None = None
    device: Annotated[str, Meta(pattern=r"^((usb|pci)?(:\d)?)$")] = ""
    soft_limit_c: Annotated[float, Meta(ge=30, le=110)] | None = 75.0
    min_animal_score: Score = 0.0


class ViewConfig(Section, frozen=True, kw_only=True):
    """The part of the frame that the model gets.

    Attributes:
        region: A rectangle [x, y, width, height] in pixels of the frame; null is the whole frame.
        follow: true gives the model a window that follows the animal and shows it larger. The model must be trained
            with `edgepose-train fit --follow`.
        zoom: How many times larger the window shows the animal; null is what the model was trained for.
    """

    region: Annotated[Region | None, Meta(examples=[[80, 0, 480, 480]])] = None
    follow: bool = False
    zoom: Annotated[float, Meta(gt=1, le=10)] | None = None


class LengthConfig(Section, frozen=True, kw_only=True):
    """A known length on the ground, for a camera that looks straight down.

    Attributes:
        between: Two points [x, y] in pixels of the frame.
        mm: Their distance in millimetres.
    """

    between: Annotated[tuple[Point, Point], Meta(examples=[[[9, 8], [9, 560]]])]
    mm: Annotated[float, Meta(gt=0, le=1e9, examples=[400])]


class PlaceConfig(Section, frozen=True, kw_only=True):
    """A point of the ground whose place is known.

    Attributes:
        px: The point [x, y] in pixels of the frame.
        mm: The same point [x, y] in millimetres on the ground.
    """

    px: Annotated[Point, Meta(examples=[[102, 60]])]
    mm: Annotated[Point, Meta(examples=[[0, 0]])]


class GeometryConfig(Section, frozen=True, kw_only=True):
    """Keypoints in millimetres, published beside their pixels. Give either a length or points.

    Attributes:
        calibration: The file that `edgepose calibrate` or OpenCV wrote about the lens; null is a lens that does not
            distort.
        length: A known length, where the camera looks straight down; millimetres count from the top left pixel.
        points: Four or more known points of the ground, where the camera looks from the side.
    """

    calibration: Annotated[str | None, Meta(examples=["camera.yaml"])] = None
    length: Annotated[LengthConfig | None, Meta(examples=[{"between": [[9, 8], [9, 560]], "mm": 400}])] = None
    points: Annotated[
        tuple[PlaceConfig, ...],
        Meta(
            examples=[
                [
                    {"px": [102, 60], "mm": [0, 0]},
                    {"px": [540, 66], "mm": [400, 0]},
                    {"px": [610, 430], "mm": [400, 300]},
                    {"px": [40, 424], "mm": [0, 300]},
                ]
            ]
        ),
    ] = ()

    def __post_init__(self) -> None:
        if (self.length is None) == (not self.points):
            raise ValueError("give either a length or points, of which the millimetres follow")
        if self.points and len(self.points) < 4:
            raise ValueError(f"{len(self.points)} points; give four or more")


class TlsConfig(Section, frozen=True, kw_only=True):
    """An encrypted connection to the broker, whose certificate is always verified.

    Attributes:
        ca: PEM file of the authority that signed the broker's certificate; null takes the system's authorities.
        cert: PEM file of this device's own certificate, where the broker asks for one.
        key: PEM file of the key of this device's certificate.
        server_name: The name in the broker's certificate, where it is not the same as `mqtt.host`.
    """

    ca: Annotated[str | None, Meta(examples=["ca.pem"])] = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None


class MqttConfig(Section, frozen=True, kw_only=True):
    """The MQTT broker that gets the poses. Its password is never written in this file.

    Attributes:
        host: The broker's name or address.
        port: The broker's port; with TLS it is usually 8883.
        protocol: The version of MQTT. Take "3.1.1" for brokers without version 5, which then cannot report that they
            refuse a message.
        username: The user name at the broker; null where the broker asks for none.
        password_file: A file whose first line is the password. null takes the systemd credential `mqtt-password`, or
            the variable EDGEPOSE_MQTT_PASSWORD.
        keepalive_s: Seconds after which a silent connection is tested.
        tls: An encrypted connection; null is not encrypted.
        frames_per_message: Poses per message. More than 1 saves traffic and sends them on edgepose/<device>/poses.
        home_assistant: true shows the device in Home Assistant; `edgepose purge` removes it there again.
    """

    host: str = "localhost"
    port: Port = 1883
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password_file: str | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    tls: Annotated[TlsConfig | None, Meta(examples=[{"ca": "ca.pem"}])] = None
    frames_per_message: Annotated[int, Meta(ge=1, le=100)] = 1
    home_assistant: bool = False


class SpoolConfig(Section, frozen=True, kw_only=True):
    """The spool, in which poses wait while the broker cannot be reached.

    Attributes:
        folder: The folder on the disk, for poses that wait long; null takes systemd's StateDirectory, or
            ~/.local/state/edgepose.
        ram_folder: The folder in memory, for poses that were just sent; null takes systemd's RuntimeDirectory, or the
            user's own.
        max_mb: Megabytes that waiting poses may take. A day of four keypoints at 30 Hz takes about 300.
        max_age_h: Hours after which a waiting pose is dropped.
        when_full: Which poses are dropped and counted where a live camera has filled max_mb; a video waits instead.
    """

    folder: str | None = None
    ram_folder: str | None = None
    max_mb: Annotated[float, Meta(ge=1, le=1e6)] = 1000.0
    max_age_h: Annotated[float, Meta(gt=0, le=1e5)] = 720.0
    when_full: Literal["drop_oldest", "drop_newest"] = "drop_oldest"


TimeOfDay = Annotated[str, Meta(pattern=r"^([01]?\d|2[0-3]):[0-5]\d$", description="A local time, such as 20:00.")]
_Number = Annotated[int, Meta(description="Not allowed: it could be hours or minutes.")]


class BetweenConfig(Section, frozen=True, kw_only=True):
    """A part of each day.

    Attributes:
        between: The local times of beginning and end. The end is on the next day where it is the earlier time.
    """

    between: Annotated[tuple[TimeOfDay | _Number, TimeOfDay | _Number], Meta(examples=[["20:00", "08:00"]])]

    def __post_init__(self) -> None:
        for time_of_day in self.between:
            if isinstance(time_of_day, int):
                raise ValueError(f'{time_of_day} is no time of day; write hours and minutes, such as "20:00"')  # noqa: TRY004  msgspec reports it
        if minute_of(self.between[0]) == minute_of(self.between[1]):
            raise ValueError("both times are the same, so nothing would be recorded; `when: always` records all day")


def minute_of(time_of_day: str | int) -> int:
    """Returns the minute of the day."""
    hours, minutes = str(time_of_day).split(":")
    return int(hours) * 60 + int(minutes)


class RecordConfig(Section, frozen=True, kw_only=True):
    """H.264 video kept on this device, with its frame times and poses beside it; it needs the extra `video` (PyAV).

    Attributes:
        folder: Where the videos go.
        segment_s: Seconds of video in each file.
        max_gb: Gigabytes for all videos; the oldest files make room for new ones.
        max_age_h: Hours after which a video is removed.
        when: When to record: always, marked (while the command `mark` marks an experiment), or {between: ["20:00",
            "08:00"]} each day.
    """

    folder: Annotated[str, Meta(examples=["/var/lib/edgepose/recordings"])]
    segment_s: Annotated[float, Meta(ge=1, le=86_400)] = 600.0
    max_gb: Annotated[float, Meta(gt=0, le=1e5)] = 16.0
    max_age_h: Annotated[float, Meta(gt=0, le=1e5)] = 720.0
    when: Literal["always", "marked"] | BetweenConfig = "always"


class HardFramesConfig(Section, frozen=True, kw_only=True):
    """Frames that the model finds hard, kept on this device for the next round of labelling.

    Attributes:
        folder: Where the frames go.
        below: A frame is hard where the score of a keypoint is below this, or where a keypoint jumps.
        per_hour: The most frames kept in an hour; the hardest ones.
        max_mb: Megabytes after which no frame is kept until somebody fetches them.
    """

    folder: Annotated[str, Meta(examples=["/var/lib/edgepose/hard_frames"])]
    below: Annotated[float, Meta(ge=0, le=1)] = 0.5
    per_hour: Annotated[float, Meta(gt=0, le=7200)] = 20.0
    max_mb: Annotated[float, Meta(gt=0, le=1e6)] = 500.0


Tag = Annotated[str, Meta(max_length=200)]
TagName = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,40}$")]


class PrometheusConfig(Section, frozen=True, kw_only=True):
    """The device's health as numbers on http://host:port/metrics, for Prometheus.

    Attributes:
        host: The address to listen at. 0.0.0.0 lets every computer of the network read the numbers.
        port: The port to listen at.
    """

    host: str = "127.0.0.1"
    port: Port = 9464


class Config(Section, frozen=True, kw_only=True):
    """The configuration of the daemon. Paths are relative to the folder of the file.

    Attributes:
        device: The name of this device in the topics edgepose/<device>/...; null takes the host name.
        model: The model from `edgepose-train fit`, a .tflite file. `demo` is the model that comes with
            edgepose.
        camera: Where frames come from.
        mqtt: The broker that gets the poses.
        tags: What is recorded. Tags travel with the poses into the collected files.
        commands: The commands that are carried out when somebody sends them over MQTT: ping, health, snapshot, set,
            mark, restart, model.
        inference: How the model runs.
        view: The part of the frame that the model gets.
        masks: Parts of the frame that nobody may see, by name, each with its corners in pixels. They are black in
            everything that leaves the camera.
        geometry: How pixels become millimetres; null publishes pixels only.
        record: Video kept on this device; null records nothing.
        hard_frames: Frames kept for the next round of labelling; null keeps none.
        rules: What happens when poses meet conditions, by a name of your choice.
        gpio: Signals in and out of the board's pins.
        processor: Your own Python code at each pose; null runs none.
        spool: Where poses wait for the broker.
        prometheus: Numbers for Prometheus; null offers none.
    """

    device: Annotated[DeviceName | None, Meta(examples=["cage-07"])] = None
    model: Annotated[str, Meta(examples=["model.tflite"])]
    camera: CameraConfig
    mqtt: MqttConfig = MqttConfig()
    tags: Annotated[dict[TagName, Tag], Meta(examples=[{"subject": "m3", "cage": "7"}])] = msgspec.field(
        default_factory=dict
    )
    commands: tuple[CommandName, ...] = ("ping",)
    inference: InferenceConfig = InferenceConfig()
    view: ViewConfig = ViewConfig()
    masks: Annotated[dict[str, Polygon], Meta(examples=[{"door": [[0, 0], [90, 0], [90, 480]]}])] = msgspec.field(
        default_factory=dict
    )
    geometry: Annotated[
        GeometryConfig | None,
        Meta(examples=[{"calibration": "camera.yaml", "length": {"between": [[9, 8], [9, 560]], "mm": 400}}]),
    ] = None
    record: RecordConfig | None = None
    hard_frames: HardFramesConfig | None = None
    rules: Annotated[
        dict[RuleName, RuleConfig],
        Meta(
            examples=[
                {
                    "reward": {
                        "when": {"in_zone": {"keypoint": "snout", "zone": [[500, 180], [640, 180], [640, 300]]}},
                        "pin": 17,
                        "pulse_ms": 50,
                    }
                }
            ]
        ),
    ] = msgspec.field(default_factory=dict)
    gpio: GpioConfig = GpioConfig()
    processor: ProcessorConfig | None = None
    spool: SpoolConfig = SpoolConfig()
    prometheus: PrometheusConfig | None = None

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
    schema = described_schema(msgspec.json.schema(Config))
    for definition in schema["$defs"].values():
        if source := definition.get("properties", {}).get("source"):
            source["description"] = "The kind of camera, which decides what else this section may hold."
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
