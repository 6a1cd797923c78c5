"""The pictures show what the numbers say: read back from the pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgepose.analysis.chart import new_chart, ticks
from edgepose.analysis.motion_plots import plot_occupancy, plot_speed, plot_trajectory

SIZES = [(640, 480), (400, 900), (1920, 1080), (90, 60)]
LEFT, TOP = new_chart((10, 10), (0, 1), (0, 1), "").box[:2]


def picture_of(size_wh):
    return np.full((size_wh[1], size_wh[0], 3), 128, np.uint8)


def coloured(image):
    """Where the picture is not grey."""
    return np.ptp(image.astype(int), axis=2) > 40


def scale_of(size_wh):
    return min(900 / size_wh[0], 700 / size_wh[1])


@pytest.mark.parametrize("size_wh", SIZES, ids=str)
def test_the_trajectory_lies_where_the_animal_was_from_blue_to_red(size_wh):
    w, h = size_wh
    centre = np.stack([np.linspace(0.2 * w, 0.8 * w, 200), np.full(200, 0.25 * h)], axis=1)
    image = plot_trajectory("mouse", picture_of(size_wh), centre, np.arange(200) / 25)
    row = image[TOP + round((0.25 * h + 0.5) * scale_of(size_wh) - 0.5), LEFT:].astype(int)
    columns = [round((x + 0.5) * scale_of(size_wh)) for x in (0.3 * w, 0.5 * w, 0.79 * w)]
    early, middle, late = (row[column] for column in columns)
    assert early[0] > early[2] + 40  # blue
    assert middle[1] > 150  # green
    assert late[2] > late[0] + 100  # red
    for outside in (0.15, 0.85):
        assert np.ptp(row[round(outside * w * scale_of(size_wh))]) < 10
    assert image.shape[1] < 1400
    assert image.shape[0] < 900


def test_a_trajectory_has_a_gap_where_the_animal_was_not_seen():
    centre = np.stack([np.linspace(100, 500, 200), np.full(200, 240.0)], axis=1)
    centre[80:120] = np.nan
    image = plot_trajectory("mouse", picture_of((640, 480)), centre, np.arange(200) / 25)
    plot = coloured(image)[TOP : TOP + 675, LEFT : LEFT + 900]
    at = [round(x * 900 / 640) for x in (200, 300, 400)]
    assert [plot[:, x].any() for x in at] == [True, False, True]


@pytest.mark.parametrize("size_wh", SIZES, ids=str)
def test_the_cell_where_the_animal_stayed_longest_is_the_brightest(size_wh):
    w, h = size_wh
    centre = np.array([(0.25 * w, 0.5 * h)] * 90 + [(0.75 * w, 0.5 * h)] * 10)
    image = plot_occupancy("mouse", picture_of(size_wh), centre, 1 / 25)
    row = image[TOP + int((0.5 * h + 0.5) * scale_of(size_wh)), LEFT:].astype(int)
    long, short, never = (row[int((part * w + 0.5) * scale_of(size_wh))] for part in (0.25, 0.75, 0.5))
    assert long.sum() > short.sum() + 60
    assert np.ptp(long) > 100  # yellow
    assert np.ptp(never) < 10  # the frame itself
    plot = coloured(image)[TOP : TOP + round(h * scale_of(size_wh)) - 1, LEFT : LEFT + round(w * scale_of(size_wh)) - 1]
    cell = max(1, round(max(size_wh) / 48)) * scale_of(size_wh)
    assert plot.sum() == pytest.approx(2 * cell**2, rel=0.15)


def test_speed_rises_where_the_animal_was_fast():
    time_s = np.arange(400) / 25
    speed = np.where((time_s > 8) & (time_s < 12), 100.0, 10.0)
    speed[50:100] = np.nan
    image = plot_speed("mouse", time_s, speed, "px/s")
    plot = coloured(image)[TOP : TOP + 420, LEFT : LEFT + 1000]
    height = {at: 420 - plot[:, round(at / time_s[-1] * 1000)].argmax() for at in (6, 10, 14)}
    assert height[10] == pytest.approx(100 / 110 * 420, abs=4)
    assert height[6] == height[14] == pytest.approx(10 / 110 * 420, abs=4)
    assert not plot[:, round(3 / time_s[-1] * 1000)].any()


def test_a_long_video_is_drawn_in_bins_and_one_wrong_frame_does_not_press_it_flat():
    time_s = np.arange(90_000) / 25
    speed = 50 + 10 * np.sin(time_s / 100)
    speed[45_000] = 1e6
    plot = coloured(plot_speed("mouse", time_s, speed, "px/s"))[TOP : TOP + 420, LEFT : LEFT + 1000]
    top = 420 - np.where(plot.any(axis=0), plot.argmax(axis=0), 420)
    assert np.median(top) > 100


@pytest.mark.parametrize("count", [1, 2, 30])
def test_an_animal_that_was_never_seen_is_told(count):
    nothing, time_s = np.full((count, 2), np.nan), np.arange(count) / 25
    empty = np.full((480, 640, 3), 128, np.uint8)
    for image in (
        plot_trajectory("mouse", empty, nothing, time_s),
        plot_occupancy("mouse", empty, nothing, 1 / 25),
        plot_speed("mouse", time_s, nothing[:, 0], "px/s"),
    ):
        red = (image[..., 2] > 150) & (image[..., :2] < 80).all(axis=2)
        assert red[TOP:, LEFT : LEFT + 900].sum() > 100


@pytest.mark.parametrize("path", [[(320, 240)], [(-1e9, 1e9), (320, 240)], [(320, 240)] * 40])
def test_short_still_and_far_paths_are_drawn(path):
    centre, time_s = np.array(path, np.float64), np.arange(len(path)) / 25
    for image in (
        plot_trajectory("mouse", picture_of((640, 480)), centre, time_s),
        plot_occupancy("mouse", picture_of((640, 480)), centre, 1 / 25),
    ):
        assert coloured(image)[TOP:-80, LEFT : LEFT + 900].any()


def test_a_long_name_and_a_gray_picture_fit():
    name = "2026-05-14_cage07_females_" * 4
    image = plot_trajectory(name, picture_of((400, 900)), np.array([(1.0, 2.0)]), np.zeros(1))
    assert (image[:, -3:] == 255).all()  # nothing is cut off at the right
    assert cv2.imencode(".png", image)[0]


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (-0.5, 639.5, 10, [0, 100, 200, 300, 400, 500, 600]),
        (110.0, 0.0, 7, [0, 20, 40, 60, 80, 100]),
        (0.0, 0.04, 5, [0, 0.01, 0.02, 0.03, 0.04]),
        (0.0, 3.1, 3, [0, 2]),
    ],
)
def test_ticks_are_round(low, high, most, expected):
    assert ticks(low, high, most) == expected
