"""A video file as a camera: everything that OpenCV can read."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from edgepose.camera.capture import Capture
from edgepose.camera.pacer import Pacer
from edgepose.clock import wall_us
from edgepose.core.errors import CameraError
from edgepose.core.types import U8, Frame

_FALLBACK_FPS = 30.0
_log = logging.getLogger(__name__)


class VideoFile:
    """realtime: frames come at the file's own rate and late ones may be skipped; otherwise as fast as asked for.
    loop: begins again at the end. Raises CameraError when the file gives not a single frame.

    size_wh: pixels. fps: of the file, 30 where it does not say. frame_count: what the file's header says,
    0 where it does not; it can be a few off, so count the frames that come.

    Its frames' wall clock runs as in the video, and ends when the file was last written: that is when a camera took
    them, unless copying gave the file another time. With `realtime` it is the present, as a camera's.
    """

    def __init__(self, path: str | Path, *, realtime: bool = False, loop: bool = False) -> None:
        self.path = Path(path)
        self.live = realtime
        self._loop = loop
        self._index = 0
        self._capture = _open(self.path)
        self._first: U8 | None = self._capture.read()
        if self._first is None:
            self._capture.close()
            raise CameraError(f"{self.path}: no frame in it can be decoded; it is empty, cut off or of unknown codec")
        self.size_wh = (self._first.shape[1], self._first.shape[0])
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0.1 <= fps <= 1000 else _FALLBACK_FPS
        self.rate_hz = self.fps if realtime else None
        self.frame_count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._pacer = Pacer(self.fps if realtime else float("inf"))
        self._begin_us = round(self.path.stat().st_mtime * 1e6 - self.frame_count / self.fps * 1e6)
        self._position_ms = -1000 / self.fps

    def read(self) -> Frame | None:
        """The next frame, BGR; None at the end and after `close`."""
        if not self._pacer.wait():
            return None
        image = self._next()
        if image is None:
            return None
        captured_us = wall_us() if self.live else self._recorded_us()
        frame = Frame(image, "bgr", self._index, time.monotonic_ns(), captured_us)
        self._index += 1
        return frame

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def close(self) -> None:
        """May be called by another thread: a waiting `read` then returns None."""
        self._pacer.stop()
        self._capture.close()

    def _next(self) -> U8 | None:
        image = self._capture.read() if self._first is None else self._first
        self._first = None
        if image is not None:
            return image
        if not self._loop:
            self._warn_if_short()
            return None
        self._capture.close()
        self._capture = _open(self.path)  # seeking to the start fails for some containers
        self._begin_us += round((self._position_ms + 1000 / self.fps) * 1e3)
        self._position_ms = -1000 / self.fps
        return self._capture.read()

    def _recorded_us(self) -> int:
        """Wall clock of the frame just decoded. Where the container has no times, frames are counted."""
        told_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        self._position_ms = told_ms if told_ms > self._position_ms else self._position_ms + 1000 / self.fps
        return self._begin_us + round(self._position_ms * 1e3)

    def _warn_if_short(self) -> None:
        if self._index < 0.98 * self.frame_count - 2:
            _log.warning(
                "%s: ends after %d of %d frames; it is cut off or damaged", self.path, self._index, self.frame_count
            )


def _open(path: Path) -> Capture:
    if not _is_readable_file(path):
        raise CameraError(f"{path}: no such video file; check the path")
    capture = Capture(str(path))
    if not capture.opened:
        raise CameraError(f"{path}: not a video that OpenCV can read; convert it, for example to H.264 in .mp4")
    return capture


def _is_readable_file(path: Path) -> bool:
    """Raises CameraError with the reason where it may not be read, which OpenCV would not tell."""
    try:
        if not path.is_file():
            return False
        path.open("rb").close()
    except OSError as exc:
        raise CameraError(f"{path}: cannot read ({exc.strerror}); check the path and its permissions") from None
    return True
