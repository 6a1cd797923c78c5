"""Cutting a region out of a frame, and placing a window in it.

A region is (x, y, w, h) in the pixels of the whole frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from edgepose.geometry.pixels import i420_planes
from edgepose.types import F32, U8, Frame, image_size_wh

FrameRegion: TypeAlias = tuple[int, int, int, int]

MARGIN = 0.12  # share of a window's side that should stay free between its border and the animal
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Crop:
    """A region of a frame as a frame of its own.

    Attributes:
        frame: the region.
        scale_xy: pixels of the whole frame in one pixel of `frame`, along x and y.
        offset_xy: pixels of the whole frame left of the region and above it.
    """

    frame: Frame
    scale_xy: tuple[float, float]
    offset_xy: tuple[float, float]

    def to_whole(self, xy_px: F32) -> F32:
        """Maps pixels (..., 2) of `frame` to pixels of the whole frame."""
        return np.asarray((xy_px + 0.5) * self.scale_xy - 0.5 + self.offset_xy, np.float32)


def crop(frame: Frame, region: FrameRegion) -> Crop:
    """Cuts a region out of the full picture where the frame has one, else out of the smaller image.

    A crop has whole pixels of that image, so it may be a little larger than the region, never smaller.
    """
    if frame.field_wh is not None and frame.full is not None:
        frame = replace(frame, image=frame.full, order="bgr", field_wh=None)
    planes = frame.order == "i420"
    image_w, image_h = image_size_wh(frame.image, frame.order)
    # Pixels of the whole frame in one pixel of the image.
    step_x, step_y = frame.size_wh[0] / image_w, frame.size_wh[1] / image_h
    x, y, w, h = region
    columns = _whole_pixels(x / step_x, (x + w) / step_x, planes)
    rows = _whole_pixels(y / step_y, (y + h) / step_y, planes)
    image = _crop_planes(frame.image, columns, rows) if planes else frame.image[rows, columns]
    # The crop has the size that it has in the whole frame's pixels, so that its proportions are right.
    exact_wh = (columns.stop - columns.start) * step_x, (rows.stop - rows.start) * step_y
    field_wh = round(exact_wh[0]), round(exact_wh[1])
    part = replace(frame, image=image, field_wh=field_wh, full=None)
    scale_xy = exact_wh[0] / field_wh[0], exact_wh[1] / field_wh[1]
    return Crop(part, scale_xy, (columns.start * step_x, rows.start * step_y))


def _whole_pixels(start: float, stop: float, planes: bool) -> slice:
    """The whole pixels that cover this range. Of planes both pixels that share a colour are taken."""
    step = 2 if planes else 1
    # A border that lies on a whole pixel stays there, however the division rounds: the image may end there.
    return slice(math.floor(start / step + _ROUNDING) * step, math.ceil(stop / step - _ROUNDING) * step)


def _crop_planes(image: U8, columns: slice, rows: slice) -> U8:
    luma, *colours = i420_planes(image)
    half = slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2)
    parts = [luma[rows, columns], *(colour[half] for colour in colours)]
    return np.concatenate([part.ravel() for part in parts]).reshape(-1, columns.stop - columns.start)


def place_window(
    low_xy: Sequence[float],
    high_xy: Sequence[float],
    field: FrameRegion,
    size_wh: tuple[int, int],
    window: FrameRegion | None = None,
) -> FrameRegion:
    """Places a window round a box, inside the field.

    Args:
        low_xy, high_xy: two corners of the box, pixels of the frame.
        field: the region that the window must not leave.
        size_wh: the window's size; a smaller field makes it smaller.
        window: where it is now. It moves only along those axes on which the box comes near its border.
    """
    starts, sides = [], []
    for axis in (0, 1):
        first, whole = field[axis], field[2 + axis]
        side = min(size_wh[axis], whole)
        last, margin = first + whole - side, MARGIN * side
        start = window[axis] if window else None
        if (
            start is None
            or (low_xy[axis] < start + margin and start > first)
            or (high_xy[axis] > start + side - 1 - margin and start < last)
        ):
            start = min(max(round((low_xy[axis] + high_xy[axis] - side + 1) / 2), first), last)
        starts.append(start)
        sides.append(side)
    return starts[0], starts[1], sides[0], sides[1]
