"""Pictures of how an animal moved: its trajectory, where it stayed, how fast it was."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.analysis.chart import BAR, Chart, draw_axes, draw_colour_bar, draw_grid, new_chart, shares
from edgepose.system.table_files import write_whole
from edgepose.types import F64, U8

Mask: TypeAlias = NDArray[np.bool_]

_PLOT_WH = (900, 700)  # pixels; a video frame is scaled to fit
_CELLS = 48  # of the occupancy along the longer side
_SPEED_BINS = 450
_TIME_MAP, _STAY_MAP = cv2.COLORMAP_TURBO, cv2.COLORMAP_VIRIDIS
_LINE = (150, 80, 20)  # BGR


def write_plot(path: Path, image: U8) -> None:
    """Raises EdgeposeError. The file appears when it is complete."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(cv2.imencode(".png", image)[1].tobytes())

    write_whole(path, write)


def plot_trajectory(name: str, picture: U8, centre: F64, time_s: F64) -> U8:
    """picture: a BGR frame. centre: (N, 2) in its pixels, NaN where not known. time_s: (N,). Returns a BGR picture."""
    chart = _frame_chart(f"{name}: path of the animal's centre", picture)
    divisor, unit = _time_unit(time_s[-1])
    times = time_s / divisor
    scale = (float(times[0]), max(float(times[-1]), float(times[0]) + 1e-6))
    known = np.asarray(np.isfinite(centre).all(axis=1))
    points = np.zeros((len(centre), 2), np.int32)
    points[known] = np.round(np.clip(chart.place(centre[known, 0], centre[known, 1]), -4000, 4000) * 16)
    shade = (shares(scale, False)(times) * 255).round().astype(np.uint8)
    colours = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], _TIME_MAP).reshape(-1, 3).tolist()
    for start, end in _runs(known):
        borders = start + 1 + np.flatnonzero(np.diff(shade[start:end]))
        for a, b in zip([start, *borders], [*borders, end], strict=True):
            line = points[np.minimum(np.arange(a, b + 1), end - 1)]  # up to where the next colour begins
            cv2.polylines(chart.plot, [line], False, colours[shade[a]], 2, cv2.LINE_AA, 4)
    _finish_frame_chart(chart, known)
    draw_colour_bar(chart, _TIME_MAP, scale, f"time ({unit})")
    return chart.image


