"""The plots show the numbers, name what they show, and are the same files whenever they are drawn."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import cv2
import matplotlib as mpl  # noqa: TID251  plots are its figures
import numpy as np
import pytest

from edgepose.analysis.plots import (
    PlotContext,
    occupancy,
    plot_occupancy,
    plot_speed,
    plot_style,
    plot_trajectory,
    write_plot,
)

SIZE_WH = (640, 480)
ZONES = {
    "nest": np.array([[0.0, 0], [100, 0], [100, 100]]),
    "water & food": np.array([[300.0, 0], [400, 0], [400, 90]]),
}
CONTEXT = PlotContext("mouse.mp4", "demo@123456", np.full((48, 64), 128, np.uint8), SIZE_WH, {})
NEVER = "The animal was never seen with enough likelihood."


@pytest.fixture(autouse=True)
def style():
    with plot_style():
        yield


def texts_of(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def svg_of(figure, path) -> str:
    write_plot(path, figure)
    return path.read_text(encoding="utf-8")


def straight(count=200) -> np.ndarray:
    return np.stack([np.linspace(100, 500, count), np.full(count, 240.0)], axis=1)


def lasting(centre: np.ndarray) -> np.ndarray:
    """How long each frame lasts, at 25 a second."""
    return np.full(len(centre), 1 / 25)


def test_the_trajectory_is_coloured_from_the_first_to_the_last_time():
    (lines,) = plot_trajectory(CONTEXT, straight(), np.arange(200) / 25).axes[0].collections[:1]
    points = np.concatenate(lines.get_segments())
    np.testing.assert_allclose(points[[0, -1]], [[100, 240], [500, 240]])
    assert np.diff(points[:, 0]).min() >= 0  # nothing is left out between the shades
    assert len(lines.get_array()) > 100
    assert (np.diff(lines.get_array()) > 0).all()
    assert lines.get_clim() == (0, 199 / 25)


def test_a_trajectory_has_a_gap_where_the_animal_was_not_seen_and_a_dot_where_it_was_seen_once():
    path = straight()
    path[80:120] = np.nan
    path[100] = (300, 10)
    lines, dots = plot_trajectory(CONTEXT, path, np.arange(200) / 25).axes[0].collections[:2]
    lengths = [np.ptp(line[:, 0]) for line in lines.get_segments() if len(line)]
    assert sum(lengths) == pytest.approx(400 * 158 / 199)  # 41 of the 199 steps are not known
    assert max(lengths) < 10
    np.testing.assert_allclose(dots.get_offsets(), [[300, 10], [500, 240]])  # and where it ends


def test_a_frame_that_lasts_longer_counts_for_more():
    centre = np.array([(160.0, 240)] * 60 + [(480.0, 240)] * 60)
    seconds = occupancy(centre, np.repeat([1 / 30, 1 / 10], 60), SIZE_WH, 12)
    assert {x: seconds[240 // 4, x // 4] for x in (160, 480)} == pytest.approx({160: 2, 480: 6}, rel=0.03)


def test_an_hour_of_trajectory_is_a_small_svg(tmp_path):
    path = np.cumsum(np.random.default_rng(0).normal(0, 1, (90_000, 2)), axis=0) % 400
    write_plot(tmp_path / "a.svg", plot_trajectory(CONTEXT, path, np.arange(90_000) / 25))
    assert (tmp_path / "a.svg").stat().st_size < 3e6


def test_occupancy_gives_the_seconds_that_the_animal_stayed():
    centre = np.array([(160.0, 240)] * 250 + [(480.0, 240)] * 25 + [(np.nan, np.nan)] * 99 + [(9999.0, 0)])
    seconds = occupancy(centre, lasting(centre), SIZE_WH, 12)
    at = {x: seconds[240 // 4, x // 4] for x in (160, 320, 480)}
    assert at == pytest.approx({160: 10, 320: 0, 480: 1}, rel=0.03, abs=1e-6)
    assert seconds.max() == pytest.approx(10, rel=0.03)
    assert seconds[240 // 4, (160 + 12) // 4] == pytest.approx(10 * np.exp(-0.5), rel=0.1)


@pytest.mark.parametrize("size_wh", [(640, 480), (400, 900), (1920, 1080), (90, 60)], ids=str)
def test_the_occupancy_lies_on_the_picture(size_wh):
    w, h = size_wh
    context = dataclasses.replace(CONTEXT, size_wh=size_wh)
    figure = plot_occupancy(context, np.array([(0.25 * w, 0.5 * h)] * 9), np.full(9, 1 / 25))
    picture, heat = figure.axes[0].images
    assert tuple(picture.get_extent()) == (-0.5, w - 0.5, h - 0.5, -0.5)
    row, column = np.unravel_index(heat.get_array().argmax(), heat.get_array().shape)
    left, right, bottom, top = heat.get_extent()
    rows, columns = heat.get_array().shape
    assert left + (column + 0.5) / columns * (right - left) == pytest.approx(0.25 * w, abs=max(size_wh) / 180)
    assert top + (row + 0.5) / rows * (bottom - top) == pytest.approx(0.5 * h, abs=max(size_wh) / 180)


def test_titles_axes_and_scale_are_named():
    context = dataclasses.replace(CONTEXT, zones=ZONES, px_per_mm=1.0)
    for figure, label in (
        (plot_trajectory(context, straight(), np.arange(200) * 2.0), "time (min)"),
        (plot_occupancy(context, straight(), lasting(straight())), "time near the point (s)"),
    ):
        texts = texts_of(figure)
        title = next(text for text in texts if text.startswith("mouse.mp4: "))
        assert "model demo@123456" in title
        assert {"x (px)", "y (px)", label, "100 mm in the middle", "nest", "water & food"} <= set(texts)
    assert "(Gaussian, sigma 10.7 px = 11 mm)" in " ".join(title.split())
    assert not [
        text
        for text in texts_of(plot_occupancy(CONTEXT, straight(), lasting(straight())))
        if " cm" in text or "mm" in text
    ]


def test_axes_are_in_millimetres_where_the_scale_is_the_same_everywhere():
    context = dataclasses.replace(CONTEXT, px_per_mm=2.0, is_scale=True)
    for figure in (
        plot_trajectory(context, straight(), np.arange(200) / 25),
        plot_occupancy(context, straight(), lasting(straight())),
    ):
        axes = figure.axes[0]
        texts = texts_of(figure)
        assert {"x (mm)", "y (mm)"} <= set(texts)
        assert not [text for text in texts if "in the middle" in text]  # the axes say it
        for axis, size in ((axes.xaxis, 640), (axes.yaxis, 480)):
            marks = [
                (label.get_text(), place)
                for label, place in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
            ]
            assert len(marks) > 3
            assert all(2 * float(text) == place < size for text, place in marks)


def test_the_name_of_a_zone_does_not_hide_the_path():
    """The animal crosses the middle of the zone, and follows its upper edge for half of its length."""
    zone = np.array([[220.0, 140], [420, 140], [420, 340], [220, 340]])
    path = np.concatenate([straight(), np.stack([np.linspace(220, 330, 100), np.full(100, 150.0)], axis=1)])
    figure = plot_trajectory(dataclasses.replace(CONTEXT, zones={"centre": zone}), path, np.arange(300) / 25)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    (name,) = [text for text in axes.texts if text.get_text() == "centre"]
    box = name.get_window_extent()
    assert not [xy for xy in axes.transData.transform(path) if box.contains(*xy)]
    corners = axes.transData.transform(zone)
    assert all(
        corners[:, i].min() < edge < corners[:, i].max() for edges in box.corners() for i, edge in enumerate(edges)
    )


def test_speed_rises_where_the_animal_was_fast():
    time_s = np.arange(400) / 25
    speed = np.where((time_s > 8) & (time_s < 12), 100.0, 10.0)
    speed[50:100] = np.nan
    figure = plot_speed(CONTEXT, time_s, speed, "px/s")
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), speed)
    np.testing.assert_allclose(line.get_xdata(), time_s)
    assert {"time (s)", "speed (px/s)"} <= set(texts_of(figure))


def test_a_long_video_is_drawn_in_bins_and_one_wrong_frame_does_not_press_it_flat():
    time_s = np.arange(90_000) / 25
    speed = 50 + 10 * np.sin(time_s / 100)
    speed[45_000] = 1e6
    figure = plot_speed(CONTEXT, time_s, speed, "px/s")
    assert len(figure.axes[0].lines[0].get_ydata()) == 450
    assert figure.axes[0].get_ylim()[1] < 200
    assert {"mean of 8 s", "slowest to fastest frame", "time (min)"} <= set(texts_of(figure))


@pytest.mark.parametrize("count", [1, 2, 30, 2000])
def test_an_animal_that_was_never_seen_is_reported(count, tmp_path):
    nothing, time_s = np.full((count, 2), np.nan), np.arange(count) / 25
    for figure in (
        plot_trajectory(CONTEXT, nothing, time_s),
        plot_occupancy(CONTEXT, nothing, lasting(nothing)),
        speed := plot_speed(CONTEXT, time_s, nothing[:, 0], "px/s"),
    ):
        assert NEVER in texts_of(figure)
        assert len(figure.axes) == 1  # there is no colour bar of values that nobody measured
        assert not figure.axes[0].child_axes
        assert not figure.legends
        write_plot(tmp_path / "a.png", figure)
    assert not speed.axes[0].get_yticks().size


@pytest.mark.parametrize("path", [[(320, 240)], [(-1e9, 1e9), (320, 240)], [(320, 240)] * 40])
def test_short_still_and_far_paths_are_drawn(path, tmp_path):
    centre, time_s = np.array(path, np.float64), np.arange(len(path)) / 25
    for figure in (plot_trajectory(CONTEXT, centre, time_s), plot_occupancy(CONTEXT, centre, lasting(centre))):
        axes = figure.axes[0]
        assert axes.get_xlim() == (-0.5, 639.5)
        write_plot(tmp_path / "a.png", figure)
        image = cv2.imread(str(tmp_path / "a.png")).astype(int)
        box = axes.get_window_extent().extents * 150 / figure.dpi
        inside = image[len(image) - int(box[3]) + 9 : len(image) - int(box[1]) - 9, int(box[0]) + 9 : int(box[2]) - 9]
        assert (np.ptp(inside, axis=2) > 40).sum() > 3


def test_the_same_plot_gives_the_same_files_whatever_the_users_settings(tmp_path):
    def draw(name):
        context = dataclasses.replace(CONTEXT, zones=ZONES, px_per_mm=1.0)
        for ending in ("svg", "png"):
            write_plot(tmp_path / f"{name}.{ending}", plot_trajectory(context, straight(), np.arange(200) / 25))

    draw("one")
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}), plot_style():
        draw("two")
    for ending in ("svg", "png"):
        assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
    assert "<dc:date>" not in (tmp_path / "one.svg").read_text()


@pytest.mark.parametrize("name", ["2026-05-14_cage07_females_" * 6, "<b>&$x$\x01\x1b[2J", "мышь 老鼠"])
def test_any_name_fits_and_is_harmless(name, tmp_path):
    context = dataclasses.replace(CONTEXT, video=name, zones={name[:20]: ZONES["nest"]})
    figure = plot_occupancy(context, straight(), lasting(straight()))
    write_plot(tmp_path / "a.png", figure)
    image = cv2.imread(str(tmp_path / "a.png"))
    assert (image[:, -2:] == 255).all()  # nothing is cut off at the right
    assert ET.fromstring(svg_of(figure, tmp_path / "a.svg")).tag.endswith("svg")
