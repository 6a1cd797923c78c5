"""Draws the plots of a report, as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepose.analysis.plots import plot_style
from edgepose.pose.colours import PALETTE, Shape, keypoint_hex, keypoint_shapes
from edgepose.types import F64
from edgepose_train.evaluation.score_calibration import ReliabilityBin
from edgepose_train.report.pictures import short

if TYPE_CHECKING:
    from edgepose_train.training.training_logs import CurvePoint

_MOST_COLOURED = 6  # keypoints that get a colour and a name; the others are grey
_SIZE_IN = (4.7, 3.1)
_BLUE, _VERMILION = PALETTE[4], PALETTE[5]
_LINE_STYLES: dict[Shape, str] = {"circle": "-", "square": "--", "diamond": ":", "triangle": "-."}
_STYLE: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True}


def cdf_svg(error_px: F64, names: Sequence[str]) -> str:
    """Plots the share of each keypoint's labels that are found within a distance; error_px: (N, K)."""
    shown = error_px[np.isfinite(error_px)]
    limit = float(np.percentile(shown, 97)) * 1.15 + 0.1
    ranked = sorted(range(len(names)), key=lambda k: -np.nan_to_num(np.nanmean([*error_px[:, k], -1])))

    def draw(axes: Any) -> None:
        from matplotlib.patheffects import withStroke

        colours, shapes = keypoint_hex(len(names)), keypoint_shapes(len(names))
        outline = [withStroke(linewidth=3, foreground="#333333")]  # some colours are too light on white
        coloured = ranked if len(names) <= _MOST_COLOURED else ranked[: _MOST_COLOURED - 1]
        for k in [k for k in ranked if k not in coloured]:
            _step(axes, error_px[:, k], color="#bbbbbb", linewidth=1)
        lines = [
            _step(
                axes,
                error_px[:, k],
                color=colours[k],
                linestyle=_LINE_STYLES[shapes[k]],
                linewidth=1.8,
                path_effects=outline,
            )
            for k in coloured
        ]
        others = f"the other {len(names) - len(coloured)}" if len(names) > len(coloured) else ""
        if others:
            lines.append(axes.plot([], [], color="#bbbbbb")[0])
        entries = [*(_entry(names[k]) for k in coloured), *([others] if others else [])]
        _legend(axes, lines, entries, ncols=2)
        axes.set(xlim=(0, limit), ylim=(0, 101), xlabel="px from the label", ylabel="% of the labels")

    return _svg(draw)


def _legend(axes: Any, *entries: Any, ncols: int = 1) -> None:
    """Puts the legend above the plot, because no corner of it is always free."""
    axes.legend(*entries, loc="lower left", bbox_to_anchor=(0, 1), ncols=ncols)


def _step(axes: Any, errors: F64, **style: Any) -> Any:
    known = np.sort(errors[np.isfinite(errors)])
    shares = 100 * np.arange(len(known) + 1) / max(len(known), 1)
    end = [known[-1] * 10 + 1e3] if len(known) else [0.0]  # the line continues to the right edge
    (line,) = axes.step([0, *known, *end], [*shares, shares[-1]], where="post", **style)
    return line


def _entry(name: str) -> str:
    # matplotlib leaves names that begin with an underscore out of legends.
    return f" {short(name)}" if name.startswith("_") else short(name)


def curve_svg(curve: Sequence[CurvePoint]) -> str:
    """Plots loss and validation error over the steps, one below the other."""

    def draw(figure: Any) -> None:
        above, below = figure.subplots(2, sharex=True)
        steps = [point.step for point in curve]
        above.plot(steps, [point.loss for point in curve], color=_BLUE, marker="o", markersize=3)
        above.set(ylabel="loss", ylim=(0, None))
        below.plot(steps, [point.validation_px for point in curve], color=_VERMILION, marker="o", markersize=3)
        below.set(ylabel="validation px", xlabel="step")
        below.set_ylim(0, 1.1 * max(np.percentile([point.validation_px for point in curve], 80), 1))

    return _svg_of(draw)


def reliability_svg(before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin], right_px: float) -> str:
    """Plots how often predictions of a score are right; on the diagonal, they are right as often as the score says."""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color="#888888", linestyle="--", linewidth=1, label="as it should be")
        for bins, label, colour, marker in (
            (before, "the network's score", _VERMILION, "s"),
            (after, "after the card's mapping", _BLUE, "o"),
        ):
            if bins:
                places = ([b.score for b in bins], [b.right for b in bins])
                axes.plot(*places, color=colour, linewidth=1, marker=marker, markersize=6, label=label)
        # Most scores are near 1, so only the part of the square that has points is drawn.
        low = np.floor(10 * min([0.9, *(value for b in (*before, *after) for value in (b.score, b.right))]) - 0.5) / 10
        limits = (max(low, 0.0), 1 + 0.03 * (1 - max(low, 0.0)))
        _legend(axes)
        axes.set(xlim=limits, ylim=limits, xlabel="score", ylabel=f"share within {right_px:.3g} px")

    return _svg(draw)


def _svg(draw: Any) -> str:
    return _svg_of(lambda figure: draw(figure.subplots()))


def _svg_of(draw: Any) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with plot_style(), mpl.rc_context(_STYLE):
        figure = Figure(_SIZE_IN, layout="constrained")
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
