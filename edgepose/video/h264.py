"""Writes H.264 in MP4, by PyAV: recordings that survive a power cut, and files that browsers play."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.errors import EdgeposeError
from edgepose.geometry.pixels import as_bgr
from edgepose.system.extras import extra
from edgepose.types import U8, Frame

log = logging.getLogger(__name__)

SUFFIX = ".mp4"
_HARDWARE, _SOFTWARE = "h264_v4l2m2m", "libx264"
_HARDWARE_NODE = Path("/dev/video11")  # the encoder of Raspberry Pis up to the 4; the 5 has none
_BITS_PER_PIXEL = 0.15  # for the hardware, which has no constant quality
_LEAST_LIBAVFORMAT = (61, 7)  # FFmpeg 7.1
# Fragments of a second while the file is open. At the end FFmpeg makes a plain file of them: it writes an index behind
# them and eight bytes at the front.
_FRAGMENTED = {"movflags": "+hybrid_fragmented", "frag_duration": "1000000"}
_TICKS_PER_S = 90_000  # the clock of MPEG systems: 24, 25, 30 and 29.97 (30000 / 1001) frames a second are exact
_ITU_601, _LIMITED_RANGE = 5, 1  # FFmpeg's numbers of a colour space and its range, which the file states


def load_av() -> Any:
    """Returns PyAV. Raises EdgeposeError where it is not installed or too old."""
    with extra("video", "writing video"):
        av: Any = importlib.import_module("av")
    if tuple(av.library_versions["libavformat"]) < _LEAST_LIBAVFORMAT:
        raise EdgeposeError(f"av {av.__version__} is too old to write video; pip install --upgrade 'edgepose[video]'")
    av.logging.set_level(av.logging.PANIC)  # our own messages say in one line what is wrong
    return av


def has_hardware() -> bool:
    """Returns True when this board has an encoder that we use."""
    return _HARDWARE_NODE.exists()


class _File:
    """Puts on the disk what was appended before anything is overwritten, so that a power cut in between leaves the
    fragments."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.end = 0
        # PyAV calls these.
        self.tell, self.close, self.fileno = self._file.tell, self._file.close, self._file.fileno

    def write(self, data: bytes) -> int:
        if self._file.tell() < self.end:
            os.fsync(self._file.fileno())
        rest = memoryview(data)
        while rest:  # where the disk is nearly full, an unbuffered file may take less than it is given
            rest = rest[self._file.write(rest) :]
        self.end = max(self.end, self._file.tell())
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)