def plot_occupancy(name: str, picture: U8, centre: F64, frame_s: float) -> U8:
    """Seconds that the centre was in each cell of a grid. As `plot_trajectory`; frame_s: seconds that a frame lasts."""
    chart = _frame_chart(f"{name}: where the animal stayed", picture)
    h, w = picture.shape[:2]
    cell_px = max(1, round(max(w, h) / _CELLS))
    known = np.asarray(np.isfinite(centre).all(axis=1))
    edges = [np.arange(0, size + cell_px, cell_px) - 0.5 for size in (h, w)]
    seconds, *_ = np.histogram2d(centre[known, 1], centre[known, 0], bins=edges)
    seconds *= frame_s
    scale = (frame_s, max(float(seconds.max()), 2 * frame_s))
    plot = chart.plot
    # Each plot pixel takes the colour of the cell that its centre is in.
    row, column = (
        ((np.arange(length) + 0.5) * size / length // cell_px).astype(int)
        for length, size in zip(plot.shape[:2], (h, w), strict=True)
    )
    stayed = seconds > 0
    shade = (shares(scale, True)(np.where(stayed, seconds, frame_s)) * 255).round().astype(np.uint8)
    heat = cv2.applyColorMap(shade, _STAY_MAP)[row[:, None], column]
    blended = cv2.addWeighted(heat, 0.85, plot, 0.15, 0)
    plot[...] = np.where(stayed[row[:, None], column, None], blended, plot)
    _finish_frame_chart(chart, known)
    draw_colour_bar(chart, _STAY_MAP, scale, f"seconds per cell of {cell_px} x {cell_px} px", logarithmic=True)
    return chart.image


def plot_speed(name: str, time_s: F64, speed: F64, unit: str) -> U8:
    """speed: (N,) in `unit`, NaN where not known. Returns a BGR picture.

    Long videos are drawn in bins of time: the mean, over a band from the slowest to the fastest frame.
    """
    divisor, time_unit = _time_unit(time_s[-1])
    per_bin = -(-len(speed) // _SPEED_BINS)
    padded = np.pad(speed, (0, -len(speed) % per_bin), constant_values=np.nan).reshape(-1, per_bin)
    known = np.isfinite(padded)
    seen = np.asarray(known.any(axis=1))
    mean = np.where(known, padded, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    low, high = np.where(known, padded, np.inf).min(axis=1), np.where(known, padded, -np.inf).max(axis=1)
    middle = np.array([part.mean() for part in np.array_split(time_s, range(per_bin, len(speed), per_bin))]) / divisor
    top = _top_of(mean[seen], high[seen])
    bin_s = per_bin * (time_s[-1] - time_s[0]) / max(1, len(time_s) - 1)
    told = f"{bin_s:.2g} s" if bin_s < 99 else f"{bin_s / 60:.2g} min"
    note = f" (line: mean of {told}; band: slowest to fastest)" if per_bin > 1 else ""
    x = (float(time_s[0]) / divisor, max(float(time_s[-1]), float(time_s[0]) + 1e-3) / divisor)
    chart = new_chart((1000, 420), x, (top, 0.0), f"{name}: speed of the animal's centre{note}")
    draw_grid(chart)
    band = [np.round(np.clip(chart.place(middle, np.where(seen, of, 0)), -4000, 4000)) for of in (low, high)]
    line = np.round(np.clip(chart.place(middle, mean), -4000, 4000) * 16).astype(np.int32)
    for start, end in _runs(seen):
        outline = np.concatenate([band[0][start:end], band[1][start:end][::-1]]).astype(np.int32)
        cv2.fillPoly(chart.plot, [outline], (245, 222, 195))
        cv2.polylines(chart.plot, [line[start:end]], False, _LINE, 2, cv2.LINE_AA, 4)
    _say_if_unseen(chart, seen)
    draw_axes(chart, f"time ({time_unit})", f"speed ({unit})")
    return chart.image


def _frame_chart(title: str, picture: U8) -> Chart:
    """The frame as a pale grey ground, in frame pixels; the centre of its first pixel is 0."""
    h, w = picture.shape[:2]
    factor = min(_PLOT_WH[0] / w, _PLOT_WH[1] / h)
    plot_wh = max(120, round(w * factor)), max(120, round(h * factor))
    chart = new_chart(plot_wh, (-0.5, w - 0.5), (-0.5, h - 0.5), title, BAR)
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    fitted = cv2.resize(grey, plot_wh, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    chart.plot[...] = 255 - (255 - fitted) // 3
    return chart


def _finish_frame_chart(chart: Chart, known: Mask) -> None:
    _say_if_unseen(chart, known)
    draw_axes(chart, "x (frame pixels)", "y (frame pixels)")


def _say_if_unseen(chart: Chart, known: Mask) -> None:
    if not known.any():
        text = "never seen surely enough"
        h, w = chart.plot.shape[:2]
        cv2.putText(chart.plot, text, (max(4, w // 2 - 120), h // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 200), 1, 16)


def _time_unit(longest_s: float) -> tuple[float, str]:
    """What to divide seconds by so that numbers stay short, and the unit that they then have."""
    return (1.0, "s") if longest_s < 300 else (60.0, "min") if longest_s < 3 * 3600 else (3600.0, "h")


def _top_of(mean: F64, high: F64) -> float:
    """Of the speed's axis: a few frames in which a keypoint jumped must not press the rest to the ground."""
    if not len(mean):
        return 1.0
    return max(1.1 * float(min(high.max(), 2.5 * np.quantile(mean, 0.99))), 1e-3)


def _runs(known: Mask) -> list[tuple[int, int]]:
    """Start and end of each run of True."""
    borders = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]])))
    return [(int(start), int(end)) for start, end in borders.reshape(-1, 2)]
