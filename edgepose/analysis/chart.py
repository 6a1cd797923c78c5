"""Axes, ticks, text and colour bars on a white picture, by OpenCV alone: a device has no plotting library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from edgepose.types import F64, U8

Range: TypeAlias = tuple[float, float]

_LEFT, _TOP, _BOTTOM, _RIGHT, BAR = 104, 64, 78, 36, 136  # margins, pixels; BAR: of the colour bar at the right
_INK, _PALE = (50, 50, 50), (225, 225, 225)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True)
class Chart:
    """image: BGR. box: left, top, width, height of the plot in it, pixels. x: values at the plot's left and right edge;
    y: at its top and bottom edge."""

    image: U8
    box: tuple[int, int, int, int]
    x: Range
    y: Range

    @property
    def plot(self) -> U8:
        """The plot's own pixels, to draw into."""
        left, top, w, h = self.box
        return self.image[top : top + h, left : left + w]

    def place(self, x: F64, y: F64) -> F64:
        """(N, 2) pixels of `plot`, of values (N,) each. The edges are half a pixel outside its pixels' centres."""
        _, _, w, h = self.box
        (x0, x1), (y0, y1) = self.x, self.y
        return np.stack([(x - x0) / (x1 - x0) * w - 0.5, (y - y0) / (y1 - y0) * h - 0.5], axis=-1)


def new_chart(plot_wh: tuple[int, int], x: Range, y: Range, title: str, right: int = _RIGHT) -> Chart:
    """An empty chart with room for axes and, where `right` is BAR, for a colour bar."""
    w, h = plot_wh
    wide = max(w + right, _text_wh(title, 0.75)[0] + 20)
    image = np.full((_TOP + h + _BOTTOM, _LEFT + wide, 3), 255, np.uint8)
    _text(image, title, (_LEFT, 34), 0.0, 0.75)
    return Chart(image, (_LEFT, _TOP, w, h), x, y)


def draw_grid(chart: Chart) -> None:
    """Pale lines at the ticks, below whatever is drawn next."""
    _, _, w, h = chart.box
    for value in ticks(*chart.x, w // 64):
        at = round(float(chart.place(np.array(value), np.array(chart.y[0]))[0]))
        cv2.line(chart.plot, (at, 0), (at, h), _PALE, 1)
    for value in ticks(*chart.y, h // 60):
        at = round(float(chart.place(np.array(chart.x[0]), np.array(value))[1]))
        cv2.line(chart.plot, (0, at), (w, at), _PALE, 1)


def draw_axes(chart: Chart, x_label: str, y_label: str) -> None:
    left, top, w, h = chart.box
    image = chart.image
    cv2.rectangle(image, (left - 1, top - 1), (left + w, top + h), _INK, 1)
    for value in ticks(*chart.x, w // 64):
        at = left + round(float(chart.place(np.array(value), np.array(chart.y[0]))[0]))
        cv2.line(image, (at, top + h), (at, top + h + 6), _INK, 1)
        _text(image, f"{value:g}", (at, top + h + 26), 0.5)
    for value in ticks(*chart.y, h // 60):
        at = top + round(float(chart.place(np.array(chart.x[0]), np.array(value))[1]))
        cv2.line(image, (left - 7, at), (left - 1, at), _INK, 1)
        _text(image, f"{value:g}", (left - 12, at + 6), 1.0)
    _text(image, x_label, (left + w // 2, top + h + 58), 0.5)
    _text_upwards(image, y_label, (26, top + h // 2))


def draw_colour_bar(chart: Chart, colormap: int, scale: Range, label: str, logarithmic: bool = False) -> None:
    """Right of the plot. scale: the values of the first and of the last colour."""
    left, top, w, h = chart.box
    x, image = left + w + 24, chart.image
    shades = np.linspace(255, 0, h).round().astype(np.uint8)[:, None].repeat(20, axis=1)
    image[top : top + h, x : x + 20] = cv2.applyColorMap(shades, colormap)
    cv2.rectangle(image, (x - 1, top - 1), (x + 20, top + h), _INK, 1)
    share = shares(scale, logarithmic)
    for value in _decades(*scale) if logarithmic else ticks(*scale, h // 60):
        at = top + h - 1 - round(float(share(np.array(value))) * (h - 1))
        cv2.line(image, (x + 20, at), (x + 26, at), _INK, 1)
        _text(image, f"{value:g}", (x + 31, at + 6), 0.0)
    _text_upwards(image, label, (left + w + BAR - 16, top + h // 2))


def shares(scale: Range, logarithmic: bool) -> Callable[[F64], F64]:
    """The function from a value to its place between the scale's ends, 0..1."""
    low, high = np.log(scale) if logarithmic else np.array(scale)

    def share(values: F64) -> F64:
        place = (np.log(values) if logarithmic else values) - low
        return np.asarray(np.clip(place / max(high - low, 1e-12), 0, 1))

    return share


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values, 1, 2 or 5 times a power of ten apart, from low to high or the other way round; about `most`."""
    low, high = min(low, high), max(low, high)
    rough = (high - low) / max(2, most)
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [float(f"{i * step:.10g}") + 0.0 for i in np.arange(first, last + 1)]  # + 0: there is a minus 0


def _decades(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic scale: powers of ten, with 2 and 5 between where those are few."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 1000 else (1,)
    values = [float(f"{power * factor:.10g}") for power in powers for factor in factors]
    return [value for value in values if low * 0.999 <= value <= high * 1.001]


def _text_wh(text: str, size: float) -> tuple[int, int]:
    (w, h), _ = cv2.getTextSize(text, _FONT, size, 1)
    return w, h


def _text(image: U8, text: str, at: tuple[int, int], align: float, size: float = 0.55) -> None:
    """at: of the base line. align: 0 begins there, 0.5 has its middle there, 1 ends there."""
    x = round(at[0] - align * _text_wh(text, size)[0])
    cv2.putText(image, text, (x, at[1]), _FONT, size, _INK, 1, cv2.LINE_AA)


def _text_upwards(image: U8, text: str, middle: tuple[int, int]) -> None:
    """Turned by a quarter, to be read from the right."""
    w, h = _text_wh(text, 0.55)
    flat = np.full((h + 12, w + 4, 3), 255, np.uint8)
    cv2.putText(flat, text, (2, h + 4), _FONT, 0.55, _INK, 1, cv2.LINE_AA)
    turned = cv2.rotate(flat, cv2.ROTATE_90_COUNTERCLOCKWISE)[: image.shape[0]]
    x = middle[0] - turned.shape[1] // 2
    y = int(np.clip(middle[1] - turned.shape[0] // 2, 0, image.shape[0] - turned.shape[0]))
    image[y : y + turned.shape[0], x : x + turned.shape[1]] = turned
