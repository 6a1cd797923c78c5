"""Reads the Camera Module on a Pi. The image processor of libcamera shrinks the picture to the size of the model.

Two streams come from one exposure. `main` is the frame in whose pixels keypoints are; it is copied only where something
needs it. `lores` has the same field of view, at the size of the model's input. A buffer is copied out and given back
before anything else happens, since libcamera takes a camera whose buffers are held for one that hangs.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.camera.picamera2.controls import controls_for
from edgepose.camera.picamera2.failures import DEV, NO_CAMERA, import_failure, no_permission, open_failure
from edgepose.config.camera import Picamera2Config
from edgepose.errors import CameraError, ConfigError
from edgepose.geometry.letterbox import FrameMap, ModelInput
from edgepose.system.clock import wall_us
from edgepose.types import U8, Frame

_BUFFERS = 6  # as picamera2 takes for video: one is in the queue, one is copied, sensor and processor have the rest
_OLDEST_NS = 60_000_000_000  # a frame that claims to be older, or to be from the future, has an unknown clock
_FAILURES = (RuntimeError, IndexError, OSError)  # IndexError: picamera2 0.3.36 where there is no camera
_log = logging.getLogger(__name__)


class Picamera2Source:
    """Frames at the rate of the sensor, until `close`: I420 for a model that sees colours, else grey.

    Args:
        camera: the section of the config.
        model: the input of the model.
        wants_full: True where frames get their `full` picture too.
        dev: the folder of the devices.
        wait_s: `close` waits at most this long for a `read`, seconds.

    Attributes:
        name: of the sensor.
        rate_hz: of the sensor.
        wants_full: may be changed at any time.
        main_wh: size of the frame in pixels, as libcamera has adapted it.
        lores_wh: size of the picture for the model in pixels.

    Raises:
        CameraError: There is no such camera, or it cannot be opened.
        ConfigError: The camera cannot do what the config says.
    """

    live = True

    def __init__(
        self,
        camera: Picamera2Config,
        model: ModelInput,
        *,
        wants_full: bool = False,
        dev: Path = DEV,
        wait_s: float = 1.0,
    ) -> None:
        self.rate_hz, self.wants_full = camera.rate_hz, wants_full
        self._dev, self._wait_s = dev, wait_s
        self._gray = model.channels == 1
        self._index = 0
        self._job: Any = None
        self._closed = threading.Event()
        self._reading = threading.Lock()  # a thread left behind in `read` must share no job with the next one
        self._using = threading.Lock()  # held while the camera must not be closed
        picamera2, libcamera = _import()
        self._camera, self.name = _open(picamera2.Picamera2, camera.which, dev)
        try:
            self._configure(camera, model, libcamera)
            self._start()
        except BaseException:
            self._camera.close()
            raise
        sizes = f"{_by(self.main_wh)} at {camera.rate_hz:g} Hz, {_by(self.lores_wh)} for the model"
        _log.info("%s: %s", self.name, sizes)

    def read(self) -> Frame | None:
        """Returns the newest frame that was not read yet, or else the next one; None after `close`.

        Waits as long as no frame comes. Raises CameraError, and TimeoutError when `flush` or `restart` ends the wait.
        """
        with self._reading:
            while not self._closed.is_set():
                request = self._completed()
                if request is None:
                    continue
                with self._using, self._as_camera_error():
                    try:
                        if not self._closed.is_set():
                            return self._frame(request)
                    finally:
                        request.release()
        return None

    def flush(self) -> None:
        """Forgets the frame that was requested; a thread that waits for it stops waiting."""
        self._camera.cancel_all_and_flush()

    def restart(self) -> None:
        """Stops and starts the stream of the open camera. Raises CameraError.

        The event loop ends first. Otherwise `stop` would be a job for that loop, and would wait for ever behind a job
        that waits for a frame, or when the thread of the loop has died.
        """
        self._camera.cancel_all_and_flush()
        with self._using, self._as_camera_error():
            self._end_loop()
            self._camera.stop()
            self._start()

    def close(self) -> None:
        """Another thread may call it: a waiting `read` then returns None."""
        self._closed.set()
        self._camera.cancel_all_and_flush()
        with self._using:
            try:
                self._camera.close()
            except _FAILURES as exc:
                _log.warning("%s", open_failure(exc, self.name, self._dev))

    def _configure(self, camera: Picamera2Config, model: ModelInput, libcamera: Any) -> None:
        # OpenCV and `Frame` take I420 for BT.601 in limited range. Grey values are those of training pictures only in
        # full range.
        space = libcamera.ColorSpace.Sycc() if self._gray else libcamera.ColorSpace.Smpte170m()
        sensor = {"output_size": camera.sensor_wh, "bit_depth": camera.sensor_bits}
        with self._as_camera_error():
            asked = self._camera.create_video_configuration(
                main={"size": camera.size_wh, "format": "RGB888"},  # in memory B, G, R
                lores={"size": lores_wh(camera.size_wh, model), "format": "YUV420"},  # a Pi 4 has no other for it
                raw=None,
                transform=libcamera.Transform(hflip=camera.hflip, vflip=camera.vflip),
                colour_space=space,
                buffer_count=_BUFFERS,
                # With a queue the last frame waits for us, so that none is lost while we copy; it is never older than
                # one frame. `flush=True` of capture_request would be fresher yet, for half the rate.
                queue=True,
                sensor={key: value for key, value in sensor.items() if value is not None},
                display=None,
                encode=None,
            )
            self._camera.configure(asked)
            got = self._camera.camera_configuration()
        self._accept(camera, got)
        self._controls = controls_for(camera, self._camera.camera_controls)

    def _accept(self, camera: Picamera2Config, got: dict[str, Any]) -> None:
        """Compares sizes and formats: libcamera changes what it cannot do, and only its log says so."""
        formats = got["main"]["format"], got["lores"]["format"]
        if formats != ("RGB888", "YUV420"):
            raise CameraError(f"{self.name}: gives {formats[0]} and {formats[1]}, not RGB888 and YUV420; use another")
        self.main_wh, self.lores_wh = tuple(got["main"]["size"]), tuple(got["lores"]["size"])
        if self.main_wh != camera.size_wh:
            _log.warning("%s: camera.size_wh %s became %s", self.name, _by(camera.size_wh), _by(self.main_wh))
        mode = got["sensor"] or {}
        for key, wanted, name in (("output_size", camera.sensor_wh, "wh"), ("bit_depth", camera.sensor_bits, "bits")):
            if wanted is not None and mode.get(key) != wanted:
                raise ConfigError(
                    f"camera.sensor_{name}: {self.name} has no such mode, the nearest has {mode.get(key)}; "
                    "`rpicam-hello --list-cameras` lists them"
                )

    def _start(self) -> None:
        """Controls are set at every start, since libcamera forgets those of the last one."""
        with self._as_camera_error():
            self._camera.set_controls(self._controls)
            self._camera.start()

    def _end_loop(self) -> None:
        with suppress(RuntimeError):  # no loop runs after a restart that has failed half-way
            self._camera.stop_preview()

    def _completed(self) -> Any:
        """Returns a request that the caller must release; None where none has come yet. Raises as `read` does.

        The next call waits with the same job: an abandoned job would get a frame too, and nobody would release it.
        """
        if self._job is None:
            self._job = self._camera.capture_request(wait=False)
        try:
            request = self._camera.wait(self._job, timeout=self._wait_s)
        except TimeoutError:
            return None
        except CancelledError:
            self._job = None
            if self._closed.is_set():
                return None
            raise TimeoutError(f"{self.name}: waiting for a frame was given up") from None
        except _FAILURES as exc:
            self._job = None
            raise CameraError(open_failure(exc, self.name, self._dev)) from None
        self._job = None
        return request

    def _as_camera_error(self) -> AbstractContextManager[None]:
        return _as_camera_error(self.name, self._dev)

    def _frame(self, request: Any) -> Frame:
        metadata = request.get_metadata()
        planes = request.make_array("lores")
        image = luma(planes, self.lores_wh) if self._gray else unpadded(planes, self.lores_wh)
        full = request.make_array("main") if self.wants_full else None
        age_ns, exposure_us = age(metadata)
        index, self._index = self._index, self._index + 1
        return Frame(
            image=image,
            order="gray" if self._gray else "i420",
            index=index,
            captured_mono_ns=time.monotonic_ns() - age_ns,
            captured_us=wall_us() - age_ns // 1000,
            field_wh=self.main_wh,
            full=full,
            exposure_us=exposure_us,
        )


def lores_wh(main_wh: tuple[int, int], model: ModelInput) -> tuple[int, int]:
    """Returns the size of the part of the model's input that a frame fills, in pixels.

    The numbers are even, as libcamera wants them, and never larger than those of the frame.
    """
    w, h = FrameMap.fit(main_wh, model.size_wh, model.resize).resized_wh
    return min(main_wh[0], w + w % 2), min(main_wh[1], h + h % 2)


def luma(planes: U8, size_wh: tuple[int, int]) -> U8:
    """Returns the luma (H, W) of a YUV420 picture. planes: (H * 3 / 2, stride), as picamera2 gives them."""
    return np.ascontiguousarray(planes[: size_wh[1], : size_wh[0]])


def unpadded(planes: U8, size_wh: tuple[int, int]) -> U8:
    """Returns I420 (H * 3 / 2, W) of a YUV420 picture, without the padding of its rows.

    planes: (H * 3 / 2, stride), as picamera2 gives them; the rows of U and V are half as long.
    """
    (w, h), stride = size_wh, planes.shape[1]
    if stride == w:
        return planes
    colours = planes[h:].reshape(h, stride // 2)[:, : w // 2]
    return np.concatenate([planes[:h, :w], colours.reshape(h // 2, w)])


def age(metadata: dict[str, Any]) -> tuple[int, int | None]:
    """Computes age and exposure of a frame.

    The sensor sends a row when its exposure is over, and the stamp is taken when the first row comes (picamera2#821).
    libcamera defines the stamp on CLOCK_BOOTTIME, but kernel drivers take CLOCK_MONOTONIC. The two differ once the
    machine has slept.

    Returns:
        The time since the middle of the exposure of the first row in ns, 0 where it is unknown; and the length of the
        exposure in us.
    """
    stamp, exposure_us = metadata.get("SensorTimestamp"), metadata.get("ExposureTime")
    if stamp is not None:
        for clock in (time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC):
            since_ns = time.clock_gettime_ns(clock) - stamp
            if 0 <= since_ns < _OLDEST_NS:
                return since_ns + (exposure_us or 0) * 500, exposure_us
    return 0, exposure_us


def _import() -> tuple[Any, Any]:
    """Imports picamera2 and libcamera. Raises CameraError."""
    # Both log at great length what one line of ours says.
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:WARN")
    logging.getLogger("picamera2").setLevel(logging.CRITICAL)
    try:
        return importlib.import_module("picamera2"), importlib.import_module("libcamera")
    except (ImportError, ValueError) as exc:
        raise CameraError(import_failure(exc)) from None


def _open(kind: Any, which: int | str, dev: Path) -> tuple[Any, str]:
    """Returns a Picamera2 and the name of its sensor. Raises CameraError and ConfigError."""
    if problem := no_permission(dev):
        raise CameraError(problem)
    with _as_camera_error("Camera Module", dev):
        cameras = kind.global_camera_info()
    number = _number(which, cameras)
    name = str(cameras[number].get("Model", which))
    with _as_camera_error(name, dev):
        return kind(number), name


def _number(which: int | str, cameras: list[dict[str, Any]]) -> int:
    """Raises CameraError where there is no such camera, ConfigError where several fit or it is of another kind."""
    if not cameras:
        raise CameraError(NO_CAMERA)
    names = [(str(camera.get("Model")), str(camera["Id"])) for camera in cameras]
    if isinstance(which, str):
        found = [number for number, name in enumerate(names) if which in name[0] or which in name[1]]
    else:
        found = [which] if 0 <= which < len(cameras) else []
    if len(found) != 1:
        there = ", ".join(f"{number} {model} ({path})" for number, (model, path) in enumerate(names))
        kind = ConfigError if found else CameraError
        raise kind(f"camera.which: {which!r} fits {'several cameras' if found else 'no camera'}; there are: {there}")
    if "/usb" in names[found[0]][1]:
        raise ConfigError(f"camera.which: {names[found[0]][0]} is a USB camera; set camera.source: usb")
    return found[0]


@contextmanager
def _as_camera_error(name: str, dev: Path) -> Iterator[None]:
    """Turns what picamera2 and libcamera raise into a CameraError in words."""
    try:
        yield
    except _FAILURES as exc:
        raise CameraError(open_failure(exc, name, dev)) from None


def _by(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"
