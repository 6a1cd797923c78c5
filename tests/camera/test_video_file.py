"""Video files as a camera: every frame, at the file's rate or faster, and clear words for bad files."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import encode, write_clip
from fakes import card

from edgepose.camera import open_camera
from edgepose.camera.video_file import VideoFileSource
from edgepose.config import camera as camera_config
from edgepose.errors import CameraError
from edgepose.system.clock import wall_us
from edgepose.video.capture import Capture

COUNT, FPS, SIZE_WH = 12, 25.0, (96, 64)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A video of twelve frames whose brightness says their number."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, SIZE_WH)
    for i in range(COUNT):
        writer.write(np.full((SIZE_WH[1], SIZE_WH[0], 3), 20 * i, np.uint8))
    writer.release()
    return path


def brightness(frame) -> int:
    return round(float(frame.image.mean()) / 20)


def test_gives_every_frame_once_in_order(clip):
    video = VideoFileSource(clip)
    frames = list(video)
    assert [frame.index for frame in frames] == list(range(COUNT))
    assert [brightness(frame) for frame in frames] == list(range(COUNT))
    assert frames[0].order == "bgr"
    assert frames[0].size_wh == SIZE_WH == video.size_wh
    assert (video.frame_count, video.fps, video.live) == (COUNT, FPS, False)
    assert video.read() is None
    video.close()


def recorded_ms(video, count: int) -> list[float]:
    """Returns the wall-clock times of the next frames, relative to the time when the file was last written."""
    written_us = video.path.stat().st_mtime_ns // 1000
    return [(video.read().captured_us - written_us) / 1e3 for _ in range(count)]


def test_the_wall_clock_of_a_recording_ends_when_it_was_written(clip):
    os.utime(clip, ns=(0, 1_700_000_000_123_456_000))
    expected = [(i - COUNT) * 1000 / FPS for i in range(COUNT)]
    assert recorded_ms(VideoFileSource(clip), COUNT) == pytest.approx(expected, abs=0.01)
    again = [frame.captured_us for frame in VideoFileSource(clip)]
    assert again == [frame.captured_us for frame in VideoFileSource(clip)]
    assert again[0] == 1_700_000_000_123_456 - 480_000


def test_the_wall_clock_of_a_recording_goes_on_in_a_loop(clip):
    times = recorded_ms(VideoFileSource(clip, loop=True), 2 * COUNT + 1)
    assert np.diff(times) == pytest.approx([1000 / FPS] * 2 * COUNT, abs=0.01)


def test_an_uneven_recording_has_an_uneven_wall_clock(tmp_path):
    path = write_clip(tmp_path / "clip.mkv", COUNT)
    # Matroska's blocks hold their own times, in milliseconds from the beginning of their cluster, here of two frames.
    early, late = (b"\x81" + ms.to_bytes(2, "big") + b"\x80" for ms in (30, 40))
    path.write_bytes(path.read_bytes().replace(late, early))
    assert np.diff(recorded_ms(VideoFileSource(path), COUNT)) == pytest.approx([30.0, 50.0] * 5 + [30.0], abs=0.01)


def test_where_the_file_has_no_times_frames_are_counted(clip, monkeypatch):
    real = Capture.get
    monkeypatch.setattr(Capture, "get", lambda self, what: 0.0 if what == cv2.CAP_PROP_POS_MSEC else real(self, what))
    assert np.diff(recorded_ms(VideoFileSource(clip), COUNT)) == pytest.approx([1000 / FPS] * (COUNT - 1), abs=0.01)


def test_the_wall_clock_of_a_realtime_video_is_the_present(clip):
    before = wall_us()
    frames = list(VideoFileSource(clip, realtime=True))
    assert before <= frames[0].captured_us <= frames[-1].captured_us <= wall_us()


def test_frames_own_their_memory(clip):
    first, second, *_ = VideoFileSource(clip)
    assert brightness(first) == 0
    assert brightness(second) == 1


def test_the_clocks_of_a_file_that_is_read_fast_are_those_of_the_video(clip):
    frames = list(VideoFileSource(clip))
    assert np.diff([frame.captured_mono_ns for frame in frames]) == pytest.approx([1e9 / FPS] * (COUNT - 1), abs=10)
    assert frames[-1].received_mono_ns - frames[0].received_mono_ns < (COUNT - 1) / FPS * 1e9
    assert all(frame.latency_from_ns == frame.received_mono_ns for frame in frames)


@pytest.mark.parametrize("realtime", [False, True])
def test_an_uneven_video_is_played_unevenly(tmp_path, realtime):
    times_s = [0.0, 0.02, 0.04, 0.24, 0.44]
    frames = list(VideoFileSource(encode(tmp_path / "a.mp4", times_s), realtime=realtime))
    media_s = [(frame.captured_mono_ns - frames[0].captured_mono_ns) / 1e9 for frame in frames]
    assert media_s == pytest.approx(times_s, abs=1e-3)
    assert not realtime or (frames[-1].received_mono_ns - frames[0].received_mono_ns) / 1e9 > 0.4


def test_a_slow_reader_of_a_realtime_video_gets_the_video_s_own_times(clip):
    video, stamps = VideoFileSource(clip, realtime=True), []
    while (frame := video.read()) is not None:
        stamps.append(frame.captured_mono_ns)
        time.sleep(0.06)
    assert np.diff(stamps) == pytest.approx([1e9 / FPS] * (COUNT - 1), abs=10)


def test_the_config_gives_the_rate_of_a_file_without_times(tmp_path):
    path = encode(tmp_path / "a.h264", [i / 30 for i in range(10)], container="h264")
    config = camera_config.VideoFileConfig(path=str(path), realtime=False, rate_hz=90)
    source = open_camera(config, card().input)
    stamps = [source.read().captured_mono_ns for _ in range(10)]
    assert stamps[-1] - stamps[0] == pytest.approx(9e9 / 90, abs=10)


def test_realtime_keeps_the_pace_of_the_file(clip):
    video = VideoFileSource(clip, realtime=True)
    assert video.live
    stamps = [frame.captured_mono_ns for frame in video]
    assert stamps[-1] - stamps[0] >= (COUNT - 2) / FPS * 1e9  # never faster; a busy machine may be slower


def test_loop_begins_again_and_keeps_counting(clip):
    video = VideoFileSource(clip, loop=True)
    frames = [video.read() for _ in range(2 * COUNT + 1)]
    assert [frame.index for frame in frames] == list(range(2 * COUNT + 1))
    assert [brightness(frame) for frame in frames] == [*range(COUNT), *range(COUNT), 0]
    video.close()


def test_close_ends_a_waiting_read(clip):
    video = VideoFileSource(clip, realtime=True, loop=True)
    reader = threading.Thread(target=lambda: list(video))
    reader.start()
    video.close()
    reader.join(5)
    assert not reader.is_alive()
    assert video.read() is None


def test_warns_when_a_file_ends_before_its_header_says(clip, caplog):
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 3 // 4])
    with caplog.at_level(logging.WARNING):
        count = len(list(VideoFileSource(clip)))
    assert 2 < count < COUNT
    assert f"ends after {count} of {COUNT} frames" in caplog.text


def test_open_camera_reads_the_config(clip):
    camera = open_camera(camera_config.VideoFileConfig(path=str(clip), realtime=False), card().input)
    assert isinstance(camera, VideoFileSource)
    assert not camera.live
    camera.close()


def test_a_video_that_may_not_be_read_is_an_error(clip, lock):
    lock(clip.parent)
    with pytest.raises(CameraError, match=r"clip\.avi: cannot read \(Permission denied\)"):
        VideoFileSource(clip)


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "empty", "cut off", "no frames", "long name"])
def test_bad_files_are_one_clear_line(tmp_path, clip, capfd, kind):
    path = tmp_path / "bad.avi"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("not a video\n" * 50)
    elif kind == "empty":
        path.touch()
    elif kind == "cut off":
        path = tmp_path / "bad.mp4"
        path.write_bytes(b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(200))
    elif kind == "long name":
        path = tmp_path / ("n" * 300)
    elif kind == "no frames":
        cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, SIZE_WH).release()
    with pytest.raises(CameraError) as error:
        VideoFileSource(path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert capfd.readouterr() == ("", "")  # OpenCV and FFmpeg keep quiet
