"""Plays a video file as a camera."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from edgepose.camera.pacer import Pacer
from edgepose.system.clock import wall_us
from edgepose.types import U8, Frame
from edgepose.video.video_reader import VideoReader

_log = logging.getLogger(__name__)


class VideoFileSource:
    """Plays a video file.

    The wall-clock time of a frame is computed from the time in the video and from the time when the file was last
    written, which is the end of the recording unless a copy of the file has got another time. With `realtime` it is the
    present, as that of a camera.

    Args:
        path: the file.
        realtime: True for frames at the rate of the file, of which late ones may be skipped; False for frames as fast
            as they are read.
        loop: True to begin again at the end.

    Attributes:
        size_wh: as `VideoReader` has it; so are `fps` and `frame_count`.

    Raises:
        CameraError: The file has not a single frame that can be read.
    """

    def __init__(self, path: str | Path, *, realtime: bool = False, loop: bool = False) -> None:
        self.path = Path(path)
        self.live = realtime
        self._loop = loop
        self._index = 0
        self._video = VideoReader(self.path)
        self.size_wh, self.fps, self.frame_count = self._video.size_wh, self._video.fps, self._video.frame_count
        self.rate_hz = self.fps if realtime else None
        self._pacer = Pacer(self.fps if realtime else float("inf"))
        self._begin_us = round(self.path.stat().st_mtime * 1e6 - self.frame_count / self.fps * 1e6)

    def read(self) -> Frame | None:
        """Returns the next frame, BGR; None at the end and after `close`."""
        if not self._pacer.wait():
            return None
        image = self._next()
        if image is None:
            return None
        captured_us = wall_us() if self.live else self._begin_us + round(self._video.position_ms * 1e3)
        frame = Frame(image, "bgr", self._index, time.monotonic_ns(), captured_us)
        self._index += 1
        return frame

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def close(self) -> None:
        """Another thread may call it: a waiting `read` then returns None."""
        self._pacer.stop()
        self._video.close()

    def _next(self) -> U8 | None:
        image = self._video.read()
        if image is not None:
            return image
        if not self._loop:
            self._warn_if_short()
            return None
        self._begin_us += round((self._video.position_ms + 1000 / self.fps) * 1e3)
        self._video.restart()
        return self._video.read()

    def _warn_if_short(self) -> None:
        if self._index < 0.98 * self.frame_count - 2:
            _log.warning(
                "%s: ends after %d of %d frames; it is cut off or damaged", self.path, self._index, self.frame_count
            )
