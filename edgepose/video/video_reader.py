"""Reads a video file from its start, frame after frame: everything that OpenCV can read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from edgepose.errors import CameraError
from edgepose.types import U8
from edgepose.video.capture import Capture
from edgepose.video.containers import container_of, is_cut_off
from edgepose.video.frame_times import FrameTimes, read_recorded_times

_FALLBACK_FPS = 30.0
_MOST_FAILURES = 1000  # frames in a row that cannot be decoded; the file may still go on behind them
_MOST_COUNTED_FAILURES = 100_000  # where the header says that there are as many; it takes seconds at the end of a file
_SHORT = 0.98  # a file that gives a smaller part of the duration in its header is reported


class VideoReader:
    """The frames of a file in order. Raises CameraError, with one line, when the file gives not a single frame.

    Frames that cannot be decoded are left out; `problems` says so.

    Args:
        path: the file.
        rate_hz: the true rate of a file that has none, or whose rate is wrong; None uses the file's own times.

    Attributes:
        size_wh: width and height of the frames, pixels.
        fps: mean frames a second; 30 where the file does not say it.
        frame_count: number of frames as the file's header says, 0 where it does not. It can be a few off, so count
            the frames that come.
        index: number of the frame that was read last.
        time_s: its time since the beginning of the file.
        begin_us: wall clock of the first frame, epoch microseconds; None where only the file's date says it.
    """

    def __init__(self, path: str | Path, rate_hz: float | None = None) -> None:
        self.path = Path(path)
        self._capture = _open(self.path)
        self._first: U8 | None = None
        self._given, self._first_failed = 0, 0
        while self._first is None and self._first_failed <= _MOST_FAILURES:
            self._first = self._capture.read()
            self._first_failed += self._first is None
        if self._first is None:
            self._capture.close()
            raise CameraError(f"{self.path}: no frame in it can be decoded; it is empty, cut off or of unknown codec")
        self.size_wh = (self._first.shape[1], self._first.shape[0])
        self.frame_count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._header_fps = fps if 1e-3 <= fps <= 1e5 else _FALLBACK_FPS
        self._rate_hz = rate_hz
        self._recorded = None if rate_hz is not None else read_recorded_times(self.path, self.frame_count)
        self.fps = rate_hz or self._header_fps
        if self._recorded is not None and len(self._recorded.time_s) > 1:
            self.fps = (len(self._recorded.time_s) - 1) / float(self._recorded.time_s[-1])
        self.begin_us = self._recorded.begin_us if self._recorded is not None else None
        self._times = self._new_times()

    @property
    def index(self) -> int:
        return self._times.index

    @property
    def time_s(self) -> float:
        return self._times.time_s

    def read(self) -> U8 | None:
        """Returns the next frame, (H, W, 3) BGR; None at the end and after `close`."""
        image, failed = self._first, self._first_failed
        self._first, self._first_failed = None, 0
        while image is None and not self._capture.closed:
            image = self._capture.read()
            if image is None and (failed := failed + 1) > self._most_failures():
                return None
        if image is not None:
            self._times.add(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3, failed)
            self._given += 1
        return image

    def __iter__(self) -> Iterator[U8]:
        while (image := self.read()) is not None:
            yield image

    def problems(self) -> list[str]:
        """Returns what is wrong with the file, once it was read to its end."""
        container, count, announced = container_of(self.path), self.index + 1, self.frame_count
        ends_early = self._times.container_s + 1 / self._header_fps < _SHORT * announced / self._header_fps
        # Matroska says how long its streams are, and AVI also counts frames that it shows again; MP4 counts its frames.
        is_short = count < announced and (container == "mp4" or (ends_early and container != "matroska"))
        found = []
        if is_short or is_cut_off(self.path, container):
            what = "it is cut off or damaged, or its edit list leaves frames out"
            found.append(f"{self.path}: ends after {self._given} of {announced} frames; {what}")
        elif count > self._given:
            found.append(f"{self.path}: {count - self._given} of {count} frames are damaged and left out")
        has_times = (self._times.stated or count == 1) and container != "bare"
        if self._rate_hz is None and self._recorded is None and not has_times:
            found.append(f"{self.path}: has no times, so {self.fps:g} frames a second are a guess; give its rate")
        return found

    def restart(self) -> None:
        """Goes back to the first frame. The file is opened again, because seeking to the start fails for some
        containers."""
        self._capture.close()
        self._capture, self._first, self._first_failed, self._given = _open(self.path), None, 0, 0
        self._times = self._new_times()

    def close(self) -> None:
        """Releases the file. Another thread may call it while `read` waits."""
        self._capture.close()

    def _new_times(self) -> FrameTimes:
        return FrameTimes(self._header_fps, self._rate_hz, self._recorded)

    def _most_failures(self) -> int:
        return max(_MOST_FAILURES, min(self.frame_count - self.index, _MOST_COUNTED_FAILURES))


def _open(path: Path) -> Capture:
    try:
        is_file = path.is_file()
        if is_file:
            path.open("rb").close()  # OpenCV would not say why it may not be read
    except OSError as exc:
        raise CameraError(f"{path}: cannot read ({exc.strerror}); check the path and its permissions") from None
    if path.is_dir():
        raise CameraError(f"{path}: this is a folder; give a video file in it")
    if not is_file:
        raise CameraError(f"{path}: no such video file; check the path")
    capture = Capture(str(path))
    if not capture.opened:
        raise CameraError(f"{path}: not a video that OpenCV can read; convert it, for example to H.264 in .mp4")
    return capture
