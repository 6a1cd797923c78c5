"""Plots of how an animal moved: its path, where it stayed, how fast it was; each as SVG and as PNG.

Only this file imports matplotlib (extra `plots`). All plots have the same fonts and one colour map, which colour-blind
people can read, and the same poses give the same bytes.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgepose.geometry.zones import inside
from edgepose.system.atomic_files import write_whole
from edgepose.system.extras import extra
from edgepose.types import F64, U8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png")
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine has it
    "font.size": 9,
    "figure.titlesize": 9,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "savefig.dpi": 150,
    "svg.fonttype": "none",  # text stays text: a name in any script appears in the reader's own fonts
    "svg.hashsalt": "edgepose",
    "text.parse_math": False,  # a name may contain $
}
_WIDTH_IN = 7.0
_TITLE_LETTERS = 84  # in a line
_SIGMA_SHARE = 1 / 60  # standard deviation of the occupancy's smoothing, as a share of the frame's longer side
_CELLS_PER_SIGMA = 3
_DECADES = 2  # of the occupancy's colours; shorter stays are not coloured
_SHADES = 128
_LEAST_CONTRAST = 32  # of the background's grey values; a flat picture stays flat
_MOST_VECTOR_POINTS = 5_000  # a longer path is drawn as pixels, or its SVG would have many megabytes
_SPEED_BINS = 450


@dataclass(frozen=True, slots=True)
class PlotContext:
    """Holds what the plots of one video have in common.

    Attributes:
        video: the file's name.
        model: the id of the model that found the poses.
        background: (h, w) grey picture of the scene, of any size.
        size_wh: size of the frames, in whose pixels positions are given.
        zones: corners (P, 2) by name, in pixels of the frame.
        px_per_mm: scale in the middle of the picture; None where it is not known.
        is_scale: True where the scale is the same in the whole picture, so that its axes can be in mm.
        point: what stands for the animal.
    """

    video: str
    model: str
    background: U8
    size_wh: tuple[int, int]
    zones: dict[str, F64]
    px_per_mm: float | None = None
    is_scale: bool = False
    point: str = "the animal's centre"


def need_matplotlib() -> None:
    """Raises EdgeposeError where the extra `plots` is not installed."""
    with extra("plots", "drawing plots"):
        import matplotlib.style  # noqa: F401


@contextmanager
def plot_style() -> Iterator[None]:
    """Within it, figures are made and saved with `STYLE`, whatever the user's own settings are."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # DejaVu lacks some scripts
        yield


def write_plot(path: Path, figure: Figure) -> None:
    """Writes the figure in the format of the file's ending. The file appears when it is complete.

    Raises EdgeposeError. To be called within `plot_style`.
    """
    # Without a date and a program's version the same figure gives the same bytes.
    ending = path.suffix[1:]
    metadata = {"Date": None} if ending == "svg" else {"Software": None}
    write_whole(path, lambda temporary: figure.savefig(temporary, format=ending, metadata=metadata))


def plot_trajectory(context: PlotContext, centre_px: F64, time_s: F64) -> Figure:
    """The path of the animal's centre over the picture, coloured by time.

    Args:
        context: the video and its picture.
        centre_px: (N, 2), NaN where the animal was not seen.
        time_s: (N,) time of each frame.
    """
    from matplotlib.collections import LineCollection

    figure, axes = _picture_axes(context, f"path of {context.point}")
    divisor, unit = _time_unit(float(time_s[-1]))
    known = np.asarray(np.isfinite(centre_px).all(axis=1))
    # One line for each shade; it ends where the next one begins. NaN interrupts a line.
    bounds = np.linspace(0, len(centre_px) - 1, min(_SHADES, max(2, len(centre_px))) + 1).astype(int)
    lines = [centre_px[a : b + 1] for a, b in pairwise(bounds)]
    dots = known & ~np.append(known[1:], False) & ~np.append(False, known[:-1])
    style: dict[str, Any] = {"cmap": _colour_map(), "zorder": 2, "rasterized": len(centre_px) > _MOST_VECTOR_POINTS}
    limits = (float(time_s[0]) / divisor, max(float(time_s[-1]), float(time_s[0]) + 1e-3) / divisor)
    path = LineCollection(lines, linewidths=1.3, capstyle="round", joinstyle="round", **style)
    path.set(array=time_s[bounds[:-1]] / divisor, clim=limits)
    axes.add_collection(path, autolim=False)
    dots[np.flatnonzero(known)[-1:]] = True  # a path without length would not show
    x, y = centre_px[dots].T
    axes.scatter(x, y, s=3, c=time_s[dots] / divisor, vmin=limits[0], vmax=limits[1], **style)
    _finish_picture(context, axes, centre_px[known])
    if known.any():
        figure.colorbar(path, cax=_colour_bar_axes(axes), label=f"time ({unit})")
    return figure


