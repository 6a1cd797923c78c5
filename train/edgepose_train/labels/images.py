"""Reads the pixels of a labelled frame, which lie in an image file, inside a SLEAP package, or inside a video.

A frame without a file of its own gets a path that leads through the file that holds it, made by `inside`:
`labels.pkg.slp/video0/12/img012.png`, `session1.mp4/-/12/img012.png`. Such a frame needs no copy beside the data set,
whose folder may be read-only.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np

from edgepose.errors import DatasetError
from edgepose.system.wording import count, listing
from edgepose.types import U8
from edgepose.video.frames import FrameFinder, is_interlaced
from edgepose_train.labels.project_files import is_file

_VIDEO = "-"  # in the path of a frame in a video, where a package has the name of its data set
_DEPTHS = (8, 10, 12, 14, 16)  # bits of a pixel
_reading = threading.Lock()  # an open video has one position, which threads must not share

# FFmpeg would add many lines to the one line that says what is wrong. It reads this level once, at its first use.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def read_image(path: Path) -> U8:
    """Reads a frame as BGR, uint8 (H, W, 3). Grey pictures get three equal channels.

    The pixels stay as they are stored, whatever orientation a camera has noted in the file, because labels are made
    on the stored pixels.

    Raises:
        DatasetError: the file is missing, damaged or not an image.
    """
    return read_deep_image(path)[0]


def read_deep_image(path: Path) -> tuple[U8, int]:
    """Reads a frame as `read_image` does, and returns how many bits its pixels had, too.

    Cameras of 10, 12 or 14 bits store them in files of 16 bits. The brightest pixel shows how many bits are used.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    data = np.frombuffer(stored_image(path), np.uint8)  # cv2.imread cannot open every path on Windows
    try:
        image = cv2.imdecode(data, flags | cv2.IMREAD_ANYDEPTH) if len(data) else None
        if image is not None and image.dtype == np.uint16:
            bits = next(bits for bits in _DEPTHS if image.max() < 1 << bits)
            return np.right_shift(image, bits - 8, dtype=np.uint16, casting="unsafe").astype(np.uint8), bits
        if image is not None and image.dtype != np.uint8:  # OpenCV has its own rule for numbers of other kinds
            image = cv2.imdecode(data, flags)
    except cv2.error:
        image = None
    if image is None:
        raise DatasetError(f"{path}: damaged or not an image, or of over 67 million pixels; extract or copy it again")
    return np.asarray(image, np.uint8), 8


def inside(file: Path, group: str, index: int, name: str) -> Path:
    """Makes the path of a frame that lies inside another file.

    Args:
        file: a SLEAP package or a video file.
        group: the name of the video in the package, or nothing for a video file.
        index: the number of the frame.
        name: the file name that a copy of the frame gets.
    """
    return file / (group or _VIDEO) / str(index) / name


def holder(path: Path) -> Path | None:
    """Returns the file that a path of `inside` leads through, or None for an image file."""
    parents = path.parents
    return parents[2] if len(parents) > 3 and is_file(parents[2]) else None


def stored_image(path: Path) -> bytes:
    """Returns a frame as the bytes of an image file: those of its file, or those that a package holds.

    A frame of a video, or a picture that SLEAP has stored with red and blue swapped, becomes an uncompressed bitmap.

    Raises:
        DatasetError: the frame cannot be read.
    """
    if (file := holder(path)) is not None:
        group, index = path.parents[1].name, int(path.parent.name)
        return _from_video(file, index) if group == _VIDEO else _embedded(file, group, index)
    try:
        return path.read_bytes()
    except OSError as exc:
        raise DatasetError(f"{path}: cannot read ({exc.strerror})") from None


def keep_frames(paths: Iterable[Path]) -> list[str]:
    """Decodes the frames that lie in videos, each video once from its start, so that reading them is quick afterwards.

    Returns:
        One line for each video whose rate changes, because other programs may have shown other pictures there.
    """
    wanted: dict[Path, set[int]] = {}
    for path in paths:
        if (file := holder(path)) is not None and path.parents[1].name == _VIDEO:
            wanted.setdefault(file, set()).add(int(path.parent.name))
    problems = []
    for file, indices in wanted.items():
        if is_interlaced(file):
            problems.append(
                f"{file.name}: is interlaced, and OpenCV makes wrong pictures of it; convert it, for example with "
                "ffmpeg -i FILE -vf yadif OUT.mp4"
            )
        for index in sorted(indices):
            with suppress(DatasetError):
                _kept_frame(file, index)
        if uneven := sorted(_finder(file).uneven & indices):
            problems.append(
                f"{file.name}: its frame rate changes, so a program that seeks may have shown other pictures for "
                f"{count(len(uneven), 'labelled frame')}; check the labels of {listing([str(i) for i in uneven])}"
            )
    return problems


def image_file(path: Path) -> tuple[str, bytes]:
    """Returns file name and bytes for a copy of the frame. A frame that had no file of its own becomes a PNG."""
    data = stored_image(path)
    if data.startswith(b"BM") and path.suffix.lower() != ".bmp":
        pixels = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
        return f"{path.stem}.png", cv2.imencode(".png", pixels)[1].tobytes()
    return path.name, data


def _bitmap(bgr: U8) -> bytes:
    return cv2.imencode(".bmp", bgr)[1].tobytes()


def _embedded(file: Path, group: str, index: int) -> bytes:
    from sleap_io.io.video_reading import HDF5Video

    try:
        video = HDF5Video(str(file), dataset=f"{group}/video", keep_open=False)
        # In files that SLEAP calls BGR, red and blue are swapped, because OpenCV was given RGB to write.
        raw = None if video.channel_order == "BGR" and video.stored_channels != 1 else video.get_frame_raw_bytes(index)
        if raw is not None:
            return bytes(raw)
        pixels = np.asarray(video.get_frame(index), np.uint8)
    # h5py and the decoders raise a dozen kinds of errors at a damaged file.
    except Exception as exc:
        raise DatasetError(f"{file}: cannot read frame {index} of {group} ({exc}); copy the file again") from None
    return _bitmap(np.ascontiguousarray(pixels[..., ::-1]))


def _from_video(file: Path, index: int) -> bytes:
    pixels = np.frombuffer(_kept_frame(file, index).read_bytes(), np.uint8)
    return _bitmap(np.asarray(cv2.imdecode(pixels, cv2.IMREAD_COLOR), np.uint8))


def _kept_frame(file: Path, index: int) -> Path:
    """Decodes each frame once and keeps it in a file, because finding a frame means decoding all before it."""
    kept = _scratch() / f"{hashlib.sha256(f'{file}:{index}'.encode()).hexdigest()}.png"
    if not kept.exists():
        fresh = kept.with_name(f"{kept.name}.{threading.get_ident()}")
        fresh.write_bytes(
            cv2.imencode(".png", _video_frame(file, index), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        )
        fresh.replace(kept)
    return kept


@cache
def _scratch() -> Path:
    """Returns a folder that is removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="edgepose-frames-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _video_frame(file: Path, index: int) -> U8:
    with _reading:
        image = None if is_interlaced(file) else _finder(file).read(index)
    if image is None:
        raise DatasetError(f"{file}: cannot decode frame {index}; the video is damaged, cut off or another one")
    return image


@lru_cache(maxsize=2)
def _finder(file: Path) -> FrameFinder:
    return FrameFinder(file)
