"""What the config's `camera` section may be: one struct for each source."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from edgepose.config.section import Section

Pixels = Annotated[int, Meta(ge=64, le=4096)]
_Positive = Annotated[int, Meta(ge=1)]
_EvenPx = Annotated[int, Meta(ge=64, le=8192, multiple_of=2)]
ControlValue = bool | int | float | tuple[int | float, ...]


class UsbCameraConfig(Section, frozen=True, kw_only=True, tag_field="source", tag="usb"):
    """A USB camera, or any other that Video4Linux has. device: a name in /dev/v4l/by-id stays the same when the camera
    is plugged in again; also /dev/video0, or the number alone. format: over the cable; yuyv is not compressed, and
    leaves no room for large or fast frames. exposure_us, gain, focus, white_balance_k: null is automatic, gain and
    focus are in the camera's own steps."""

    device: str | Annotated[int, Meta(ge=0, le=255)] = "/dev/video0"
    size_wh: tuple[Pixels, Pixels] = (640, 480)
    rate_hz: Annotated[float, Meta(ge=1, le=1000)] = 30.0
    format: Literal["mjpg", "yuyv"] = "mjpg"
    exposure_us: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    gain: int | None = None
    focus: int | None = None
    white_balance_k: Annotated[int, Meta(ge=1000, le=20_000)] | None = None


class RtspCameraConfig(Section, frozen=True, kw_only=True, tag_field="source", tag="rtsp"):
    """A network camera. url: rtsp://, rtsps://, or http:// and https:// for MJPEG. The password never stands in the
    config. password_file: a file whose first line it is; without one, the systemd credential `camera-password` or the
    variable EDGEPOSE_CAMERA_PASSWORD. rate_hz: of a stream slower than one frame a second, so that it is waited for."""

    url: str
    username: str | None = None
    password_file: str | None = None
    rate_hz: Annotated[float, Meta(ge=0.01, le=1000)] | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"rtsp", "rtsps", "http", "https"} or not parts.hostname:
            raise ValueError("url must be like rtsp://192.168.1.20/stream; rtsps, http and https are known as well")
        if "@" in parts.netloc:
            raise ValueError("url must not hold user or password; use username and password_file")
        _ = parts.port  # raises where it is none


class VideoFileConfig(Section, frozen=True, kw_only=True, tag_field="source", tag="video"):
    """A video file. realtime: at the file's own rate, skipping what comes late.
    Not realtime: every frame, as fast as possible."""

    path: str
    realtime: bool = True
    loop: bool = False


class ImageFolderConfig(Section, frozen=True, kw_only=True, tag_field="source", tag="images"):
    """A folder of images, in natural order. rate_hz: null is every image, as fast as possible; a number shows so many
    a second and skips what comes late, as a camera would."""

    path: str
    rate_hz: Annotated[float, Meta(ge=0.01, le=1000)] | None = None
    loop: bool = False


class SyntheticCameraConfig(Section, frozen=True, kw_only=True, tag_field="source", tag="synthetic"):
    """A rendered mouse whose keypoints are known, for demos and tests."""

    size_wh: tuple[Pixels, Pixels] = (640, 480)
    rate_hz: Annotated[float, Meta(ge=0.01, le=1000)] = 30.0
    seed: int = 0


class Picamera2Config(Section, frozen=True, kw_only=True, tag_field="source", tag="picamera2"):
    """A Camera Module on the Pi's ribbon cable, by libcamera.

    which: its number, or a part of its name or Id, as `rpicam-hello --list-cameras` tells them.
    size_wh: the frame, in whose pixels keypoints are; the model gets a smaller picture of it from the image processor.
    rate_hz: of the sensor. sensor_wh, sensor_bits: the sensor's mode; without them the one nearest to size_wh, which
    may show only the middle of the field of view. controls: by libcamera's names, such as ExposureTime."""

    which: int | str = 0
    size_wh: tuple[_EvenPx, _EvenPx] = (640, 480)
    rate_hz: Annotated[float, Meta(ge=0.01, le=1000)] = 30.0
    hflip: bool = False
    vflip: bool = False
    sensor_wh: tuple[_Positive, _Positive] | None = None
    sensor_bits: Annotated[int, Meta(ge=8, le=16)] | None = None
    controls: dict[str, ControlValue] = msgspec.field(default_factory=dict)


CameraConfig = (
    Picamera2Config | UsbCameraConfig | RtspCameraConfig | VideoFileConfig | ImageFolderConfig | SyntheticCameraConfig
)
