"""Files that browsers play: their format, and the time of each frame."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.errors import EdgeposeError
from edgepose.video.h264 import FaststartMp4, load_av

av = load_av()


def write(path: Path, times_us: list[int], size_wh: tuple[int, int] = (64, 48)) -> Path:
    """A video whose frame i is grey of the value 5 * i + 20."""
    video = FaststartMp4(path, size_wh)
    for i, time_us in enumerate(times_us):
        video.add(np.full((size_wh[1], size_wh[0], 3), 5 * i + 20, np.uint8), time_us)
    video.close()
    return path


def frame_times(path: Path) -> list[float]:
    with av.open(str(path)) as file:
        return [float(frame.time) for frame in file.decode(video=0)]


def boxes(path: Path) -> list[str]:
    """The names of the file's outermost parts (ISO/IEC 14496-12)."""
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode())
        at += size
    return names


def test_it_is_what_browsers_play(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [40_000 * i for i in range(30)])
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.codec_context.color_range, stream.codec_context.colorspace) == (1, 5)  # limited, ITU-R BT.601
    names = boxes(path)
    assert names.index("moov") < names.index("mdat")  # it plays while it loads


@pytest.mark.parametrize("rate_hz", [Fraction(25), Fraction(30_000, 1001), Fraction("12.3456"), Fraction("239.76")])
def test_every_frame_keeps_its_time(tmp_path: Path, rate_hz: Fraction) -> None:
    """An hour of rounded times would be off by a second."""
    times_us = [round(i * 1_000_000 / rate_hz) for i in range(40)]
    path = write(tmp_path / "a.mp4", times_us)
    assert frame_times(path) == pytest.approx([time_us / 1e6 for time_us in times_us], abs=6e-6)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(float(rate_hz), rel=1e-3)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 40
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(40 / float(rate_hz), abs=2e-5)


def test_an_uneven_video_stays_uneven(tmp_path: Path) -> None:
    times_us = [0, 33_333, 150_000, 151_000, 900_000, 900_001]
    assert frame_times(write(tmp_path / "a.mp4", times_us)) == pytest.approx(np.array(times_us) / 1e6, abs=2e-5)


@pytest.mark.parametrize("size_wh", [(63, 47), (64, 47), (63, 48), (1, 1)])
def test_an_odd_size_is_padded_with_a_copy_of_its_border(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    capture = cv2.VideoCapture(str(write(tmp_path / "a.mp4", [0, 40_000], size_wh)))
    shown = capture.read()[1]
    assert shown.shape == (size_wh[1] + size_wh[1] % 2, size_wh[0] + size_wh[0] % 2, 3)
    assert np.abs(shown.astype(int) - 20).max() < 6


def test_colours_are_kept(tmp_path: Path) -> None:
    video = FaststartMp4(tmp_path / "a.mp4", (96, 64))
    bgr = [(0, 159, 230), (115, 158, 0), (178, 114, 0)]
    video.add(np.repeat(np.array(bgr, np.uint8)[None], 64, 0).repeat(32, 1), 0)
    video.close()
    with av.open(str(tmp_path / "a.mp4")) as file:
        shown = next(file.decode(video=0)).to_ndarray(format="bgr24")
    for i, colour in enumerate(bgr):
        assert shown[32, 32 * i + 16] == pytest.approx(colour, abs=6)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # importing it fails
    with pytest.raises(EdgeposeError, match=r"^writing video needs av; pip install 'edgepose\[video\]'$"):
        FaststartMp4(tmp_path / "a.mp4", (64, 48))