class FragmentedMp4:
    """A video that is written while it happens: what a kill leaves of it can be repaired.

    Frame i is shown at i / rate_hz, so that programs that count frames find each one; `mp4_rate` corrects the rate. An
    odd last row or column is left out. Raises EdgeposeError without PyAV, OSError, and the errors of PyAV, which are
    OSErrors or ValueErrors.

    Attributes:
        bytes: how large the file is.
        hardware: of the class; False once the hardware encoder has failed, so that it is not tried again.
    """

    hardware = True

    def __init__(self, path: Path, size_wh: tuple[int, int], rate_hz: Fraction) -> None:
        self._av = load_av()
        self._w, self._h, self._rate_hz, self._count = size_wh[0] // 2 * 2, size_wh[1] // 2 * 2, rate_hz, 0
        self._file = _File(path)
        try:
            self._container = self._av.open(self._file, "w", format="mp4", options=_FRAGMENTED)
            self._stream = self._add_stream()
        except BaseException:
            self._file.close()
            raise
        self.fileno = self._file.fileno

    @property
    def bytes(self) -> int:
        return self._file.end

    def add(self, frame: Frame) -> None:
        """Encodes the frame in the camera's size."""
        if frame.order == "i420" and frame.full is None and frame.field_wh is None:
            encoded = self._av.VideoFrame.from_ndarray(frame.image, format="yuv420p")
        else:
            picture = frame.full if frame.full is not None else as_bgr(frame)
            encoded = self._av.VideoFrame.from_ndarray(picture[: self._h, : self._w], format="bgr24")
        encoded.pts, encoded.time_base = self._count, 1 / self._rate_hz
        self._count += 1
        try:
            self._container.mux(self._stream.encode(encoded))
        except Exception:
            if self.encoder == _HARDWARE:
                log.warning("the hardware encoder fails; %s takes its place", _SOFTWARE)
                FragmentedMp4.hardware = False
            raise

    def close(self) -> None:
        """Completes the file. It need not be on the disk when this returns."""
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Leaves the file as a kill would."""
        self._file.close()

    def _add_stream(self) -> Any:
        self.encoder = _HARDWARE if FragmentedMp4.hardware and has_hardware() else _SOFTWARE
        # Each frame gives its packet at once, so that nothing is held back when the power fails.
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "threads": "1"}
        stream = self._container.add_stream(self.encoder, rate=self._rate_hz, options=options)
        stream.width, stream.height, stream.pix_fmt = self._w, self._h, "yuv420p"
        stream.codec_context.gop_size = max(1, round(self._rate_hz))  # a key frame each second: any may be the last
        if self.encoder == _HARDWARE:
            stream.codec_context.options = {}
            stream.codec_context.bit_rate = int(_BITS_PER_PIXEL * self._w * self._h * self._rate_hz)
        return stream


class FaststartMp4:
    """A video whose frames have times of their own, and that browsers play while they load it.

    H.264 in yuv420p with the index at the front. An odd width or height is padded with one more column or row, a copy
    of the last. Raises EdgeposeError without PyAV, and OSError, as which PyAV reports a full disk.
    """

    def __init__(self, path: Path, size_wh: tuple[int, int]) -> None:
        self._av = load_av()
        self._container = self._av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", options={"preset": "veryfast", "crf": "20"})
        self._stream.width, self._stream.height = (side + side % 2 for side in size_wh)
        codec = self._stream.codec_context
        codec.pix_fmt, codec.time_base, codec.gop_size = "yuv420p", Fraction(1, _TICKS_PER_S), 60
        codec.colorspace, codec.color_range = _ITU_601, _LIMITED_RANGE
        self._ticks, self._interval = -1, 1

    def add(self, image: U8, time_us: int) -> None:
        """Adds a frame, BGR (H, W, 3). time_us: microseconds since the first frame; later than the frame before."""
        h, w = image.shape[:2]
        padded = np.pad(image, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(padded, format="bgr24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_ITU_601)
        ticks = max(self._ticks + 1, round(time_us * _TICKS_PER_S / 1e6))
        self._ticks, self._interval = ticks, ticks - max(self._ticks, 0)
        frame.pts, frame.time_base = ticks, Fraction(1, _TICKS_PER_S)
        self._encode(frame)

    def close(self) -> None:
        """Completes the file. The last frame is shown as long as the one before."""
        try:
            self._encode(None)
        finally:
            self._container.close()

    def _encode(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._interval
            self._container.mux(packet)


def repair(path: Path, max_frames: int) -> int:
    """Makes a plain MP4 of what a kill or a power cut left.

    Args:
        path: the file, which is replaced.
        max_frames: so many frames are kept at most, from the first on.

    Returns:
        The number of frames; 0 when none can be read, and then the file stays as it is.

    Raises:
        OSError: the disk failed.
    """
    av = load_av()
    temporary, count = path.with_name(f"{path.name}.repair"), 0
    try:
        with av.open(str(path)) as source, av.open(str(temporary), "w", format="mp4") as target:
            found = source.streams.video[0]
            stream = target.add_stream_from_template(found)
            step = round(1 / (found.average_rate * found.time_base))
            for packet in _intact_packets(av, source, found):
                if count == max_frames:
                    break
                packet.pts = packet.dts = count * step
                packet.stream = stream
                target.mux(packet)
                count += 1
        if count:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    except (av.error.InvalidDataError, IndexError, ZeroDivisionError, TypeError):  # not even the header is there
        return 0
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _intact_packets(av: Any, source: Any, stream: Any) -> Iterator[Any]:
    """Yields packets up to the first that is cut off, or that never reached the disk, where zeros stand instead."""
    try:
        for packet in source.demux(stream):
            if packet.size == 0:
                continue
            if packet.is_corrupt or not _is_intact(bytes(packet)):
                return
            yield packet
    except av.error.FFmpegError:
        return


def _is_intact(data: bytes) -> bool:
    """Checks the NAL units of H.264, each behind its length (ISO/IEC 14496-15). By the standard (ISO/IEC 14496-10) none
    holds three zeros in a row, or ends with one."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        unit = data[at + 4 : at + 4 + size]
        if not size or len(unit) < size or unit[-1] == 0 or b"\0\0\0" in unit:
            return False
        at += 4 + size
    return True
