"""Plays a video file as a camera."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from edgepose.system.clock import wall_us
from edgepose.types import U8, Frame
from edgepose.video.video_reader import VideoReader

_log = logging.getLogger(__name__)
_MOST_LATE_NS = 1_000_000_000  # a later frame is shown at once, and those behind it follow at their pace


class VideoFileSource:
    """Plays a video file.

    The times of a frame are those of the video: both clocks go on from frame to frame as it does, however fast the file
    is read. The monotonic clock begins when the file is opened. The wall clock begins where the recording did; where
    only the file's date is known, that is its end unless a copy of the file has got another time. With `realtime` it is
    the present, as that of a camera.

    Args:
        path: the file.
        realtime: True for frames at the pace of the file, of which late ones may be skipped; False for frames as fast
            as they are read.
        loop: True to begin again at the end.
        rate_hz: frames a second, where the file does not know it; None takes the file's own times.

    Attributes:
        size_wh: as `VideoReader` has it; so are `fps` and `frame_count`.
        time_s: time in the video of the last frame.

    Raises:
        CameraError: The file has not a single frame that can be read.
    """

    def __init__(
        self, path: str | Path, *, realtime: bool = False, loop: bool = False, rate_hz: float | None = None
    ) -> None:
        self.path = Path(path)
        self.live = realtime
        self.time_s = 0.0
        self._loop = loop
        self._video = VideoReader(self.path, rate_hz)
        self.size_wh, self.fps, self.frame_count = self._video.size_wh, self._video.fps, self._video.frame_count
        self.rate_hz = self.fps if realtime else None
        self._stopped = threading.Event()
        self._rounds_s, self._rounds_frames = 0.0, 0  # of the earlier rounds of a loop
        self._begin_mono_ns: int | None = None
        end_us = self.path.stat().st_mtime_ns // 1000 - round(self.frame_count / self.fps * 1e6)
        self._begin_us = max(0, end_us) if self._video.begin_us is None else self._video.begin_us

    def read(self) -> Frame | None:
        """Returns the next frame, BGR; None at the end and after `close`."""
        if (image := self._next()) is None:
            return None
        self.time_s = self._rounds_s + self._video.time_s
        received_mono_ns, media_ns = time.monotonic_ns(), round(self.time_s * 1e9)
        if self._begin_mono_ns is None:
            self._begin_mono_ns = received_mono_ns - media_ns
        captured_us = self._begin_us + media_ns // 1000
        if self.live:
            late_ns = received_mono_ns - self._begin_mono_ns - media_ns
            self._begin_mono_ns += late_ns if late_ns > _MOST_LATE_NS else 0
            if self._stopped.wait(max(0, -late_ns) / 1e9):
                return None
            received_mono_ns, captured_us = time.monotonic_ns(), wall_us()
        index = self._rounds_frames + self._video.index
        return Frame(
            image, "bgr", index, self._begin_mono_ns + media_ns, captured_us, received_mono_ns=received_mono_ns
        )

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def close(self) -> None:
        """Another thread may call it: a waiting `read` then returns None."""
        self._stopped.set()
        self._video.close()

    def _next(self) -> U8 | None:
        image = self._video.read()
        if image is not None or self._stopped.is_set():
            return image
        if not self._loop:
            for problem in self._video.problems():
                _log.warning("%s", problem)
            return None
        self._rounds_s += self._video.time_s + 1 / self.fps
        self._rounds_frames += self._video.index + 1
        self._video.restart()
        return self._video.read()
