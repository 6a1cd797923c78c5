"""Frames out of a video by their number: never more than one in memory, and never a whole long video decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgepose.types import U8
from edgepose.video.video_reader import VideoReader

# Seeking decodes from the key frame before, often 250 frames back; skipping so many frames costs as much.
_SEEK_GAP = 100


@dataclass(frozen=True, slots=True)
class Video:
    """count: frames, as its header says, or counted where it says nothing. It can be too many: trust what comes."""

    path: Path
    size_wh: tuple[int, int]
    fps: float
    count: int

    @property
    def stem(self) -> str:
        """Name of its folder in `labeled-data`."""
        return self.path.stem


def open_video(path: Path) -> Video:
    """Raises CameraError with one line when not a single frame can be read."""
    file = VideoReader(path)
    try:
        return Video(path, file.size_wh, file.fps, file.frame_count or sum(1 for _ in iter(file.read, None)))
    finally:
        file.close()


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0..count-1, at equal distances."""
    step = max(1, -(-count // most))
    return list(range(step // 2 if step > 1 else 0, count, step))


def read_frames(video: Video, indices: Sequence[int]) -> Iterator[tuple[int, U8]]:
    """(index, BGR image) for each of the rising `indices`; leaves out what cannot be decoded."""
    capture = cv2.VideoCapture(str(video.path))
    position = 0
    try:
        for index in indices:
            sought = index - position > _SEEK_GAP
            if sought:
                capture.set(cv2.CAP_PROP_POS_FRAMES, index)
                found = True
            else:
                found = all(capture.grab() for _ in range(index - position))
            found, image = capture.read() if found else (False, None)
            position = index + 1
            if found:
                yield index, np.asarray(image, np.uint8)
            elif not sought:
                return  # the file ends before its header says; after a leap, only that place may be damaged
    finally:
        capture.release()


def progress_bar() -> Progress:
    """On a terminal only: in a log file a bar is noise."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
