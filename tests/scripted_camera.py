"""A camera that stops when the test says so, and that only the remedy which the test has chosen revives."""

from __future__ import annotations

import os
import threading
import time
from typing import Literal

import numpy as np

from edgepose.errors import CameraError
from edgepose.types import Frame

Remedy = Literal["flush", "restart", "reopen", "time", "none"]
STRONGER: dict[Remedy, tuple[Remedy, ...]] = {"restart": ("flush", "restart"), "reopen": ("flush", "restart", "reopen")}


class Device:
    """The device itself, of which several sources may be opened one after the other.

    Attributes:
        openings: number of openings; the other remedies and closings are counted too.
        made: number of frames of all its sources.
        impatient: True where a read without a frame raises TimeoutError instead of hanging.
    """

    def __init__(self, *, live: bool = True, rate_hz: float | None = None, period_s: float = 0.002) -> None:
        self.live, self.rate_hz, self.period_s = live, rate_hz, period_s
        self.openings = self.flushes = self.restarts = self.closings = self.made = 0
        self.frames = 10**9  # before it ends
        self.unplugged = self.impatient = False
        self.broken: set[str] = set()  # methods that hang until `free`
        self.free = threading.Event()
        self._remedy: Remedy | None = None
        self.changed = threading.Condition()

    def stop(self, remedy: Remedy) -> None:
        """Makes every read hang, until a remedy at least as strong as this one is used."""
        with self.changed:
            self._remedy = remedy

    def cure(self, remedy: Remedy) -> None:
        """A stronger remedy helps too where a weaker one would have helped."""
        with self.changed:
            if self._remedy in STRONGER.get(remedy, (remedy,)):
                self._remedy = None
            self.changed.notify_all()

    @property
    def stopped(self) -> bool:
        return self._remedy is not None

    def hang(self, method: str) -> None:
        if method in self.broken:
            self.free.wait(60)

    def open(self) -> Scripted:
        self.openings += 1
        self.hang("open")
        if self.unplugged:
            raise CameraError("the camera is not there")
        self.cure("reopen")
        return Scripted(self)

    def open_plain(self) -> Plain:
        """Opens a source that can only be opened anew."""
        self.openings += 1
        self.cure("reopen")
        return Plain(self)


class Plain:
    """A source that holds a file as long as it is open. The first pixel of a frame holds the number of the frame."""

    def __init__(self, device: Device) -> None:
        self.live = device.live
        self.rate_hz = device.rate_hz
        self._device = device
        self._index = 0
        self._closed = False
        self._file = os.open(os.devnull, os.O_RDONLY)

    def read(self) -> Frame | None:
        device = self._device
        device.hang("read")
        with device.changed:
            while device.stopped and not self._closed:
                if device.impatient:
                    raise TimeoutError("no frame for 2 s")
                device.changed.wait()
        if self._closed or device.made == device.frames:
            return None
        if device.unplugged:
            raise CameraError("the camera was unplugged")
        time.sleep(device.period_s)
        image = np.zeros((48, 64, 3), np.uint8)
        image[0, 0] = device.made % 256, device.made // 256 % 256, device.made // 65536 % 256
        device.made += 1
        self._index += 1
        return Frame(image, "bgr", self._index - 1, time.monotonic_ns(), time.time_ns() // 1000)

    def close(self) -> None:
        self._device.hang("close")
        with self._device.changed:
            if not self._closed:
                os.close(self._file)
                self._device.closings += 1
            self._closed = True
            self._device.changed.notify_all()


class Scripted(Plain):
    def flush(self) -> None:
        self._device.flushes += 1
        self._device.hang("flush")
        self._device.cure("flush")

    def restart(self) -> None:
        self._device.restarts += 1
        self._device.hang("restart")
        self._device.cure("restart")


def number(frame: Frame) -> int:
    """Returns the number of the frame among all frames of the device."""
    b, g, r = (int(value) for value in frame.image[0, 0])
    return b + 256 * g + 65536 * r
