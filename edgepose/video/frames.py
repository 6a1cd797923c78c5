"""Reads frames of a video by their number, with one frame in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from edgepose.errors import CameraError, EdgeposeError
from edgepose.types import U8
from edgepose.video.h264 import load_av
from edgepose.video.video_reader import VideoReader

_MOST_FAILURES = 1000  # frames in a row that cannot be decoded; the file may still go on behind them


@dataclass(frozen=True, slots=True)
class Video:
    """A video file.

    Attributes:
        path: the file.
        size_wh: width and height of its frames, pixels.
        fps: frames a second, as the file says.
        count: number of frames as the file's header says, counted where it says nothing. It can be too many, so use
            the frames that come.
    """

    path: Path
    size_wh: tuple[int, int]
    fps: float
    count: int

    @property
    def stem(self) -> str:
        """Returns the name of its folder in `labeled-data`."""
        return self.path.stem


def open_video(path: Path) -> Video:
    """Reads what a file says of itself. Raises CameraError when no frame can be read, or all would be wrong."""
    file = VideoReader(path)
    if is_interlaced(path):
        file.close()
        raise CameraError(
            f"{path}: is interlaced, and OpenCV makes wrong pictures of it; convert it, for example with "
            "ffmpeg -i FILE -vf yadif OUT.mp4"
        )
    try:
        return Video(path, file.size_wh, file.fps, file.frame_count or sum(1 for _ in file))
    finally:
        file.close()


@lru_cache(maxsize=64)
def is_interlaced(path: Path) -> bool:
    """Returns True for a video whose frames are woven of two; False also where PyAV is not installed or fails.

    The FFmpeg in OpenCV 5 cannot convert such frames, and gives what was in the memory before as pictures.
    """
    try:
        av = load_av()
        with av.open(str(path)) as file:
            return bool(next(file.decode(video=0)).interlaced_frame)
    except (EdgeposeError, OSError, ValueError, IndexError, StopIteration):
        return False


class FrameFinder:
    """Finds frames of a video file by their numbers. Not for several threads at once.

    Frame n is the n-th one that decoding from the start gives, counted from 0. OpenCV's seeking is not used: where the
    rate changes or an edit list begins the file, it reaches another frame, and which one depends on what was read
    before. So ask for rising numbers where possible; a smaller number starts anew.

    Attributes:
        uneven: of the frames that were read, those that a program which seeks by the mean rate takes for another one.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.uneven = path, set[int]()
        self._capture = cv2.VideoCapture(str(path))
        self._next, self._failed, self._first_ms = 0, 0, 0.0

    def read(self, index: int) -> U8 | None:
        """Returns frame `index`, (H, W, 3) BGR; None where it cannot be decoded."""
        if index < self._next:
            self.close()
            self._capture = cv2.VideoCapture(str(self._path))
            self._next, self._failed = 0, 0
        found = False
        while self._next <= index and self._failed <= _MOST_FAILURES:
            found = self._capture.grab()
            self._failed = 0 if found else self._failed + 1
            self._next += 1
            if self._next == 1:
                self._first_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        found, image = self._capture.retrieve() if found else (False, None)
        if not found:
            return None
        since_first_s = (self._capture.get(cv2.CAP_PROP_POS_MSEC) - self._first_ms) / 1000
        if since_first_s > 0 and abs(since_first_s * self._capture.get(cv2.CAP_PROP_FPS) - index) > 1:
            self.uneven.add(index)
        return np.asarray(image, np.uint8)

    def close(self) -> None:
        self._capture.release()


def read_frames(video: Video, indices: Sequence[int]) -> Iterator[tuple[int, U8]]:
    """Yields (index, BGR image) for each of the rising `indices`; leaves out what cannot be decoded."""
    finder = FrameFinder(video.path)
    try:
        for index in indices:
            if (image := finder.read(index)) is not None:
                yield index, image
    finally:
        finder.close()
