"""What picamera2 0.3.38 and the virtual pipeline handler of libcamera 0.4.0 need to get along.

Real stay libcamera's Camera, Request and FrameBuffer with their life cycle, its frames (NV12 in dma-bufs) and its
SensorTimestamp, and picamera2's configuration, event loop, requests, jobs and callbacks. Replaced is:

1. the raw role: the virtual camera has none; asked for it, it offers its NV12 mode, as USB cameras do.
2. frame metadata: 0.4.0's handler never fills it in. Its status is uninitialised memory, so picamera2 takes most
   frames for bad ones, or libcamera's requests for cancelled; and bytes_used is 0. Reported are success and the length.
3. pacing: the handler completes a request as soon as it is queued; here one goes to it per frame period, as set.
4. one user: pipelines of real cameras lock /dev/media* while a camera is acquired, so that another process is told
   that it is busy. The virtual camera has no such device; a plain file of that name is locked.
5. controls that a Pi has and this camera lacks are accepted, with a log line; PICAMERA2_VIRTUAL_STRICT=1: they fail.
6. buffers: the pipeline writes two planes, picamera2's allocator makes one.
7. formats and sizes: only NV12 in the size of virtual.yaml exists. RGB888, BGR888, XRGB8888, XBGR8888, YUV420, YVU420,
   NV12 and NV21 of any size are cropped, scaled and converted by libyuv, libcamera's own dependency, into a second
   buffer the first time somebody looks at the frame. Strides are padded as on a Pi.

JPEG files are full-range BT.601, libcamera's test patterns limited-range.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import mmap
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import libcamera as lc
import numpy as np
import picamera2.controls as controls_module
import picamera2.picamera2 as pc
from picamera2.allocators import DmaAllocator
from picamera2.platform import Platform

log = logging.getLogger("picamera2.virtual")
MEDIA_DEVICE = Path("/dev/media0")
YAML = Path("/usr/share/libcamera/pipeline/virtual/virtual.yaml")
LIMITS = lc.controls.FrameDurationLimits
FULL_RANGE = not (YAML.exists() and "test_pattern:" in YAML.read_text(encoding="utf-8"))
PLANAR = ("YUV420", "YVU420", "NV12", "NV21")


def apply() -> None:
    _patch_roles()
    _patch_metadata()
    _patch_pacing()
    _patch_locking()
    if os.environ.get("PICAMERA2_VIRTUAL_STRICT", "0") != "1":
        _patch_controls()
    pc.DmaAllocator = VirtualAllocator
    _patch_configuration()


def is_virtual(camera: Any) -> bool:
    return camera is not None and camera.id.startswith("Virtual")


# --- 1. roles


def _patch_roles() -> None:
    generate = lc.Camera.generate_configuration

    def generate_configuration(self: Any, roles: list[Any]) -> Any:
        if is_virtual(self):
            roles = [lc.StreamRole.VideoRecording if role == lc.StreamRole.Raw else role for role in roles]
        return generate(self, roles)

    lc.Camera.generate_configuration = generate_configuration


# --- 2. metadata


def _patch_metadata() -> None:
    frame_metadata, request_status = lc.FrameBuffer.metadata.fget, lc.Request.status.fget

    def metadata(self: Any) -> Any:
        found = frame_metadata(self)
        if any(plane.bytes_used for plane in found.planes):  # a libcamera that does fill it in
            return found
        planes = [SimpleNamespace(bytes_used=plane.length) for plane in self.planes]
        return SimpleNamespace(status=lc.FrameMetadata.Status.Success, sequence=0, timestamp=0, planes=planes)

    def status(self: Any) -> Any:
        found = request_status(self)
        return lc.Request.Status.Complete if found == lc.Request.Status.Cancelled and _pacers else found

    lc.FrameBuffer.metadata = property(metadata)
    lc.Request.status = property(status)


# --- 3. pacing


class Pacer(threading.Thread):
    """queue: gives a request to libcamera, which completes it at once."""

    def __init__(self, queue: Callable[[Any], None], fastest_us: int, asked_us: int) -> None:
        super().__init__(daemon=True, name="virtual-sensor")
        self._queue, self._fastest_us, self._waiting, self._on = queue, fastest_us, [], True  # type: ignore[var-annotated]
        self._changed = threading.Condition()
        self.set_period(asked_us)

    def set_period(self, microseconds: int) -> None:
        self._period_s = max(self._fastest_us, microseconds) / 1e6

    def run(self) -> None:
        due = time.monotonic()
        while True:
            with self._changed:
                due = max(due + self._period_s, time.monotonic())
                while self._on and (not self._waiting or time.monotonic() < due):
                    self._changed.wait(max(due - time.monotonic(), 0) if self._waiting else None)
                if not self._on:
                    return
                self._queue(self._waiting.pop(0))

    def put(self, request: Any) -> None:
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._on = False
            self._changed.notify()
        self.join()


_pacers: dict[str, Pacer] = {}  # of running cameras


def _patch_pacing() -> None:
    queue, start, stop, set_control = lc.Camera.queue_request, lc.Camera.start, lc.Camera.stop, lc.Request.set_control

    def paced_queue(self: Any, request: Any) -> Any:
        pacer = _pacers.get(self.id)
        return pacer.put(request) if pacer else queue(self, request)

    def paced_start(self: Any, controls: Any = None) -> Any:
        controls = controls or {}
        result = start(self, controls)
        if is_virtual(self):
            fastest = next((info.min for key, info in self.controls.items() if key.name == LIMITS.name), 33333)
            asked = next((value[0] for key, value in controls.items() if key.name == LIMITS.name), 0)
            _pacers[self.id] = Pacer(lambda request: queue(self, request), fastest, asked)
            _pacers[self.id].start()
        return result

    def paced_stop(self: Any) -> Any:
        pacer = _pacers.pop(self.id, None)
        if pacer:
            pacer.end()
        return stop(self)

    def paced_control(self: Any, control: Any, value: Any) -> Any:
        if control.name == LIMITS.name:
            for pacer in _pacers.values():
                pacer.set_period(value[0])
        return set_control(self, control, value)

    lc.Camera.queue_request, lc.Camera.start, lc.Camera.stop = paced_queue, paced_start, paced_stop
    lc.Request.set_control = paced_control


# --- 4. one user


def _patch_locking() -> None:
    acquire, release, locks = lc.Camera.acquire, lc.Camera.release, {}  # type: ignore[var-annotated]

    def locked_acquire(self: Any) -> Any:
        # Of a camera that this process has, libcamera itself says so; and closing the file would give up the lock.
        if is_virtual(self) and MEDIA_DEVICE.exists() and self.id not in locks:
            fd = os.open(MEDIA_DEVICE, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                raise RuntimeError("Failed to acquire camera: Device or resource busy") from None
            locks[self.id] = fd
        return acquire(self)

    def locked_release(self: Any) -> Any:
        if self.id in locks:
            os.close(locks.pop(self.id))
        return release(self)

    lc.Camera.acquire, lc.Camera.release = locked_acquire, locked_release


# --- 5. controls


def _patch_controls() -> None:
    kind = controls_module.Controls
    set_attribute = kind.__setattr__

    def set_known(self: Any, name: str, value: Any) -> None:
        of_libcamera = hasattr(lc.controls, name) or hasattr(lc.controls.draft, name)
        plain = not name.startswith("_") and name not in kind._VIRTUAL_FIELDS_MAP_
        if plain and of_libcamera and name not in self._picam2.camera_ctrl_info and is_virtual(self._picam2.camera):
            log.info("control %s ignored: the virtual camera has none", name)
        else:
            set_attribute(self, name, value)

    kind.__setattr__ = set_known


# --- 6. and 7. buffers, formats and sizes


def _load_libyuv() -> Any:
    """p: an address, i: a number."""
    yuv = ctypes.CDLL("libyuv.so.0")
    kinds = {"p": ctypes.c_void_p, "i": ctypes.c_int}
    for name, parameters in (
        ("NV12Scale", "pipiiipipiiii"),
        ("NV12Copy", "pipipipiii"),
        ("NV12ToI420", "pipipipipiii"),
        ("NV12ToARGBMatrix", "pipipipii"),
        ("NV21ToARGBMatrix", "pipipipii"),
        ("NV12ToRGB24Matrix", "pipipipii"),
        ("NV21ToRGB24Matrix", "pipipipii"),
        ("ARGBToNV12", "pipipiii"),
    ):
        getattr(yuv, name).argtypes = [kinds[letter] for letter in parameters]
    return yuv


_yuv = _load_libyuv()
_source = "JPEG" if FULL_RANGE else "I601"
_yuv_constants = ctypes.addressof(ctypes.c_char.in_dll(_yuv, f"kYuv{_source}Constants"))
_yvu_constants = ctypes.addressof(ctypes.c_char.in_dll(_yuv, f"kYvu{_source}Constants"))
TO_RGB = {  # function, constants, bytes of a pixel
    "XRGB8888": (_yuv.NV12ToARGBMatrix, _yuv_constants, 4),
    "XBGR8888": (_yuv.NV21ToARGBMatrix, _yvu_constants, 4),
    "RGB888": (_yuv.NV12ToRGB24Matrix, _yuv_constants, 3),
    "BGR888": (_yuv.NV21ToRGB24Matrix, _yvu_constants, 3),
}


def layout(cfg: dict[str, Any]) -> tuple[int, float]:
    """(stride, rows for each row of pixels) that the application will see, padded as a Pi pads them."""
    align = 32 if pc.Picamera2.platform == Platform.VC4 else 64
    name, width = cfg["format"], cfg["size"][0]
    if name in TO_RGB:
        row, rows = width * TO_RGB[name][2], 1.0
    elif name in PLANAR:
        row, rows, align = width, 1.5, align * (2 if name in {"YUV420", "YVU420"} else 1)
    else:
        raise RuntimeError(f"picamera2_virtual: format {name} is not among {tuple(TO_RGB) + PLANAR}")
    return max(-(-row // align) * align, cfg.get("stride") or 0), rows


class View:
    """The buffer that the application sees instead of the camera's NV12 one. crop: (x, y, w, h) of it."""

    def __init__(self, nv12: mmap.mmap, real: Any, cfg: dict[str, Any], crop: list[int], limited: bool) -> None:
        self.nv12, self.cfg, self.crop, self.limited = nv12, cfg, crop, limited
        self.rows, self.stride = real.size.height, real.stride
        self.memory = mmap.mmap(-1, cfg["framesize"])
        self.stale, self.lock = True, threading.Lock()

    def fill(self) -> None:
        # Both mappings are held only inside this function: an mmap with a hold on it cannot be closed.
        nv12, view = np.frombuffer(self.nv12, np.uint8), np.frombuffer(self.memory, np.uint8)
        (x, y, w, h), size = self.crop, self.cfg["size"]
        at_y = nv12.ctypes.data + y * self.stride + x
        at_uv = nv12.ctypes.data + (self.rows + y // 2) * self.stride + x
        planes, kept = (at_y, self.stride, at_uv, self.stride), []
        if (w, h) != size:
            kept.append(np.empty(size[0] * size[1] * 3 // 2, np.uint8))
            planes = _scaled(planes, (w, h), kept[0], size)
        if self.cfg["format"] in TO_RGB:
            convert, constants, _ = TO_RGB[self.cfg["format"]]
            convert(*planes, view.ctypes.data, self.cfg["stride"], constants, *size)
            return
        if self.limited:  # full-range pictures, and a limited-range colour space was asked for
            kept.append(np.empty(size[0] * size[1] * 3 // 2, np.uint8))
            planes = _squeezed(planes, kept[-1], size)
        _lay_out(planes, view, self.cfg)


def _scaled(planes: Any, from_wh: tuple[int, int], into: Any, size: tuple[int, int]) -> Any:
    (w, h), box_filter = size, 3
    at = into.ctypes.data
    _yuv.NV12Scale(*planes, *from_wh, at, w, at + w * h, w, w, h, box_filter)
    return at, w, at + w * h, w


def _squeezed(planes: Any, into: Any, size: tuple[int, int]) -> Any:
    w, h = size
    argb, at = np.empty((h, w, 4), np.uint8), into.ctypes.data
    _yuv.NV12ToARGBMatrix(*planes, argb.ctypes.data, w * 4, _yuv_constants, w, h)
    _yuv.ARGBToNV12(argb.ctypes.data, w * 4, at, w, at + w * h, w, w, h)
    return at, w, at + w * h, w


def _lay_out(planes: Any, view: Any, cfg: dict[str, Any]) -> None:
    (w, h), stride, name, out = cfg["size"], cfg["stride"], cfg["format"], view.ctypes.data
    if name in {"NV12", "NV21"}:
        _yuv.NV12Copy(*planes, out, stride, out + stride * h, stride, w, h)
        if name == "NV21":
            colours = view[stride * h :].reshape(-1, 2)
            colours[:] = colours[:, ::-1].copy()
        return
    u, v = out + stride * h, out + stride * h + stride // 2 * (h // 2)
    u, v = (v, u) if name == "YVU420" else (u, v)
    _yuv.NV12ToI420(*planes, out, stride, u, stride // 2, v, stride // 2, w, h)


class ViewSync(DmaAllocator.DmaSync):
    def __init__(self, allocator: Any, fb: Any, write: bool) -> None:
        super().__init__(allocator, fb, write)
        self.view = allocator.views.get(fb)
        # CompletedRequest makes its own syncs before it acquires the buffers: a new frame.
        self.arrival = not allocator.mapped_buffers_used.get(fb.planes[0].fd, True)

    def __enter__(self) -> Any:
        memory = super().__enter__()
        if self.view is None:
            return memory
        with self.view.lock:
            if self.arrival:
                self.view.stale = True
            elif self.view.stale:
                self.view.fill()
                self.view.stale = False
        return self.view.memory


class VirtualAllocator(DmaAllocator):
    """asked: for each stream what the application wants, the crop, limited range or not, how many buffers; None: not a
    virtual camera."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] | None = None
        self.views: dict[Any, View] = {}
        self.sync = ViewSync

    def allocate(self, libcamera_config: Any, use_case: Any) -> None:
        if self.asked is None:
            super().allocate(libcamera_config, use_case)
            return
        self.libcamera_fds = []
        self.cleanup()
        for fd in self.open_fds:
            os.close(fd)
        self.frame_buffers, self.open_fds = {}, []
        self.views = {fb: view for fb, view in self.views.items() if fb in self.mapped_buffers}
        for real, asked in zip(libcamera_config, self.asked, strict=True):
            self.frame_buffers[real.stream] = [self._buffer(number, real, *asked[:3]) for number in range(asked[3])]

    def _buffer(self, number: int, real: Any, cfg: dict[str, Any], crop: list[int], limited: bool) -> Any:
        y_size = real.stride * real.size.height
        fd = self.dmaHeap.alloc(f"picamera2-{number}", real.frame_size).get()
        self.open_fds.append(fd)
        planes = [lc.FrameBuffer.Plane(), lc.FrameBuffer.Plane()]
        for plane, offset, length in zip(planes, (0, y_size), (y_size, real.frame_size - y_size), strict=True):
            plane.fd, plane.offset, plane.length = fd, offset, length
        fb = lc.FrameBuffer(planes)
        self.libcamera_fds.append(fb.planes[0].fd)
        self.mapped_buffers_used[fb.planes[0].fd] = False
        self.mapped_buffers[fb] = mmap.mmap(fd, real.frame_size)
        native = ("NV12", (real.size.width, real.size.height), real.stride)
        if limited or (cfg["format"], cfg["size"], cfg["stride"]) != native:
            self.views[fb] = View(self.mapped_buffers[fb], real, cfg, crop, limited)
        return fb


def _patch_configuration() -> None:
    update = pc.Picamera2._update_camera_config

    def update_camera_config(self: Any, camera_config: Any, libcamera_config: Any) -> None:
        names = [name for name in ("main", "lores") if camera_config.get(name) is not None]
        asked = {name: dict(camera_config[name]) for name in names}
        update(self, camera_config, libcamera_config)
        if not is_virtual(self.camera) or not isinstance(self.allocator, VirtualAllocator):
            return
        limited = FULL_RANGE and camera_config["colour_space"].range == lc.ColorSpace.Range.Limited
        self.allocator.asked, crop = [], None
        for index, name in enumerate(names):
            cfg, (w, h) = camera_config[name], asked[name]["size"]
            if crop is None or asked[name].get("preserve_ar"):
                crop = _crop(libcamera_config.at(index).size, w / h)
            cfg.update(asked[name], stride=asked[name].get("stride"))
            cfg["stride"], rows = layout(cfg)
            cfg["framesize"] = int(cfg["stride"] * h * rows)
            squeezed = limited and cfg["format"] in PLANAR
            self.allocator.asked.append((cfg, crop, squeezed, camera_config["buffer_count"]))

    pc.Picamera2._update_camera_config = update_camera_config


def _crop(real: Any, aspect: float) -> list[int]:
    """(x, y, w, h): what a Pi would choose of the sensor's picture for that aspect."""
    w, h = min(real.width, real.height * aspect), min(real.height, real.width / aspect)
    return [int(value) // 2 * 2 for value in ((real.width - w) / 2, (real.height - h) / 2, w, h)]
