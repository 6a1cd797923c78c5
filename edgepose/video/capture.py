"""Wraps OpenCV's VideoCapture: it prints no messages, and is safe to close from another thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import cv2

from edgepose.types import U8

# We report errors in one line; OpenCV and FFmpeg would add many. FFmpeg reads its level when it is first used.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# Without this FFmpeg uses UDP, where a lost packet spoils the picture until the next key frame.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
# V4L2 waits so many seconds for a frame (read once). It is less than a stall, so that the device is free again by then.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")


class Capture:
    """A video that OpenCV has opened.

    OpenCV crashes when one thread releases a video that another thread reads, so `close` waits until a read has ended.

    Attributes:
        opened: True when it could be opened.
        closed: True once `close` was called.
    """

    def __init__(self, name: str, backend: int = cv2.CAP_ANY, parameters: Sequence[int] = ()) -> None:
        """name: path or URL. parameters: pairs of a CAP_PROP_... and its value, used for opening."""
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self.closed = False
        self._lock = threading.Lock()
        self._video = cv2.VideoCapture(name, backend, parameters)
        self.opened = self._video.isOpened()

    def grab(self) -> bool:
        """Waits for the next frame, and does not decode its colours yet. Returns False when none comes."""
        with self._lock:
            return self._video.grab()

    def retrieve(self) -> U8 | None:
        """Returns the grabbed frame, (H, W, 3) BGR; None where it cannot be decoded."""
        with self._lock:
            found, image = self._video.retrieve()
        return image if found else None  # type: ignore[return-value]

    def read(self) -> U8 | None:
        return self.retrieve() if self.grab() else None

    def get(self, what: int) -> float:
        """Returns the value of a CAP_PROP_...; 0 or less where it is not known."""
        with self._lock:
            return self._video.get(what)

    def set(self, what: int, value: float) -> bool:
        with self._lock:
            return self._video.set(what, value)

    def close(self) -> None:
        self.closed = True
        with self._lock:
            self._video.release()