def plot_occupancy(context: PlotContext, centre_px: F64, frame_s: F64) -> Figure:
    """Seconds that the animal's centre spent near each point of the picture.

    Each frame counts with a Gaussian weight by its distance from the point, 1 at the point itself. So a point has at
    most as many seconds as the video, and an animal that stays still for ten seconds gives ten seconds there.

    Args:
        context: the video and its picture.
        centre_px: (N, 2), NaN where the animal was not seen.
        frame_s: (N,) how long each frame lasts.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    sigma_px = max(context.size_wh) * _SIGMA_SHARE
    seconds = occupancy(centre_px, frame_s, context.size_wh, sigma_px)
    cell_px = sigma_px / _CELLS_PER_SIGMA  # the last cells reach beyond the frame
    longest = float(seconds.max()) or float(frame_s.max()) or 1.0
    sigma_mm = f" = {sigma_px / context.px_per_mm:.2g} mm" if context.px_per_mm else ""
    smoothing = f"Gaussian, sigma {sigma_px:.3g} px{sigma_mm}"
    figure, axes = _picture_axes(context, f"occupancy of {context.point} ({smoothing})")
    shortest = longest / 10**_DECADES
    norm = LogNorm(shortest, longest)
    heat = axes.imshow(
        seconds,
        cmap=_colour_map(),
        norm=norm,
        alpha=np.clip(2 * norm(np.maximum(seconds, shortest)), 0, 0.85),  # fades out towards short stays
        interpolation="nearest",
        extent=(-0.5, seconds.shape[1] * cell_px - 0.5, seconds.shape[0] * cell_px - 0.5, -0.5),
        zorder=2,
    )
    known = centre_px[np.isfinite(centre_px).all(axis=1)]
    _finish_picture(context, axes, known)
    if not len(known):
        return figure
    bar = figure.colorbar(heat, cax=_colour_bar_axes(axes), format=FuncFormatter(lambda value, _: f"{value:.3g}"))
    bar.set_label("time near the point (s)")
    bar.locator, bar.minorlocator = LogLocator(subs=(1, 2, 5)), NullLocator()
    return figure


def occupancy(centre_px: F64, frame_s: F64, size_wh: tuple[int, int], sigma_px: float) -> F64:
    """Seconds (rows, columns) near each cell of a grid, weighted as `plot_occupancy` says; cells of a third of sigma.

    A point outside the frame does not count.
    """
    cell_px = sigma_px / _CELLS_PER_SIGMA
    seen = np.isfinite(centre_px).all(axis=1)
    known = centre_px[seen]
    edges = [np.arange(np.ceil(size / cell_px) + 1) * cell_px - 0.5 for size in reversed(size_wh)]
    seconds, *_ = np.histogram2d(known[:, 1], known[:, 0], bins=edges, weights=frame_s[seen])
    smooth = cv2.GaussianBlur(seconds, (0, 0), _CELLS_PER_SIGMA, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(smooth * (2 * np.pi * _CELLS_PER_SIGMA**2), np.float64)


def plot_speed(context: PlotContext, time_s: F64, speed: F64, unit: str) -> Figure:
    """The speed of the animal's centre over time.

    A long video is drawn in bins of time: the mean of each, over a band from the slowest to the fastest frame.

    Args:
        context: the video.
        time_s: (N,) time of each frame.
        speed: (N,) in `unit`, NaN where it is not known.
        unit: px/s or mm/s.
    """
    divisor, time_unit = _time_unit(float(time_s[-1]))
    per_bin = -(-len(speed) // _SPEED_BINS)
    padded = np.pad(speed, (0, -len(speed) % per_bin), constant_values=np.nan).reshape(-1, per_bin)
    seen = np.isfinite(padded).any(axis=1)
    mean, low, high = (np.full(len(padded), np.nan) for _ in range(3))
    mean[seen], low[seen], high[seen] = (of(padded[seen], axis=1) for of in (np.nanmean, np.nanmin, np.nanmax))
    middle = np.array([part.mean() for part in np.array_split(time_s, range(per_bin, len(speed), per_bin))]) / divisor
    figure, axes = _new_figure(context, f"speed of {context.point}", 3.2)
    bin_s = per_bin * float(time_s[-1] - time_s[0]) / max(1, len(time_s) - 1)
    if per_bin > 1:
        axes.fill_between(middle, low, high, color="#b7d3e6", linewidth=0, label="slowest to fastest frame")
    length = f"{bin_s:.2g} s" if bin_s < 99 else f"{bin_s / 60:.2g} min"
    axes.plot(middle, mean, color="#00507f", linewidth=1, label=f"mean of {length}", marker="." * (len(mean) < 3))
    axes.set(xlabel=f"time ({time_unit})", ylabel=f"speed ({unit})", ylim=(0, _speed_limit(mean[seen], high[seen])))
    axes.set_xlim(float(time_s[0]) / divisor, max(float(time_s[-1]), float(time_s[0]) + 1e-3) / divisor)
    axes.grid(visible=True)
    axes.spines[["top", "right"]].set_visible(False)
    if not seen.any():
        axes.set_yticks([])
        _report_unseen(axes)
    elif per_bin > 1:
        figure.legend(loc="outside lower right", ncols=2)
    return figure


def _new_figure(context: PlotContext, title: str, height_in: float) -> tuple[Figure, Axes]:
    # Not pyplot: it would choose a window system.
    from matplotlib.figure import Figure

    figure = Figure((_WIDTH_IN, height_in), layout="constrained")
    lines = [f"{context.video}: {title}", f"model {context.model}"]
    wrapped = [part for line in lines for part in textwrap.wrap(_printable(line), _TITLE_LETTERS)]
    figure.suptitle("\n".join(wrapped), x=0.01, ha="left")
    return figure, figure.subplots()


def _picture_axes(context: PlotContext, title: str) -> tuple[Figure, Axes]:
    """Axes in pixels of the frame, over its pale picture; the centre of the first pixel is 0. Ticks can be in mm."""
    from matplotlib.ticker import MaxNLocator

    w, h = context.size_wh
    figure, axes = _new_figure(context, title, float(np.clip(5.4 * h / w, 2.0, 8.0)) + 1.0)
    dark, bright = np.percentile(context.background, (1, 99))
    contrast = max(bright - dark, _LEAST_CONTRAST)
    # Whatever the light, the picture fills the pale half of the greys, on which all colours show.
    limits = {"vmin": dark - 1.5 * contrast, "vmax": dark + contrast}
    axes.imshow(context.background, cmap="gray", **limits, extent=(-0.5, w - 0.5, h - 0.5, -0.5), zorder=1)
    unit = "mm" if context.is_scale else "px"
    axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})")
    if context.px_per_mm and context.is_scale:
        for axis, size in ((axes.xaxis, w), (axes.yaxis, h)):
            ticks = [
                mm
                for mm in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(0, size / context.px_per_mm)
                if mm * context.px_per_mm < size
            ]
            axis.set_ticks([mm * context.px_per_mm for mm in ticks], [f"{mm:g}" for mm in ticks])
    return figure, axes


def _colour_map() -> Colormap:
    """Viridis without its lightest part, which does not show on a pale picture."""
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap

    return ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.92, 256)))


def _colour_bar_axes(axes: Axes) -> Axes:
    """Returns axes as high as the picture, to its right."""
    return axes.inset_axes((1.02, 0, 0.03, 1))


def _finish_picture(context: PlotContext, axes: Axes, path_px: F64) -> None:
    """Draws the zones over everything else, and the scale bar below a picture whose axes are in pixels.

    path_px: (N, 2), the places where the animal was.
    """
    box = {"facecolor": "white", "alpha": 0.6, "linewidth": 0, "boxstyle": "square,pad=0.2"}
    w, h = context.size_wh
    letter_px, line_px = np.array([0.08, 0.19]) * max(w, h * 0.8) / 5.5  # inches, in pixels of the frame
    placed: list[F64] = []  # middle and half a size of the names so far, each (2, 2)
    for name, corners in context.zones.items():
        axes.fill(*corners.T, fill=False, edgecolor="black", linewidth=1, linestyle=(0, (4, 2)), zorder=3)
        half_px = np.array([len(name) * letter_px, line_px]) / 2
        x, y = place = _place_for_name(context, corners, half_px, path_px, placed)
        placed.append(np.stack([place, half_px]))
        axes.text(x, y, _printable(name), ha="center", va="center", bbox=box, zorder=4)
    if context.px_per_mm and not context.is_scale:
        length_mm = _round_down(0.2 * w / context.px_per_mm)
        ends, below = [w - length_mm * context.px_per_mm, w], axes.get_xaxis_transform()
        style: dict[str, Any] = {"transform": below, "clip_on": False}
        axes.plot(ends, [-0.14, -0.14], color="black", linewidth=3, solid_capstyle="butt", **style)
        axes.text(w, -0.13, f"{length_mm:g} mm in the middle", ha="right", va="bottom", **style)
    axes.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5))
    if not len(path_px):
        _report_unseen(axes)


def _place_for_name(context: PlotContext, corners: F64, half_px: F64, path_px: F64, placed: list[F64]) -> F64:
    """Returns the middle (2,) for the name of a zone: where it hides no other name and least of the path.

    A name goes along the edges inside its zone; one that is too large for that may also go above or below the zone.
    """
    low, high = corners.min(axis=0), corners.max(axis=0)
    first, last = low + half_px, high - half_px
    middle = (low + high) / 2
    rows = [*np.linspace(first[1], last[1], 7)] if first[1] < last[1] else [middle[1]]
    columns = [middle[0], first[0], last[0]] if first[0] < last[0] else [middle[0]]
    rows += [low[1] - half_px[1], high[1] + half_px[1]] if len(rows) == 1 or len(columns) == 1 else []
    most = np.array(context.size_wh) - half_px
    places = [np.clip((x, y), np.minimum(half_px, most), most) for y in rows for x in columns]
    within = [place for place in places if inside(place[None], corners).all()]

    def hidden(place: F64) -> int:
        names = sum(bool((np.abs(place - other[0]) < half_px + other[1]).all()) for other in placed)
        return names * (len(path_px) + 1) + int((np.abs(path_px - place) < half_px).all(axis=1).sum())

    return min(within if len(columns) > 1 and within else places, key=hidden)


def _report_unseen(axes: Axes) -> None:
    style: dict[str, Any] = {"ha": "center", "va": "center", "color": "#b00020", "zorder": 5}
    box = {"facecolor": "white", "linewidth": 0}
    axes.text(
        0.5, 0.5, "The animal was never seen with enough likelihood.", transform=axes.transAxes, bbox=box, **style
    )


def _printable(text: str) -> str:
    """SVG cannot hold control characters."""
    return "".join(character if character.isprintable() else " " for character in text)


def _time_unit(longest_s: float) -> tuple[float, str]:
    """Returns a divisor of seconds that keeps numbers short, and the unit that they then have."""
    return (1.0, "s") if longest_s < 300 else (60.0, "min") if longest_s < 3 * 3600 else (3600.0, "h")


def _speed_limit(mean: F64, high: F64) -> float:
    """Upper end of the speed's axis: a few frames in which a keypoint jumped must not press the rest to the ground."""
    if not len(mean):
        return 1.0
    return max(1.1 * float(min(high.max(), 2.5 * np.quantile(mean, 0.99))), 1e-3)


def _round_down(value: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above `value`."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(power * factor for factor in (5, 2, 1) if power * factor <= value))
