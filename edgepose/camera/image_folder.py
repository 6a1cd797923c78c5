"""Reads a folder of images as a camera."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import cv2

from edgepose.camera.pacer import Pacer
from edgepose.errors import CameraError
from edgepose.system.clock import wall_us
from edgepose.types import U8, Frame

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
log = logging.getLogger(__name__)


class ImageFolderSource:
    """The images that are in the folder at the start, in natural order: img2 before img10.

    An image that cannot be read is left out, with a warning.

    Args:
        path: the folder.
        rate_hz: number of images a second, of which late ones may be skipped, as with a camera. None gives every image,
            as fast as they are read; the wall-clock time of a frame is then when its file was last written.
        loop: True to begin again at the end.

    Raises:
        CameraError: There is no image that can be read.
    """

    def __init__(self, path: str | Path, rate_hz: float | None = None, *, loop: bool = False) -> None:
        self.rate_hz = rate_hz
        self.live = rate_hz is not None
        self._pacer = Pacer(float("inf") if rate_hz is None else rate_hz)
        self._index = 0
        decoded = _decoded(_images(Path(path)), loop)
        first = next(decoded, None)
        if first is None:
            raise CameraError(f"{path}: no image in it that can be read ({', '.join(SUFFIXES)}); check camera.path")
        self._decoded = chain([first], decoded)

    def read(self) -> Frame | None:
        """Returns the next frame, BGR; None at the end and after `close`."""
        if not self._pacer.wait() or (found := next(self._decoded, None)) is None:
            return None
        path, image = found
        captured_us = wall_us() if self.live else path.stat().st_mtime_ns // 1000
        self._index += 1
        return Frame(image, "bgr", self._index - 1, time.monotonic_ns(), captured_us)

    def close(self) -> None:
        """Ends reading. Any thread may call it; a waiting `read` then returns None."""
        self._pacer.stop()


def _decoded(paths: list[Path], loop: bool) -> Iterator[tuple[Path, U8]]:
    """Yields each image with its path. Ends after a round in which nothing could be read."""
    found = True
    while found:
        found = False
        for path in paths:
            image = _read(path)
            if image is None:
                log.warning("%s: cannot be read as an image; left out", path)
            else:
                found = loop
                yield path, image


def _images(folder: Path) -> list[Path]:
    """Raises CameraError where the folder cannot be read."""
    try:
        return sorted((path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES), key=_natural)
    except OSError as exc:
        raise CameraError(f"{folder}: cannot read this folder ({exc.strerror}); check camera.path") from None


def _natural(path: Path) -> list[tuple[int, str]]:
    """Returns the key by which names are sorted, numbers within them by their value."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdecimal() and i % 2 else (0, part) for i, part in enumerate(parts)]


def _read(path: Path) -> U8 | None:
    try:
        return cv2.imread(str(path), cv2.IMREAD_COLOR)  # type: ignore[return-value]
    except cv2.error:  # a picture larger than OpenCV allows
        return None
