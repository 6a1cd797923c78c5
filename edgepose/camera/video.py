"""A video file as a camera: everything that OpenCV can read."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from edgepose.camera.pacer import Pacer
from edgepose.clock import wall_us
from edgepose.core.errors import CameraError
from edgepose.core.types import U8, Frame

_FALLBACK_FPS = 30.0
# We say in one line what is wrong; FFmpeg and OpenCV would add many. FFmpeg's level is read once, at its first use.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
_log = logging.getLogger(__name__)


class VideoFile:
    """realtime: frames come at the file's own rate and late ones may be skipped; otherwise as fast as asked for.
    loop: begins again at the end. Raises CameraError when the file gives not a single frame.

    size_wh: pixels. fps: of the file, 30 where it does not say. frame_count: what the file's header says,
    0 where it does not; it can be a few off, so count the frames that come.
    """

    def __init__(self, path: str | Path, *, realtime: bool = False, loop: bool = False) -> None:
        self.path = Path(path)
        self.live = realtime
        self._loop = loop
        self._index = 0
        self._lock = threading.Lock()  # cv2 crashes when one thread releases what another one reads
        self._video = _open(self.path)
        self._first: U8 | None = self._decode()
        if self._first is None:
            self._video.release()
            raise CameraError(f"{self.path}: no frame in it can be decoded; it is empty, cut off or of unknown codec")
        self.size_wh = (self._first.shape[1], self._first.shape[0])
        fps = self._video.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0.1 <= fps <= 1000 else _FALLBACK_FPS
        self.frame_count = max(0, int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._pacer = Pacer(self.fps if realtime else float("inf"))

    def read(self) -> Frame | None:
        """The next frame, BGR; None at the end and after `close`."""
        if not self._pacer.wait():
            return None
        image = self._next()
        if image is None:
            return None
        frame = Frame(image, "bgr", self._index, time.monotonic_ns(), wall_us())
        self._index += 1
        return frame

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def close(self) -> None:
        """May be called by another thread: a waiting `read` then returns None."""
        self._pacer.stop()
        with self._lock:
            self._video.release()

    def _next(self) -> U8 | None:
        image = self._decode() if self._first is None else self._first
        self._first = None
        if image is not None:
            return image
        if not self._loop:
            self._warn_if_short()
            return None
        with self._lock:
            self._video.release()
            self._video = _open(self.path)  # seeking to the start fails for some containers
        return self._decode()

    def _decode(self) -> U8 | None:
        with self._lock:
            found, image = self._video.read()
        return image if found else None  # type: ignore[return-value]

    def _warn_if_short(self) -> None:
        if self._index < 0.98 * self.frame_count - 2:
            _log.warning(
                "%s: ends after %d of %d frames; it is cut off or damaged", self.path, self._index, self.frame_count
            )


def _open(path: Path) -> cv2.VideoCapture:
    if not _is_readable_file(path):
        raise CameraError(f"{path}: no such video file; check the path")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise CameraError(f"{path}: not a video that OpenCV can read; convert it, for example to H.264 in .mp4")
    return video


def _is_readable_file(path: Path) -> bool:
    """Raises CameraError with the reason where it may not be read, which OpenCV would not tell."""
    try:
        if not path.is_file():
            return False
        path.open("rb").close()
    except OSError as exc:
        raise CameraError(f"{path}: cannot read ({exc.strerror}); check the path and its permissions") from None
    return True
