"""Defines what the config's `camera` section may be: one struct for each source."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from edgepose.system.strict import Section

Pixels = Annotated[int, Meta(ge=64, le=4096)]
_Positive = Annotated[int, Meta(ge=1)]
_EvenPx = Annotated[int, Meta(ge=64, le=8192, multiple_of=2)]
_RateHz = Annotated[float, Meta(ge=0.01, le=1000)]
ControlValue = bool | int | float | tuple[int | float, ...]


class UsbCameraConfig(Section, frozen=True, kw_only=True, tag_field="source", tag="usb"):
    """A USB camera, or another one that Video4Linux offers.

    Attributes:
        device: The camera's device file or its number. A name in /dev/v4l/by-id stays the same when the camera is
            plugged in again.
        size_wh: Width and height of the frames in pixels. `edgepose check` reports what the camera makes of it.
        rate_hz: Frames per second that the camera is asked for.
        format: How frames travel over the cable. mjpg is compressed by the camera; yuyv is not, and leaves no room for
            large or fast frames.
        exposure_us: The exposure time in microseconds; null lets the camera choose.
        gain: The gain in the camera's own steps; null lets the camera choose.
        focus: The focus in the camera's own steps; null lets the camera choose.
        white_balance_k: The colour temperature of the light in kelvin; null lets the camera choose.
    """

    device: str | Annotated[int, Meta(ge=0, le=255)] = "/dev/video0"
    size_wh: tuple[Pixels, Pixels] = (640, 480)
    rate_hz: Annotated[float, Meta(ge=1, le=1000)] = 30.0
    format: Literal["mjpg", "yuyv"] = "mjpg"
    exposure_us: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    gain: int | None = None
    focus: int | None = None
    white_balance_k: Annotated[int, Meta(ge=1000, le=20_000)] | None = None


class RtspCameraConfig(Section, frozen=True, kw_only=True, tag_field="source", tag="rtsp"):
    """A network camera. Its password is never written in this file.

    Attributes:
        url: The address of the stream without user and password: rtsp://, rtsps://, or http:// and https:// for MJPEG.
        username: The user name at the camera; null where the camera asks for none.
        password_file: A file whose first line is the password. null takes the systemd credential `camera-password`, or
            the variable EDGEPOSE_CAMERA_PASSWORD.
        rate_hz: Frames per second of a stream slower than 1 Hz, so that its frames are waited for.
    """

    url: Annotated[str, Meta(examples=["rtsp://192.168.1.20/stream1"])]
    username: str | None = None
    password_file: str | None = None
    rate_hz: _RateHz | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"rtsp", "rtsps", "http", "https"} or not parts.hostname:
            raise ValueError("url must be like rtsp://192.168.1.20/stream; rtsps, http and https are known as well")
        if "@" in parts.netloc:
            raise ValueError("url must not hold user or password; use username and password_file")
        _ = parts.port  # raises ValueError where it is not a port number


class VideoFileConfig(Section, frozen=True, kw_only=True, tag_field="source", tag="video"):
    """A video file in place of a camera.

    Attributes:
        path: The video file; any format that OpenCV reads.
        realtime: true plays the video at its own rate and skips frames that come too late, as a camera would; false
            takes every frame, as fast as possible.
        loop: true starts again at the end.
        rate_hz: Frames per second of a file that has no times, such as .h264, or that plays slower than it was taken;
            null takes the file's own times.
    """

    path: Annotated[str, Meta(examples=["recording.mp4"])]
    realtime: bool = True
    loop: bool = False
    rate_hz: _RateHz | None = None


class ImageFolderConfig(Section, frozen=True, kw_only=True, tag_field="source", tag="images"):
    """A folder of images in place of a camera, in natural order: img2 comes before img10.

    Attributes:
        path: The folder.
        rate_hz: Images per second, of which those that come too late are skipped, as with a camera; null takes every
            image, as fast as possible.
        loop: true starts again at the end.
    """

    path: Annotated[str, Meta(examples=["frames"])]
    rate_hz: _RateHz | None = None
    loop: bool = False


class SyntheticCameraConfig(Section, frozen=True, kw_only=True, tag_field="source", tag="synthetic"):
    """A rendered mouse whose true keypoints are known, for demos and tests.

    Attributes:
        size_wh: Width and height of the frames in pixels.
        rate_hz: Frames per second.
        seed: The number that the mouse and its path are made from.
    """

    size_wh: tuple[Pixels, Pixels] = (640, 480)
    rate_hz: _RateHz = 30.0
    seed: int = 0


class Picamera2Config(Section, frozen=True, kw_only=True, tag_field="source", tag="picamera2"):
    """A Camera Module on the Pi's ribbon cable. It needs the system package python3-picamera2.

    Attributes:
        which: Which camera: its number, or a part of its name or id as `rpicam-hello --list-cameras` prints them.
        size_wh: Width and height of the frames in pixels; keypoints are in these pixels. The model gets a smaller
            picture from the image processor.
        rate_hz: Frames per second of the sensor. A faster sensor gives a shorter delay.
        hflip: true mirrors the picture: left becomes right.
        vflip: true turns the picture upside down: top becomes bottom.
        sensor_wh: Width and height of the sensor mode, such as [1640, 1232]. null takes the mode nearest to size_wh,
            which may show only the middle of the view.
        sensor_bits: Bits per pixel of the sensor mode; null lets libcamera choose.
        controls: Camera settings by libcamera's names.
    """

    which: int | str = 0
    size_wh: tuple[_EvenPx, _EvenPx] = (640, 480)
    rate_hz: _RateHz = 30.0
    hflip: bool = False
    vflip: bool = False
    sensor_wh: tuple[_Positive, _Positive] | None = None
    sensor_bits: Annotated[int, Meta(ge=8, le=16)] | None = None
    controls: Annotated[dict[str, ControlValue], Meta(examples=[{"ExposureTime": 5000, "AnalogueGain": 4.0}])] = (
        msgspec.field(default_factory=dict)
    )


CameraConfig = (
    Picamera2Config | UsbCameraConfig | RtspCameraConfig | VideoFileConfig | ImageFolderConfig | SyntheticCameraConfig
)
