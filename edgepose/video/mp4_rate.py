"""Corrects the frame rate of an MP4 that was written before anybody knew it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from edgepose.video.containers import boxes


def set_mean_rate(path: Path, rate_hz: float) -> None:
    """Makes the frames of a complete MP4 of one video, in equal steps, come at `rate_hz`.

    All lengths of time in the file change by the same factor. Raises OSError, and ValueError for another kind of file.
    """
    with path.open("r+b") as file:
        found = dict(_headers(file, 0, path.stat().st_size))
        if not {b"mvhd", b"tkhd", b"mdhd", b"stts"} <= found.keys():
            raise ValueError(f"{path}: its header is not that of a video")
        ticks = _read(file, found[b"stts"] + 12)  # of each frame
        file.seek(found[b"mdhd"])
        if file.read(1) != b"\0" or _read(file, found[b"stts"] + 4) != 1:
            raise ValueError(f"{path}: its frames do not come in equal steps")
        old, new = _read(file, found[b"mdhd"] + 12), max(1, round(ticks * rate_hz))
        _write(file, found[b"mdhd"] + 12, new)
        for at in (found[b"mvhd"] + 16, found[b"tkhd"] + 20, found.get(b"elst", -8) + 8):
            if at > 0:
                _write(file, at, round(_read(file, at) * old / new))


def _headers(file: BinaryIO, start: int, end: int) -> list[tuple[bytes, int]]:
    """Returns kind and content of the boxes in `moov`, with those inside of them."""
    found = []
    for kind, content, end_of_box in boxes(file, start, end):
        found.append((kind, content))
        if kind in {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"}:
            found += _headers(file, content, end_of_box)
    return found


def _read(file: BinaryIO, at: int) -> int:
    file.seek(at)
    return int.from_bytes(file.read(4), "big")


def _write(file: BinaryIO, at: int, value: int) -> None:
    file.seek(at)
    file.write(value.to_bytes(4, "big"))
