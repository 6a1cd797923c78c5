"""Reads what the outermost bytes of a video file say and OpenCV does not report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

_START_CODES = (b"\0\0\1", b"\0\0\0\1")  # of MPEG-1, 2, 4, H.264 and H.265 (ISO/IEC 14496-10, annex B)
_PROGRAM_STREAM = b"\0\0\1\xba"  # it begins like a bare stream, and has times (ISO/IEC 13818-1)
_JPEG = b"\xff\xd8"
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # of Matroska and WebM (RFC 8794, RFC 9559)


Container = Literal["bare", "mp4", "avi", "matroska", "other"]


def container_of(path: Path) -> Container:
    """Returns the kind of container. `bare` is a file of frames without one, such as .h264 and .mjpeg."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "mp4"
    if head.startswith(b"RIFF"):
        return "avi"
    if head.startswith(_EBML):
        return "matroska"
    boxed = head[4:8].isalpha()  # an old MOV whose first box is larger than 4 GB begins with 1 as well
    is_bare = head.startswith((*_START_CODES, _JPEG)) and not head.startswith(_PROGRAM_STREAM) and not boxed
    return "bare" if is_bare else "other"


def is_cut_off(path: Path, container: Container) -> bool:
    """Returns True where the file ends before its outermost parts do. MP4, MOV, AVI, Matroska and WebM say it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        match container:
            case "avi":
                return 8 + int.from_bytes(file.read(8)[4:], "little") > size
            case "matroska":
                return _end_of_segment(file) > size
            case "mp4":
                return any(end > size for _, _, end in boxes(file, 0, size))
            case _:
                return False


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields kind, beginning of the content, and end of each box of an MP4 (ISO/IEC 14496-12, 4.2).

    The end may lie behind that of the file. start, end: part of the file that consists of boxes.
    """
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        length, content = int.from_bytes(head[:4], "big"), start + 8
        if length == 1:
            length, content = int.from_bytes(head[8:], "big"), start + 16
        if length < content - start:  # 0 reaches to the end of the file; others are not valid
            return
        yield head[4:8], content, start + length
        start += length


def _end_of_segment(file: BinaryIO) -> int:
    """Returns where the segment behind the EBML header ends; 0 where it does not say."""
    file.seek(len(_EBML))
    header = _read_size(file)
    file.seek(header, 1)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    length = _read_size(file)
    return file.tell() + length if length else 0


def _read_size(file: BinaryIO) -> int:
    """Reads a size whose leading zero bits say how many bytes it has (RFC 8794, 4); 0 where all bits mean unknown."""
    first = file.read(1)
    more = 8 - first[0].bit_length() if first and first[0] else 0
    value = int.from_bytes(first + file.read(more), "big") & ((1 << 7 * (more + 1)) - 1)
    return 0 if value == (1 << 7 * (more + 1)) - 1 else value
