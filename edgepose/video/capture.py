"""OpenCV's VideoCapture, quiet, and safe to close from another thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import cv2

from edgepose.types import U8

# Errors are told by us, in one line, where OpenCV and FFmpeg would add many. FFmpeg's level is read at its first use.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# Or it falls back to UDP, where a lost packet smears over the picture until the next key frame.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
# Seconds until V4L2 gives up waiting for a frame; read once. Less than a stall, so that the device is free again then.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")


class Capture:
    """name: path or URL. parameters: pairs of CAP_PROP_... and value, for opening.

    cv2 crashes when one thread releases what another one reads, so `close` waits for a read that is under way."""

    def __init__(self, name: str, backend: int = cv2.CAP_ANY, parameters: Sequence[int] = ()) -> None:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self.closed = False
        self._lock = threading.Lock()
        self._video = cv2.VideoCapture(name, backend, parameters)
        self.opened = self._video.isOpened()

    def grab(self) -> bool:
        """Waits for the next frame, without decoding its colours. False when none comes."""
        with self._lock:
            return self._video.grab()

    def retrieve(self) -> U8 | None:
        """The grabbed frame, (H, W, 3) BGR; None where it cannot be decoded."""
        with self._lock:
            found, image = self._video.retrieve()
        return image if found else None  # type: ignore[return-value]

    def read(self) -> U8 | None:
        with self._lock:
            found, image = self._video.read()
        return image if found else None  # type: ignore[return-value]

    def get(self, what: int) -> float:
        """A CAP_PROP_...; 0 or less where it is not known."""
        with self._lock:
            return self._video.get(what)

    def set(self, what: int, value: float) -> bool:
        with self._lock:
            return self._video.set(what, value)

    def close(self) -> None:
        self.closed = True
        with self._lock:
            self._video.release()
