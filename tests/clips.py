"""Short videos of the synthetic mouse."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from edgepose.camera.synthetic.scene import Scene
from edgepose.types import U8
from edgepose.video.h264 import load_av


def write_clip(path: Path, count: int = 12, size_wh: tuple[int, int] = (320, 240)) -> Path:
    """`count` frames at 25 a second, as an .avi."""
    scene = Scene(0, size_wh)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, size_wh)
    for i in range(count):
        writer.write(scene.render(i))
    writer.release()
    return path


NUMBERED = (160, 32)  # width and height of pictures that show their number in ten bits


def write_uneven(path: Path, count: int = 200) -> Path:
    """Writes frames at 30 a second and, from the hundredth on, at 10 a second."""
    av = load_av()
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width, stream.height = NUMBERED
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 9000)
        for i in range(count):
            bits = np.repeat([230 if i >> bit & 1 else 20 for bit in range(10)], 16).astype(np.uint8)
            picture = np.ascontiguousarray(np.broadcast_to(bits[None, :, None], (*NUMBERED[::-1], 3)))
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i * 300 if i < 100 else 30_000 + (i - 100) * 900, Fraction(1, 9000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def write_interlaced(path: Path, count: int = 8) -> Path:
    """Writes grey frames, each woven of two half frames, as camcorders do."""
    av = load_av()
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"flags": "+ilme+ildct", "x264-params": "tff=1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(count):
            picture = np.full((48, 64, 3), 128, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")))
        file.mux(stream.encode(None))
    return path


def numbered(count: int, size_wh: tuple[int, int] = (160, 64)) -> list[U8]:
    """Pictures that show their number, which `number_of` reads."""
    images = []
    for number in range(count):
        bits = [230 if number >> bit & 1 else 20 for bit in range(10)]
        row = np.repeat(np.array(bits, np.uint8), size_wh[0] // 10)
        images.append(np.ascontiguousarray(np.broadcast_to(row[None, :, None], (size_wh[1], size_wh[0], 3))))
    return images


def number_of(image: U8) -> int:
    width = image.shape[1] // 10
    return sum(int(image[:, bit * width + 4 : (bit + 1) * width - 4].mean() > 125) << bit for bit in range(10))


def encode(
    path: Path,
    times_s: Sequence[float],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    *,
    container: str | None = None,
    images: Sequence[U8] = (),
    options: dict[str, str] | None = None,
    **settings: object,
) -> Path:
    """Writes a video whose frame i shows its number, or `images[i]`, at `times_s[i]`.

    Args:
        path: the file.
        times_s: seconds of each frame, in steps of 1 / 9000, in an AVI of 1 / 30.
        codec: the encoder's name in FFmpeg.
        pix_fmt: the pixels' format in FFmpeg.
        container: name of the container where the ending of `path` does not say it.
        images: the pictures.
        options: of the container.
        settings: attributes of the encoder, such as `max_b_frames`.
    """
    av = load_av()
    images = images or numbered(len(times_s))
    with av.open(str(path), "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=Fraction(30))
        stream.height, stream.width = images[0].shape[:2]
        ticks = Fraction(1, 30 if path.suffix == ".avi" else 9000)  # AVI has no times, only frames that it shows again
        stream.pix_fmt, stream.codec_context.time_base = pix_fmt, ticks
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for image, time_s in zip(images, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(time_s / ticks), ticks
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path
