"""A fake picamera2 that misbehaves as the real one does.

Two things were read for it: the sources of picamera2 0.3.36 and 0.3.38, and what was measured with them on libcamera's
virtual camera (tests/rig). Each behaviour says where it is from: "source" is the former, "rig" the latter. What the
application's thread may call has the real one's signatures: tests/camera/test_picamera2_contract.py compares them.
"""

from __future__ import annotations

import atexit
import logging
import mmap
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import cv2
import numpy as np

IMX219 = "/base/soc/i2c0mux/i2c@1/imx219@10"
USB = "/base/scb/pcie@7d500000/pci@0,0/usb@0,0-1:1.0-046d:0825"
PADDING = 0xAA  # what lies behind the pixels of a row
BUSY = "Failed to acquire camera: Device or resource busy"  # rig: what libcamera's acquire() raises
NOT_COMPLETE = "Camera __init__ sequence did not complete."  # source: what __init__ makes of anything

# What an IMX219 on a Pi offers, once configured: (least, most, default).
CONTROLS: dict[str, tuple[Any, Any, Any]] = {
    "AeEnable": (False, True, True),
    "AnalogueGain": (1.0, 10.67, 1.0),
    "AwbEnable": (False, True, None),
    "Brightness": (-1.0, 1.0, 0.0),
    "ColourGains": (0.0, 32.0, None),
    "ExposureTime": (75, 11766829, 20000),
    "FrameDurationLimits": (24307, 11767556, None),
    "NoiseReductionMode": (0, 4, 0),
    "ScalerCrop": ((0, 0, 128, 128), (0, 0, 3280, 2464), (0, 0, 3280, 2464)),
}
MODES = ((640, 480), (1640, 1232), (1920, 1080), (3280, 2464))  # of ten bits each


@dataclass
class Hardware:
    """The machine: what is plugged in, how it behaves, and what became of it.

    scene: the picture (H, W, 3), BGR, of a frame number; without one, frames have their number in their first pixels.
    adjusted: sizes that libcamera gives instead of those asked for, by stream. lazy: no frame is made before somebody
    waits for one, so that a million take a minute. delay_s: from the end of a frame's exposure to its completion.
    hardware_timeout_s: how long libcamera waits for a free buffer before it takes the camera for dead."""

    version: str = "0.3.38"
    pisp: bool = True
    cameras: tuple[tuple[str, str], ...] = (("imx219", IMX219),)
    controls: dict[str, tuple[Any, Any, Any]] = field(default_factory=lambda: dict(CONTROLS))
    scene: Callable[[int], np.ndarray] | None = None
    adjusted: dict[str, tuple[int, int]] = field(default_factory=dict)
    opening: BaseException | None = None  # raised by acquire()
    lazy: bool = False
    delay_s: float = 0.02
    exposure_us: int | None = 8000
    hardware_timeout_s: float = 1.0
    silent: bool = False  # no frames from now on, and no error either, until it is started again
    in_use: set[int] = field(default_factory=set)
    made: list[Picamera2] = field(default_factory=list)
    started_with: list[dict[str, Any]] = field(default_factory=list)

    @property
    def camera(self) -> Picamera2:
        return self.made[-1]


def install(monkeypatch: Any, hardware: Hardware) -> Hardware:
    """From here on `import picamera2` gives this fake, on that hardware."""
    picamera2, libcamera = ModuleType("picamera2"), ModuleType("libcamera")
    picamera2.Picamera2 = type("Picamera2", (Picamera2,), {"hardware": hardware})  # type: ignore[attr-defined]
    libcamera.Transform, libcamera.ColorSpace = Transform, ColorSpace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", picamera2)
    monkeypatch.setitem(sys.modules, "libcamera", libcamera)
    return hardware


class Transform:
    def __init__(self, hflip: int = 0, vflip: int = 0) -> None:
        self.hflip, self.vflip = bool(hflip), bool(vflip)


@dataclass(frozen=True)
class ColorSpace:
    """Of those a Pi knows; all streams share it, and RGB is full range in each (source: rpi/common/pipeline_base)."""

    name: str
    full_range: bool

    @staticmethod
    def Sycc() -> ColorSpace:
        return ColorSpace("sYCC", True)

    @staticmethod
    def Smpte170m() -> ColorSpace:
        return ColorSpace("SMPTE170M", False)


