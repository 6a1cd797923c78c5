"""The overlay: the source's own times, its picture unhidden, and below it number, time, score and legend."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pose_tables import pose_table

from edgepose.analysis.overlay_video import draw_overlay
from edgepose.pose.drawing import bgr_colours
from edgepose.types import F64
from edgepose.video.h264 import FaststartMp4, load_av

TIMES_US = [0, 33_333, 150_000, 151_000, 900_000]
NAMES = ("snout", "leftear", "rightear", "tailbase")


def write_source(path: Path, size_wh: tuple[int, int], times_us: list[int]) -> Path:
    video = FaststartMp4(path, size_wh)
    for time_us in times_us:
        video.add(np.full((size_wh[1], size_wh[0], 3), 120, np.uint8), time_us)
    video.close()
    return path


def frames_of(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times in seconds, and pictures."""
    with load_av().open(str(path)) as file:
        frames = list(file.decode(video=0))
    return [float(frame.time) for frame in frames], [frame.to_ndarray(format="bgr24") for frame in frames]


def overlay(tmp_path: Path, values: F64, size_wh: tuple[int, int], names: tuple[str, ...] = NAMES) -> Path:
    source = write_source(tmp_path / "source.mp4", size_wh, TIMES_US[: len(values)])
    draw_overlay(
        source,
        tmp_path / "o.mp4",
        pose_table(values, *names, time_s=np.array(TIMES_US[: len(values)]) / 1e6),
        None,
        0.0,
    )
    return tmp_path / "o.mp4"


def poses(count: int, *points: tuple[float, float, float]) -> F64:
    return np.repeat(np.array(points, np.float64)[None], count, axis=0)


def test_an_uneven_video_keeps_its_times(tmp_path: Path) -> None:
    times, _ = frames_of(overlay(tmp_path, poses(5, *[(50, 40, 0.9)] * 4), (320, 240)))
    assert times == pytest.approx(np.array(TIMES_US) / 1e6, abs=2e-5)


@pytest.mark.parametrize("size_wh", [(320, 240), (322, 238), (640, 480), (240, 320)])
def test_the_picture_stays_at_the_top_and_nothing_but_the_pose_covers_it(
    tmp_path: Path, size_wh: tuple[int, int]
) -> None:
    points = [(100, 80, 0.9), (120, 80, 0.9), (100, 100, 0.9), (120, 100, 0.1)]
    _, images = frames_of(overlay(tmp_path, poses(2, *points), size_wh))
    w, h = size_wh
    assert images[0].shape[1] == w
    assert h + 20 < images[0].shape[0] < 1.3 * h
    drawn = (np.abs(images[0][:h].astype(int) - 120) > 25).any(axis=2)
    assert drawn[75:86, 95:126].any()
    drawn[60:121, 10:211] = False  # the points and their names
    assert not drawn.any()


def test_the_strip_has_the_frames_number_and_the_legend(tmp_path: Path) -> None:
    _, images = frames_of(overlay(tmp_path, poses(5, *[(50, 40, 0.9)] * 4), (640, 480)))
    strips = [image[480:].astype(int) for image in images]
    lines = len(strips[0]) // 2
    assert (np.abs(strips[0] - strips[4])[:lines] > 60).any()  # number and time
    assert np.abs(strips[0] - strips[4])[lines + 3 :].mean() < 2  # the legend stays
    for colour in bgr_colours(4):
        assert (np.abs(strips[0] - colour).max(axis=2) < 40).sum() > 20


def test_a_legend_of_many_keypoints_is_bounded(tmp_path: Path) -> None:
    names = tuple(f"a_rather_long_body_part_{i}" for i in range(200))
    _, images = frames_of(overlay(tmp_path, poses(1, *[(50, 40, 0.1)] * 200), (320, 240), names))
    assert images[0].shape[0] < 240 * 1.7


def test_a_pose_that_is_not_known_leaves_the_picture_alone(tmp_path: Path) -> None:
    _, images = frames_of(overlay(tmp_path, np.full((2, 4, 3), np.nan), (320, 240)))
    assert np.abs(images[0][:240].astype(int) - 120).max() < 12
    assert cv2.cvtColor(images[0][240:], cv2.COLOR_BGR2GRAY).max() > 200  # the number and the time
