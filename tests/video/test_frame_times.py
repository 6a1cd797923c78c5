"""Each frame that is read has its own number and its own time, whatever container it lies in."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from clips import encode, number_of

from edgepose.video.frame_times import TIMES_HEADER, FrameTimes, times_table
from edgepose.video.h264 import load_av
from edgepose.video.video_reader import VideoReader

COUNT = 60
UNEVEN_S = [i / 30 if i < 30 else 1 + (i - 30) / 10 for i in range(COUNT)]
"""A phone in the dark: 30 frames a second, then 10."""
EVEN_S = [i / 30 for i in range(COUNT)]


def read(path: Path, rate_hz: float | None = None) -> tuple[list[float], list[int], list[int], list[str]]:
    """Returns times, numbers of the frames, numbers that the pictures show, and what is reported."""
    video, times_s, indices, shown = VideoReader(path, rate_hz), [], [], []
    while (image := video.read()) is not None:
        times_s.append(video.time_s)
        indices.append(video.index)
        shown.append(number_of(image))
    problems = video.problems()
    video.close()
    return times_s, indices, shown, problems


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "ts", "avi"])
def test_an_uneven_video_keeps_its_times_also_where_frames_are_reordered(tmp_path, ending):
    reordered = 0 if ending == "avi" else 3  # AVI has no times of its own for reordered frames
    path = encode(tmp_path / f"a.{ending}", UNEVEN_S, max_b_frames=reordered, gop_size=30)
    times_s, indices, shown, problems = read(path)
    assert times_s == pytest.approx(UNEVEN_S, abs=1.1e-3)  # Matroska's times are whole milliseconds
    assert indices == shown == list(range(COUNT))
    assert problems == []


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "ending"),
    [
        ("libx264", "yuv420p10le", "mp4"),
        ("libx265", "yuv420p10le", "mp4"),
        ("mjpeg", "yuvj420p", "mp4"),
        ("libvpx-vp9", "yuv420p", "webm"),
        ("mpeg4", "yuv420p", "mp4"),
    ],
)
def test_codecs_and_depths(tmp_path, codec, pix_fmt, ending):
    times_s, indices, shown, problems = read(encode(tmp_path / f"a.{ending}", UNEVEN_S, codec, pix_fmt))
    assert times_s == pytest.approx(UNEVEN_S, abs=1.1e-3)
    assert indices == shown == list(range(COUNT))
    assert problems == []


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_times_begin_with_the_first_frame(tmp_path, ending):
    path = encode(tmp_path / f"a.{ending}", [5 + time_s for time_s in UNEVEN_S], max_b_frames=3)
    assert read(path)[0] == pytest.approx(UNEVEN_S, abs=1.1e-3)
    assert read(path)[3] == []


def test_an_edit_list_leaves_out_the_beginning(tmp_path):
    """Phones and cutters leave frames before the first key frame in the file, to decode the others."""
    source = encode(tmp_path / "whole.mp4", UNEVEN_S, gop_size=30, max_b_frames=0)
    av = load_av()
    with av.open(str(source)) as whole, av.open(str(tmp_path / "a.mp4"), "w") as target:
        stream = target.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.size:
                shift = round(0.5 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                target.mux(packet)
    times_s, indices, shown, problems = read(tmp_path / "a.mp4")
    assert shown == list(range(15, COUNT))
    assert indices == list(range(len(shown)))
    assert times_s == pytest.approx(np.array(UNEVEN_S[15:]) - 0.5, abs=1e-3)
    assert "45 of 60 frames" in problems[0]
    assert "edit list" in problems[0]


@pytest.mark.parametrize(("rate_hz", "last_s"), [(None, 59 / 25), (90.0, 59 / 90)])
@pytest.mark.parametrize(
    ("container", "codec", "pix_fmt"),
    [("h264", "libx264", "yuv420p"), ("hevc", "libx265", "yuv420p"), ("mjpeg", "mjpeg", "yuvj420p")],
)
def test_a_file_without_times_needs_its_rate(tmp_path, container, codec, pix_fmt, rate_hz, last_s):
    path = encode(tmp_path / f"a.{container}", EVEN_S, codec, pix_fmt, container=container)
    times_s, indices, _, problems = read(path, rate_hz)
    assert (indices[-1], times_s[-1]) == (COUNT - 1, pytest.approx(last_s))
    assert len(problems) == (rate_hz is None)
    assert rate_hz or "25 frames a second are a guess" in problems[0]


def test_a_rate_replaces_the_times_of_a_high_speed_film(tmp_path):
    path = encode(tmp_path / "a.avi", EVEN_S, "mjpeg", "yuvj420p")
    assert read(path, 500)[0] == pytest.approx(np.arange(COUNT) / 500)


def table_beside(video: Path, mono_ns: list[int], header: list[str] = TIMES_HEADER) -> None:
    with video.with_suffix(".csv").open("w", newline="") as file:
        rows = [[i, 7 + i, 1_700_000_000_000_000 + i, ns, 1] for i, ns in enumerate(mono_ns)]
        csv.writer(file).writerows([header, *rows])


def test_a_recording_has_the_times_of_the_table_beside_it(tmp_path):
    path = encode(tmp_path / "a.mp4", EVEN_S)
    table_beside(path, [5_000_000_000 + round(time_s * 1e9) for time_s in UNEVEN_S])
    assert read(path)[0] == pytest.approx(UNEVEN_S)
    assert read(path, 30)[0] == pytest.approx(EVEN_S)
    video = VideoReader(path)
    assert (video.begin_us, video.fps) == (1_700_000_000_000_000, pytest.approx((COUNT - 1) / UNEVEN_S[-1]))
    assert times_table(path) == path.with_suffix(".csv")


@pytest.mark.parametrize(
    "mono_ns", [range(COUNT - 1), range(COUNT + 1), [3, 2, *range(10, 8 + COUNT)], [10**30] * COUNT, ["x"] * COUNT, []]
)
def test_a_table_that_does_not_suit_is_reported_and_not_used(tmp_path, caplog, mono_ns):
    path = encode(tmp_path / "a.mp4", EVEN_S)
    table_beside(path, mono_ns)
    assert read(path)[0] == pytest.approx(EVEN_S, abs=1e-4)
    assert "a.csv: has no time for each of the 60 frames" in caplog.text


def test_another_table_is_none_of_ours(tmp_path, caplog):
    path = encode(tmp_path / "a.mp4", EVEN_S)
    table_beside(path, list(range(COUNT)), ["frame", "x", "y", "likelihood", "z"])
    assert read(path)[0] == pytest.approx(EVEN_S, abs=1e-4)
    assert caplog.text == ""


def damaged(path: Path, numbers: tuple[int, ...]) -> Path:
    """Overwrites frames of a file with zeros."""
    av, data = load_av(), bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    for number in numbers:
        at, size = places[number]
        data[at : at + size] = bytes(size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("ending", ["avi", "mp4", "mov"])
@pytest.mark.parametrize("numbers", [(20, 21, 40), (0,), tuple(range(10, 40))])
def test_damaged_frames_are_left_out_and_the_others_keep_their_numbers(tmp_path, ending, numbers):
    path = damaged(encode(tmp_path / f"a.{ending}", EVEN_S, "mjpeg", "yuvj420p"), numbers)
    times_s, indices, shown, problems = read(path)
    assert indices == shown == [i for i in range(COUNT) if i not in numbers]
    assert times_s == pytest.approx(np.array(indices) / 30, abs=1e-4)
    assert len(problems) == 1
    assert "damaged" in problems[0]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.985, 0.999])
@pytest.mark.parametrize("ending", ["mp4", "avi", "mkv"])
def test_a_file_that_is_cut_off_is_reported(tmp_path, ending, share):
    times_s = [i / 30 for i in range(300)]
    path = encode(tmp_path / f"a.{ending}", times_s, "mjpeg", "yuvj420p", options={"movflags": "+faststart"})
    assert read(path)[3] == []
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    _, indices, shown, problems = read(path)
    assert indices == list(range(len(shown)))
    assert shown[:-1] == indices[:-1]  # of the last picture a part may be missing
    assert len(problems) == 1
    announced = f"of {300 if ending != 'mkv' else 3}"  # Matroska only says how long it is, with rounding
    assert f"ends after {len(shown)} {announced}" in problems[0]


def test_frames_are_counted_where_the_container_has_no_times_for_a_while():
    times = FrameTimes(10)
    for stated_s in (0, 0, 0, 0.2, 0.4, 0.41):  # frames before time 0 have none in Matroska
        times.add(stated_s)
    assert (times.index, times.time_s) == (5, pytest.approx(0.51))


def test_times_that_repeat_or_begin_anew_go_on():
    times, found = FrameTimes(10), []
    for stated_s in (0, 0, 0.2, 0.2, 0.4, 100, 0, 0.1, 0.3):  # two files that were joined
        times.add(stated_s)
        found.append(times.time_s)
    assert found == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 100, 100.1, 100.2, 100.4])