class Job:
    """Source: one operation for the event loop; it stays in the list until a frame lets it finish, whoever waits."""

    def __init__(self, functions: list[Callable[[], tuple[bool, Any]]], signal_function: Any = None) -> None:
        self._functions, self._signal_function = list(functions), signal_function
        self._future: Future[Any] = Future()
        self._future.set_running_or_notify_cancel()
        self._result: Any = None

    def execute(self) -> bool:
        try:
            while self._functions:
                done, result = self._functions[0]()
                if not done:
                    return False
                self._functions.pop(0)
                self._result = result
        except Exception as exc:
            self._future.set_exception(exc)
            self._functions = []
        return True

    def signal(self) -> None:
        if not self._future.done():
            self._future.set_result(self._result)
        if self._signal_function:
            self._signal_function(self)

    def get_result(self, timeout: float | None = None) -> Any:
        return self._future.result(timeout=timeout)

    def cancel(self) -> None:
        self._future.set_exception(CancelledError())


class Buffer:
    """Real memory behind a real descriptor, so that leaks of either can be seen, and a kept view makes close fail."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.fd = os.memfd_create("fake-dmabuf")
        os.ftruncate(self.fd, config["framesize"])
        self.memory = mmap.mmap(self.fd, config["framesize"])
        self.memory[:] = bytes([PADDING]) * config["framesize"]

    def close(self) -> None:
        self.memory.close()
        os.close(self.fd)


class CompletedRequest:
    """Source: counted references; the last release gives the buffers back, once more is an error. No `__del__`: who
    forgets one has lost its buffers."""

    def __init__(self, picam2: Picamera2, buffers: dict[str, Buffer], metadata: dict[str, Any]) -> None:
        self.picam2, self.buffers, self._metadata = picam2, buffers, metadata
        self.ref_count = 1
        self.stop_count = picam2.stop_count
        self.config = picam2.camera_config

    def acquire(self) -> None:
        with self.picam2.request_lock:
            if self.ref_count == 0:
                raise RuntimeError("CompletedRequest: acquiring lock with ref_count 0")
            self.ref_count += 1

    def release(self) -> None:
        with self.picam2.request_lock:
            self.ref_count -= 1
            if self.ref_count < 0:
                raise RuntimeError("CompletedRequest: lock now has negative ref_count")
            if self.ref_count == 0 and self.picam2.started and self.stop_count == self.picam2.stop_count:
                self.picam2.free.append(self.buffers)

    def get_metadata(self) -> dict[str, Any]:
        return dict(self._metadata)

    def make_array(self, name: str) -> np.ndarray:
        """A copy. Source: padding is sliced off RGB and stays with YUV420, which is (h * 3 / 2, stride)."""
        config = self.config[name]
        (w, h), stride = config["size"], config["stride"]
        array = np.frombuffer(self.buffers[name].memory, np.uint8)
        if config["format"] == "YUV420":
            return array.reshape(h * 3 // 2, stride).copy()
        return array.reshape(h, stride)[:, : w * 3].reshape(h, w, 3).copy()


class Picamera2:
    hardware: Hardware

    @staticmethod
    def _align_stream(stream_config: dict[str, Any]) -> None:
        w, h = stream_config["size"]
        stream_config["size"] = (w - w % 2, h - h % 2)

    @classmethod
    def global_camera_info(cls) -> list[dict[str, Any]]:
        return [
            {"Model": model, "Location": 2, "Rotation": 180, "Id": place, "Num": number}
            for number, (model, place) in enumerate(cls.hardware.cameras)
        ]

    def __init__(
        self, camera_num: int = 0, verbose_console: Any = None, tuning: Any = None, allocator: Any = None
    ) -> None:
        """Source: the camera is opened and acquired here."""
        hardware = self.hardware
        self.notify = os.pipe2(os.O_NONBLOCK)
        self._preview: threading.Thread | None = None
        self.is_open = self.started = False
        try:
            self._acquire(camera_num)
        except BaseException:
            for fd in self.notify:  # the real one loses the second; that is not what is tested here
                os.close(fd)
            raise
        self.camera_idx = camera_num
        hardware.in_use.add(camera_num)
        hardware.made.append(self)
        self.is_open = True
        self.lock = threading.Lock()  # of _job_list and completed_requests
        self.request_lock = threading.Lock()
        self._wake = threading.Condition(self.lock)
        self._abort = self._prodded = self.loop_died = False
        self._job_list: list[Job] = []
        self.completed_requests: list[CompletedRequest] = []
        self.free: deque[dict[str, Buffer]] = deque()
        self._buffers: list[dict[str, Buffer]] = []
        self.camera_config: dict[str, Any] = {}
        self._controls: dict[str, Any] = {}
        self.pre_callback: Callable[[CompletedRequest], None] | None = None
        self.stop_count = self.frames = self.silent_turns = 0
        self.timed_out = False
        self._starved_since: float | None = None
        atexit.register(self.close)

    def _acquire(self, camera_num: int) -> None:
        """Source: of no camera, 0.3.36 raises a bare IndexError; all else is one RuntimeError with a cause."""
        hardware = self.hardware
        if camera_num >= len(hardware.cameras):
            if hardware.version == "0.3.36":
                raise IndexError("list index out of range")
            hint = 'use "rpicam-hello --list-cameras" to check connected cameras'
            raise RuntimeError(f"No camera number {camera_num} found - {hint}")
        trouble = RuntimeError(BUSY) if camera_num in hardware.in_use else hardware.opening
        if isinstance(trouble, RuntimeError):
            raise RuntimeError(NOT_COMPLETE) from trouble  # noqa: TRY004  as the real one does
        if trouble is not None:
            raise trouble

    # --- configuration

    @property
    def camera_controls(self) -> dict[str, tuple[Any, Any, Any]]:
        return dict(self.hardware.controls)

    def create_video_configuration(
        self,
        main: Any = {},  # noqa: B006  the real one's
        lores: Any = None,
        raw: Any = {},  # noqa: B006
        transform: Any = None,
        colour_space: Any = None,
        buffer_count: int = 6,
        controls: Any = {},  # noqa: B006
        display: Any = "main",
        encode: Any = "main",
        queue: bool = True,
        sensor: Any = {},  # noqa: B006
        use_case: str = "video",
    ) -> dict[str, Any]:
        streams = {"main": main, "lores": lores}
        made = {}
        for name, defaults in (
            ("main", {"format": "XBGR8888", "size": (1280, 720), "preserve_ar": True}),
            ("lores", {"format": "YUV420", "size": (1280, 720), "preserve_ar": False}),
        ):
            for key in streams[name]:
                if key not in {"format", "size", "stride", "preserve_ar"}:
                    raise ValueError(f"Bad key {key!r}: valid stream configuration keys are ...")
            made[name] = {**defaults, **streams[name]}
            self._align_stream(made[name])
        return {
            **made,
            "raw": raw,
            "transform": transform,
            "colour_space": colour_space,
            "buffer_count": buffer_count,
            "controls": {"NoiseReductionMode": 1, "FrameDurationLimits": (33333, 33333)} | controls,
            "queue": queue,
            "sensor": sensor,
            "use_case": use_case,
        }

    def configure(self, camera_config: Any = None) -> None:
        """Source: what is wrong is a RuntimeError; sizes, strides and the mode are adjusted, and only a log says so."""
        if self.started:
            raise RuntimeError("Camera must be stopped before configuring")
        config = {**camera_config, "main": dict(camera_config["main"]), "lores": dict(camera_config["lores"])}
        for name in ("main", "lores"):
            size = config[name]["size"]
            if type(size) is not tuple or len(size) != 2:
                raise RuntimeError(f"size in {name} stream should be (width, height)")
            if size[0] % 2 or size[1] % 2:
                raise RuntimeError("width and height should be even")
        if any(small > large for small, large in zip(config["lores"]["size"], config["main"]["size"], strict=True)):
            raise RuntimeError("lores stream dimensions may not exceed main stream")
        if not self.hardware.pisp and config["lores"]["format"] != "YUV420":
            raise RuntimeError("lores stream must be YUV")
        config["sensor"] = self._mode(config)
        for name in ("main", "lores"):
            config[name]["size"] = self.hardware.adjusted.get(name, config[name]["size"])
            self._lay_out(config[name])
        self._close_buffers()
        self._buffers = [
            {name: Buffer(config[name]) for name in ("main", "lores")} for _ in range(config["buffer_count"])
        ]
        self.camera_config = config
        self._max_queue_len = 1 if config["queue"] and config["buffer_count"] > 1 else 0
        self._controls = {}
        self.set_controls(config["controls"])

    def _mode(self, config: dict[str, Any]) -> dict[str, Any]:
        wanted = config["sensor"].get("output_size") or config["main"]["size"]
        nearest = min(MODES, key=lambda size: abs(size[0] - wanted[0]) + abs(size[1] - wanted[1]))
        return {"output_size": nearest, "bit_depth": 10}

    def _lay_out(self, stream: dict[str, Any]) -> None:
        """Source: rows are padded to 64 bytes, of a Pi 4 to 32, of planes to twice that."""
        (w, h), align = stream["size"], 64 if self.hardware.pisp else 32
        planes = stream["format"] == "YUV420"
        align, row, rows = (2 * align, w, h * 3 // 2) if planes else (align, w * 3, h)
        stream["stride"] = -(-row // align) * align
        stream["framesize"] = stream["stride"] * rows

    def camera_configuration(self) -> dict[str, Any]:
        return self.camera_config

    def stream_configuration(self, name: str = "main") -> dict[str, Any]:
        return self.camera_config[name]

    def set_controls(self, controls: dict[str, Any]) -> None:
        """Source: ride on the next start, or on the next request that is released; unknown ones are an error."""
        for name, value in controls.items():
            if name not in self.hardware.controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
            self._controls[name] = value

    # --- running

    def start(self, config: Any = None, show_preview: Any = False) -> None:
        if not self.camera_config:
            raise RuntimeError("Camera has not been configured")
        if self._preview is None:
            self.start_preview()
        if self.started:
            return
        self.hardware.started_with.append(self._controls)
        duration_us = self._controls.get("FrameDurationLimits", (33333, 33333))[0]
        self._controls = {}  # source: a second start gets none of them
        self._period_s = duration_us / 1e6
        self.timed_out, self._starved_since = False, None
        self.hardware.silent = False
        with self.request_lock:
            self.free = deque(self._buffers)  # source: requests are made anew, so lost buffers come back
            self.started = True
        self._prod()

    def start_preview(self, preview: Any = None, **kwargs: Any) -> None:
        self._abort = self.loop_died = False
        self._preview = threading.Thread(target=self._run_loop, daemon=True, name="fake-picamera2")
        self._preview.start()

    def stop_preview(self) -> None:
        if self._preview is None:
            raise RuntimeError("No preview specified.")
        self._abort = True
        self._prod()
        self._preview.join()
        self._preview = None

    def stop(self) -> None:
        """Source: with an event loop this is a job for it, behind all others: it hangs behind a job that waits for a
        frame that never comes, and when the loop's thread has died."""
        if not self.started:
            return
        if self._preview is not None:
            self.dispatch_functions([self.stop_], wait=True, immediate=True)
        else:
            self.stop_()

    def stop_(self, request: Any = None) -> tuple[bool, None]:
        with self.request_lock:
            self.stop_count += 1
            self.started = False
        while self.completed_requests:
            self.completed_requests.pop(0).release()
        return True, None

    def close(self) -> None:
        """Source: ends the loop before it stops, so it works also when the loop's thread has died. Twice is fine."""
        atexit.unregister(self.close)
        if self._preview is not None:
            self.stop_preview()
        if not self.is_open:
            return
        self.stop()
        self.is_open = False
        self.hardware.in_use.discard(self.camera_idx)
        self._close_buffers()
        for fd in self.notify:
            os.close(fd)

    def _close_buffers(self) -> None:
        for buffer in (buffer for buffers in self._buffers for buffer in buffers.values()):
            buffer.close()
        self._buffers = []

    @property
    def held(self) -> int:
        """How many buffers the application has."""
        with self.lock, self.request_lock:
            return len(self._buffers) - len(self.free) - len(self.completed_requests)

    # --- what the application waits for

    def cancel_all_and_flush(self) -> None:
        with self.lock:
            for job in self._job_list:
                job.cancel()
            self._job_list = []

    def capture_request(self, wait: Any = None, signal_function: Any = None, flush: Any = None) -> Any:
        """Source: with a queue the last frame comes at once. A wait that times out leaves its job in the list, where
        it will be given a frame that nobody releases (rig: three of those, and the camera stands still for good)."""
        return self.dispatch_functions([self.capture_request_], wait, signal_function)

    def capture_request_(self) -> tuple[bool, Any]:
        if not self.completed_requests:
            return False, None
        return True, self.completed_requests.pop(0)

    def wait(self, job: Job, timeout: float | None = None) -> Any:
        return job.get_result(timeout=timeout)

    def dispatch_functions(
        self, functions: list[Any], wait: Any, signal_function: Any = None, immediate: bool = False
    ) -> Any:
        if wait is None:
            wait = signal_function is None
        job = Job(functions, signal_function)
        with self.lock:  # source: a callback that captures waits for ever, since its thread holds this
            only_job = not self._job_list
            self._job_list.append(job)
            if only_job and (self.completed_requests or immediate or self.hardware.lazy):
                self._prodded = True
                self._wake.notify_all()
        return job.get_result(timeout=None if wait is True else wait) if wait else job

    # --- the event loop

    def _prod(self) -> None:
        with self.lock:
            self._prodded = True
            self._wake.notify_all()

    def _run_loop(self) -> None:
        """Source: the thread of the null preview. An exception in a callback ends it, and nobody else notices."""
        due = time.monotonic()
        while not self._abort:
            with self.lock:
                if not self._prodded:
                    self._wake.wait(
                        max(0.0, due - time.monotonic()) if self.started and not self.hardware.lazy else 0.2
                    )
                self._prodded = False
            new = []
            if self.hardware.lazy or time.monotonic() >= due:
                due = max(due + getattr(self, "_period_s", 0.0), time.monotonic())
                new = self._expose()
            try:
                self._process_requests(new)
            except Exception:
                self.loop_died = True
                return

    def _expose(self) -> list[CompletedRequest]:
        """The next frame; none while silent, stopped, or while the application has all buffers: after a second of
        that libcamera takes the camera for dead, until it is started again (libcamera#139)."""
        if self.hardware.silent:
            self.silent_turns += 1
        if not self.started or self.hardware.silent or self.timed_out:
            return []
        if self.hardware.lazy and not self._job_list:
            return []
        with self.request_lock:
            buffers = self.free.popleft() if self.free else None
        if buffers is None:
            now = time.monotonic()
            self._starved_since = self._starved_since or now
            if now - self._starved_since > self.hardware.hardware_timeout_s:
                self.timed_out = True
                logging.getLogger("libcamera").error("Dequeue timer of 1000000.00us has expired!")
            return []
        self._starved_since = None
        number, self.frames = self.frames, self.frames + 1
        self._draw(number, buffers)
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        metadata = {"SensorTimestamp": now_ns - int(self.hardware.delay_s * 1e9), "FrameNumber": number}
        if self.hardware.exposure_us is not None:
            metadata["ExposureTime"] = self.hardware.exposure_us
        return [CompletedRequest(self, buffers, metadata)]

    def _process_requests(self, requests: list[CompletedRequest]) -> None:
        finished = []
        with self.lock:
            self.completed_requests += requests
            for request in requests:
                if self.pre_callback:
                    self.pre_callback(request)
            while self._job_list and self._job_list[0].execute():
                finished.append(self._job_list.pop(0))
            while len(self.completed_requests) > getattr(self, "_max_queue_len", 1):
                self.completed_requests.pop(0).release()
        for job in finished:
            job.signal()

    # --- pictures

    def _draw(self, number: int, buffers: dict[str, Buffer]) -> None:
        if self.hardware.scene is None:
            for buffer in buffers.values():
                buffer.memory[:4] = number.to_bytes(4, "little")
            return
        transform, config = self.camera_config["transform"], self.camera_config
        scene = self.hardware.scene(number)
        scene = scene[:: -1 if transform.vflip else 1, :: -1 if transform.hflip else 1]
        # Both streams show the same field, however their aspects differ (source: preserve_ar is False of lores).
        main, lores = (
            cv2.resize(scene, config[name]["size"], interpolation=cv2.INTER_AREA) for name in ("main", "lores")
        )
        _write(buffers["main"].memory, main.reshape(main.shape[0], -1), config["main"]["stride"], 0)
        stride = config["lores"]["stride"]
        y, u, v = planes_of(lores, full_range=config["colour_space"].full_range)
        offset = _write(buffers["lores"].memory, y, stride, 0)
        for plane in (u, v):
            offset = _write(buffers["lores"].memory, plane, stride // 2, offset)


def planes_of(bgr: np.ndarray, *, full_range: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BT.601 as its definition says: Y (H, W), U and V (H / 2, W / 2)."""
    blue, green, red = np.moveaxis(bgr.astype(np.float64), 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    colours = [(blue - luma) / 1.772, (red - luma) / 1.402]
    h, w = luma.shape
    colours = [colour.reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3)) for colour in colours]
    if not full_range:
        luma, colours = 16 + luma * 219 / 255, [colour * 224 / 255 for colour in colours]
    return tuple(np.clip(np.rint(p), 0, 255).astype(np.uint8) for p in (luma, colours[0] + 128, colours[1] + 128))


def _write(memory: mmap.mmap, rows: np.ndarray, stride: int, offset: int) -> int:
    """Rows into memory, the padding behind them as it is; returns where they end."""
    view = np.frombuffer(memory, np.uint8)[offset : offset + stride * len(rows)].reshape(len(rows), stride)
    view[:, : rows.shape[1]] = rows
    return offset + stride * len(rows)
