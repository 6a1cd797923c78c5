"""Reads frames of a video by their number, without decoding a whole long video, and with one frame in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgepose.types import U8
from edgepose.video.video_reader import VideoReader

# Seeking decodes from the key frame before, which is often 250 frames back: so it is not faster for a short way.
_SEEK_GAP = 60


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
    """Reads what a file says of itself. Raises CameraError when not a single frame can be read."""
    file = VideoReader(path)
    try:
        return Video(path, file.size_wh, file.fps, file.frame_count or sum(1 for _ in iter(file.read, None)))
    finally:
        file.close()


class FrameFinder:
    """Finds frames of a video file by their numbers.

    A frame is found by seeking, as SLEAP finds it, so that a frame which SLEAP labelled is the same one here. A frame
    that is a little ahead of the last one is found by decoding up to it. Not for several threads at once.
    """

    def __init__(self, path: Path) -> None:
        self._capture = cv2.VideoCapture(str(path))

    def is_near(self, index: int) -> bool:
        """Returns True when the frame is found by decoding up to it."""
        return 0 <= self._ahead(index) <= _SEEK_GAP

    def read(self, index: int) -> U8 | None:
        """Returns frame `index`, (H, W, 3) BGR; None where it cannot be decoded."""
        if self.is_near(index):
            found = all(self._capture.grab() for _ in range(self._ahead(index)))
        else:
            found = self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        found, image = self._capture.read() if found else (False, None)
        return np.asarray(image, np.uint8) if found else None

    def close(self) -> None:
        self._capture.release()

    def _ahead(self, index: int) -> int:
        return index - int(self._capture.get(cv2.CAP_PROP_POS_FRAMES))


def read_frames(video: Video, indices: Sequence[int]) -> Iterator[tuple[int, U8]]:
    """Yields (index, BGR image) for each of the rising `indices`; leaves out what cannot be decoded."""
    finder = FrameFinder(video.path)
    try:
        for index in indices:
            near = finder.is_near(index)
            if (image := finder.read(index)) is not None:
                yield index, image
            elif near:
                return  # the file ends earlier than its header says; after a seek only that place may be damaged
    finally:
        finder.close()
