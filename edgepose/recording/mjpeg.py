"""Motion JPEG in AVI, written here: it needs nothing but OpenCV's JPEG, and OpenCV's own writer tells of no full disk.

The file is a header of fixed size, one chunk for each frame, and an index. Header and index are completed at the
end; whoever finds a file without them counts the chunks.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO

import cv2

from edgepose.geometry.pixels import as_bgr
from edgepose.types import Frame

SUFFIX = ".avi"
QUALITY = 90
_MOST_BYTES = 1_900_000_000  # readers take numbers in the file for signed
_HEADER_BYTES = 224
_RIFF_SIZE, _AVIH_FRAMES, _STRH_FRAMES, _MOVI_SIZE = 4, 48, 140, 216  # where numbers stand that the end knows
_MOVI = 220  # where the index counts from
_KEYFRAME = 0x10
_HAS_INDEX = 0x10


class MjpegVideo:
    """Frame number i is shown at i / rate. Raises OSError."""

    def __init__(self, path: Path, size_wh: tuple[int, int], rate: Fraction) -> None:
        self._file = path.open("wb", buffering=0)
        self._sizes: list[int] = []
        self.bytes = _HEADER_BYTES
        self.fileno = self._file.fileno
        _write(self._file, _header(size_wh, rate))

    @property
    def full(self) -> bool:
        return self.bytes > _MOST_BYTES

    def add(self, frame: Frame) -> None:
        picture = frame.full if frame.full is not None else as_bgr(frame)
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        jpeg += b"\0" * (len(jpeg) % 2)
        _write(self._file, b"00dc" + struct.pack("<I", len(jpeg)) + jpeg)
        self._sizes.append(len(jpeg))
        self.bytes += 8 + len(jpeg)

    def close(self) -> None:
        """Complete when it returns; not yet on the disk."""
        try:
            _complete(self._file, self._sizes)
        finally:
            self._file.close()

    def abandon(self) -> None:
        """As a kill would leave it."""
        self._file.close()


def repair(path: Path, most: int) -> int:
    """Completes what a kill or a power cut left, of the first `most` frames. Returns the number of frames, 0 when there
    is nothing to be read. Raises OSError."""
    with path.open("r+b", buffering=0) as file:
        if len(file.read(_HEADER_BYTES)) < _HEADER_BYTES:
            return 0
        sizes: list[int] = []
        while len(sizes) < most and (size := _whole_chunk(file)):
            sizes.append(size)
        if sizes:
            file.truncate(_HEADER_BYTES + sum(sizes) + 8 * len(sizes))
            _complete(file, sizes)
            os.fsync(file.fileno())
    return len(sizes)


def _whole_chunk(file: IO[bytes]) -> int:
    """Size of the JPEG that comes next; 0 where it is cut off, or is none."""
    head = file.read(8)
    if len(head) < 8 or head[:4] != b"00dc":
        return 0
    size = int(struct.unpack("<I", head[4:])[0])
    data = file.read(size)
    whole = len(data) == size and data[:2] == b"\xff\xd8" and data.rstrip(b"\0")[-2:] == b"\xff\xd9"
    return size if whole else 0


def _complete(file: IO[bytes], sizes: Sequence[int]) -> None:
    index, at = bytearray(), _HEADER_BYTES
    for size in sizes:
        index += b"00dc" + struct.pack("<III", _KEYFRAME, at - _MOVI, size)
        at += 8 + size
    file.seek(at)
    _write(file, b"idx1" + struct.pack("<I", len(index)) + index)
    os.fsync(file.fileno())  # the header speaks of it, so it comes first
    total = file.tell()
    for place, number in (
        (_RIFF_SIZE, total - 8),
        (_AVIH_FRAMES, len(sizes)),
        (_STRH_FRAMES, len(sizes)),
        (_MOVI_SIZE, at - _MOVI),
    ):
        file.seek(place)
        _write(file, struct.pack("<I", number))


def _header(size_wh: tuple[int, int], rate: Fraction) -> bytes:
    w, h = size_wh
    avih = struct.pack("<14I", round(1e6 / rate), 0, 0, _HAS_INDEX, 0, 0, 1, 0, w, h, 0, 0, 0, 0)
    times = (rate.denominator, rate.numerator)
    strh = struct.pack("<4s4sIHHIIIIIIiI4h", b"vids", b"MJPG", 0, 0, 0, 0, *times, 0, 0, 0, -1, 0, 0, 0, w, h)
    strf = struct.pack("<IiiHH4sIiiII", 40, w, h, 1, 24, b"MJPG", w * h * 3, 0, 0, 0, 0)
    strl = b"strl" + _chunk(b"strh", strh) + _chunk(b"strf", strf)
    hdrl = b"hdrl" + _chunk(b"avih", avih) + _chunk(b"LIST", strl)
    head = b"RIFF" + struct.pack("<I", 0) + b"AVI " + _chunk(b"LIST", hdrl)
    return head + b"LIST" + struct.pack("<I", 4) + b"movi"


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data


def _write(file: IO[bytes], data: bytes) -> None:
    """All of it: an unbuffered file may take less, at the end of the disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
