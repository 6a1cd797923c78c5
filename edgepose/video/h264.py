"""H.264 in MP4, through PyAV: fragments of a second while it is written, a plain MP4 once it is closed."""

from __future__ import annotations

import importlib
import logging
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

from edgepose.geometry.pixels import as_bgr
from edgepose.types import Frame

log = logging.getLogger(__name__)

SUFFIX = ".mp4"
_HARDWARE, _SOFTWARE = "h264_v4l2m2m", "libx264"
_HARDWARE_NODE = Path("/dev/video11")  # the encoder of Pis up to the 4; the 5 has none
_BITS_PER_PIXEL = 0.15  # for the hardware, which knows no constant quality
# FFmpeg turns the fragments into a plain file at the end by writing an index behind them and eight bytes at the front.
_WHILE_OPEN = {"movflags": "+hybrid_fragmented", "frag_duration": "1000000"}


def installed() -> bool:
    """PyAV is there, and new enough."""
    try:
        av = importlib.import_module("av")
    except ImportError:
        return False
    return tuple(av.library_versions["libavformat"]) >= (61, 7)


def has_hardware() -> bool:
    return _HARDWARE_NODE.exists()


class _File:
    """What is appended is on the disk before anything is overwritten: a power cut in between leaves the fragments."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.end = 0
        self.tell, self.close, self.fileno = self._file.tell, self._file.close, self._file.fileno

    def write(self, data: bytes) -> int:
        if self._file.tell() < self.end:
            os.fsync(self._file.fileno())
        rest = memoryview(data)
        while rest:  # an unbuffered file may take less than it is given, at the end of the disk
            rest = rest[self._file.write(rest) :]
        self.end = max(self.end, self._file.tell())
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)


class H264Video:
    """Frame number i is shown at i / rate: programs that count frames then find each one. An odd last row or column
    is left out. Raises OSError, also av's own, which are OSErrors or ValueErrors."""

    full = False
    hardware = True  # of the class: what failed once is not tried again

    def __init__(self, path: Path, size_wh: tuple[int, int], rate: Fraction) -> None:
        self._av: Any = importlib.import_module("av")
        self._av.logging.set_level(self._av.logging.PANIC)  # we say in one line what is wrong
        self._w, self._h, self._rate, self._count = size_wh[0] // 2 * 2, size_wh[1] // 2 * 2, rate, 0
        self._file = _File(path)
        try:
            self._container = self._av.open(self._file, "w", format="mp4", options=_WHILE_OPEN)
            self._stream = self._add_stream()
        except BaseException:
            self._file.close()
            raise
        self.fileno = self._file.fileno

    @property
    def bytes(self) -> int:
        return self._file.end

    def add(self, frame: Frame) -> None:
        if frame.order == "i420" and frame.full is None and frame.field_wh is None:
            made = self._av.VideoFrame.from_ndarray(frame.image, format="yuv420p")
        else:
            picture = frame.full if frame.full is not None else as_bgr(frame)
            made = self._av.VideoFrame.from_ndarray(picture[: self._h, : self._w], format="bgr24")
        made.pts, made.time_base = self._count, 1 / self._rate
        self._count += 1
        try:
            self._container.mux(self._stream.encode(made))
        except Exception:
            if self.encoder == _HARDWARE:
                log.warning("the hardware encoder fails; going on with %s", _SOFTWARE)
                H264Video.hardware = False
            raise

    def close(self) -> None:
        """Complete when it returns; not yet on the disk."""
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        finally:
            self._file.close()

    def abandon(self) -> None:
        """As a kill would leave it."""
        self._file.close()

    def _add_stream(self) -> Any:
        self.encoder = _HARDWARE if H264Video.hardware and has_hardware() else _SOFTWARE
        # Each frame gives its packet at once, so that nothing is held back when the power goes.
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "threads": "1"}
        stream = self._container.add_stream(self.encoder, rate=self._rate, options=options)
        stream.width, stream.height, stream.pix_fmt = self._w, self._h, "yuv420p"
        stream.codec_context.gop_size = max(1, round(self._rate))  # every second can be the last
        if self.encoder == _HARDWARE:
            stream.codec_context.options = {}
            stream.codec_context.bit_rate = int(_BITS_PER_PIXEL * self._w * self._h * self._rate)
        return stream


def repair(path: Path, most: int) -> int:
    """Makes a plain MP4 of what a kill or a power cut left, of the first `most` frames. Returns the number of frames,
    0 when there is nothing to be read. Raises OSError."""
    av: Any = importlib.import_module("av")
    av.logging.set_level(av.logging.PANIC)
    temporary, count = path.with_name(f"{path.name}.repair"), 0
    try:
        with av.open(str(path)) as source, av.open(str(temporary), "w", format="mp4") as target:
            found = source.streams.video[0]
            stream = target.add_stream_from_template(found)
            step = round(1 / (found.average_rate * found.time_base))
            for packet in _readable(av, source, found):
                if count == most:
                    break
                packet.pts = packet.dts = count * step
                packet.stream = stream
                target.mux(packet)
                count += 1
        if count:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    except (av.error.InvalidDataError, IndexError, ZeroDivisionError, TypeError):  # not even a beginning
        return 0
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _readable(av: Any, source: Any, stream: Any) -> Any:
    """Packets up to the first that is cut off, or that the disk never got: those are zeros."""
    try:
        for packet in source.demux(stream):
            if packet.size == 0:
                continue
            if packet.is_corrupt or not _is_whole(bytes(packet)):
                return
            yield packet
    except av.error.FFmpegError:
        return


def _is_whole(data: bytes) -> bool:
    """Units of H.264, each behind its length. None of them holds three zeros in a row, or ends with one."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        unit = data[at + 4 : at + 4 + size]
        if not size or len(unit) < size or unit[-1] == 0 or b"\0\0\0" in unit:
            return False
        at += 4 + size
    return True
