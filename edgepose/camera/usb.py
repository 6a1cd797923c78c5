"""Reads USB cameras, and all others that Video4Linux knows, by OpenCV."""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path

import cv2

from edgepose.config.camera import UsbCameraConfig
from edgepose.errors import CameraError
from edgepose.system.clock import wall_us
from edgepose.types import U8, Frame
from edgepose.video.capture import Capture

DEV = Path("/dev")
# With one buffer a camera has no place for a frame while the last one is decoded, and gives only every other frame.
BUFFERS = 2
_FOURCC = {"mjpg": "MJPG", "yuyv": "YUYV"}
# Key of the config, property, the config's unit in units of the driver; (property, off, on) of the automatic control.
_CONTROLS = (
    ("exposure_us", cv2.CAP_PROP_EXPOSURE, 0.01, (cv2.CAP_PROP_AUTO_EXPOSURE, 1, 3)),
    ("gain", cv2.CAP_PROP_GAIN, 1, None),
    ("focus", cv2.CAP_PROP_FOCUS, 1, (cv2.CAP_PROP_AUTOFOCUS, 0, 1)),
    ("white_balance_k", cv2.CAP_PROP_WB_TEMPERATURE, 1, (cv2.CAP_PROP_AUTO_WB, 0, 1)),
)
log = logging.getLogger(__name__)


class UsbSource:
    """Frames as the camera gives them. Where size, rate or a control differ from the config, a warning says so.

    `config.device` is looked up at each opening, so that a name in /dev/v4l/by-id follows the camera to its new number.

    Args:
        config: the section of the config.
        dev: the folder of the devices.

    Raises:
        CameraError: The camera cannot be opened.
    """

    live = True

    def __init__(self, config: UsbCameraConfig, *, dev: Path = DEV) -> None:
        self.rate_hz = config.rate_hz
        self._config = config
        self._index = 0
        self._device = dev / f"video{config.device}" if isinstance(config.device, int) else Path(config.device)
        _check(self._device, dev)
        self._capture = Capture(str(self._device.resolve()), cv2.CAP_V4L2)
        if not self._capture.opened:
            raise CameraError(f"{self._device}: another program uses it, or it gives no pictures; {_cameras(dev)}")
        self._set_controls(config)

    def read(self) -> Frame | None:
        """Returns the next frame, BGR; None after `close`. Raises CameraError when the camera is gone or silent."""
        while self._capture.grab():
            captured_mono_ns = self._captured_mono_ns()
            image = self._capture.retrieve()
            if image is None:  # a damaged JPEG; the next one will be whole
                continue
            if self._index == 0:
                self._compare(image)
            captured_us = wall_us() - (time.monotonic_ns() - captured_mono_ns) // 1000
            self._index += 1
            return Frame(image, "bgr", self._index - 1, captured_mono_ns, captured_us)
        if self._capture.closed:
            return None
        what = "gives no frames any more" if self._device.exists() else "is gone, perhaps unplugged"
        raise CameraError(f"{self._device}: the camera {what}; check its cable and power")

    def close(self) -> None:
        self._capture.close()

    def _set_controls(self, config: UsbCameraConfig) -> None:
        w, h = config.size_wh
        fourcc = cv2.VideoWriter.fourcc(*_FOURCC[config.format])
        for what, value in (
            (cv2.CAP_PROP_FOURCC, fourcc),  # first: it decides which sizes and rates there are
            (cv2.CAP_PROP_FRAME_WIDTH, w),
            (cv2.CAP_PROP_FRAME_HEIGHT, h),
            (cv2.CAP_PROP_FPS, config.rate_hz),
            (cv2.CAP_PROP_BUFFERSIZE, BUFFERS),
        ):
            self._capture.set(what, value)
        for key, what, unit, automatic in _CONTROLS:
            wanted = getattr(config, key)
            if automatic is not None:
                self._capture.set(automatic[0], automatic[2] if wanted is None else automatic[1])
            if wanted is not None:
                self._capture.set(what, round(wanted * unit))
                self._warn_of_difference(key, wanted, self._capture.get(what) / unit)

    def _compare(self, image: U8) -> None:
        """Warns of differences to the config. The size is taken from a frame: drivers do not always say the truth."""
        wanted, got = self._config.size_wh, (image.shape[1], image.shape[0])
        if got != wanted:
            log.warning("%s: gives %dx%d, not %dx%d; coordinates are those of its frames", self._device, *got, *wanted)
        self._warn_of_difference("rate_hz", self._config.rate_hz, self._capture.get(cv2.CAP_PROP_FPS))
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).decode("latin-1")
        if code != _FOURCC[self._config.format]:
            log.warning("%s: gives the format %s, not %s", self._device, code, self._config.format)

    def _warn_of_difference(self, key: str, wanted: float, got: float) -> None:
        """Warns where a value is not the config's. A tenth is no difference, since drivers round to their own steps."""
        if got < 0:
            log.warning("%s: has no %s to set", self._device, key)
        elif abs(got - wanted) > 0.1 * wanted:
            log.warning("%s: %s is %g, not %g", self._device, key, got, wanted)

    def _captured_mono_ns(self) -> int:
        """Returns when the frame began to arrive, as the driver has stamped it by the monotonic clock; else now."""
        now = time.monotonic_ns()
        stamped = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        return stamped if 0 <= now - stamped < 1e9 else now


def _check(device: Path, dev: Path) -> None:
    """Raises CameraError with the reason why the device cannot be opened, which OpenCV does not give."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK))
    except OSError as exc:
        if exc.errno in {errno.EACCES, errno.EPERM}:
            what = "no permission; `sudo usermod -aG video $USER`, then log in again"
        elif exc.errno in {errno.ENOENT, errno.ENODEV, errno.ENXIO}:
            what = f"no such camera; {_cameras(dev)}"
        else:
            what = f"cannot be opened ({exc.strerror}); {_cameras(dev)}"
        raise CameraError(f"{device}: {what}") from None


def _cameras(dev: Path) -> str:
    """Names the cameras that are plugged in, by names that last. Of each camera index 0 gives pictures."""
    names = sorted((dev / "v4l" / "by-id").glob("*-index0")) or sorted(dev.glob("video*"))
    return f"there is {', '.join(map(str, names))}" if names else "no camera is plugged in"
