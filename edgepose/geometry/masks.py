"""Privacy masks: parts of the frame that nobody may see. They are blackened in every picture before anything else gets
it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.geometry.pixels import i420_planes
from edgepose.geometry.zones import require_within
from edgepose.types import F64, U8, Frame, image_size_wh

_FINE = 4  # a pixel's side is divided into so many fine pixels
_BLACK_Y, _NO_COLOUR = 16, 128  # values in I420 planes, BT.601 limited range


class Masks:
    """Blackens what lies inside polygons, and one pixel around it."""

    def __init__(self, polygons: Mapping[str, ArrayLike]) -> None:
        """polygons: the corners (P, 2) of each by its name, as (x, y) in pixels of the frame."""
        self._polygons = {name: np.asarray(polygon, np.float64) for name, polygon in polygons.items()}
        self._covered: dict[tuple[tuple[int, int], tuple[int, int]], NDArray[np.bool_]] = {}

    def burn(self, frame: Frame) -> None:
        """Blackens the masked parts of all pictures of the frame, in place. It costs about as much as copying them.

        Raises ConfigError where a mask was drawn for another size of frame.
        """
        if frame.order == "i420":
            _burn_planes(frame.image, self._cover(frame.size_wh, image_size_wh(frame.image, frame.order)))
        else:
            self._burn_picture(frame.image, frame.size_wh)
        if frame.full is not None:
            self._burn_picture(frame.full, frame.size_wh)

    def _burn_picture(self, image: U8, field_wh: tuple[int, int]) -> None:
        image[self._cover(field_wh, (image.shape[1], image.shape[0]))] = 0

    def _cover(self, field_wh: tuple[int, int], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
        """Returns which pixels (H, W) are covered, in a picture of that size that shows the whole field."""
        key = field_wh, size_wh
        if key not in self._covered:
            require_within(self._polygons, field_wh, "masks")
            self._covered[key] = _draw([*self._polygons.values()], field_wh, size_wh)
        return self._covered[key]


def _draw(polygons: Sequence[F64], field_wh: tuple[int, int], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Returns the pixels that show any part of a polygon, and one pixel around them: corners are rounded, and a filter
    that made the picture smaller may have mixed neighbouring pixels."""
    # A border may pass between the centres of pixels, so a pixel is covered where any fine pixel in it is.
    w, h = field_wh
    fine = np.zeros((_FINE * h, _FINE * w), np.uint8)
    for polygon in polygons:
        corners = np.round((np.clip(polygon, -(2.0**16), 2.0**16) + 0.5) * _FINE - 0.5).astype(np.int32)
        cv2.fillPoly(fine, [corners], 255)
    drawn = fine.reshape(h, _FINE, w, _FINE).max(axis=(1, 3))
    if size_wh != field_wh:  # INTER_AREA gives the share of each pixel that is covered
        drawn = (cv2.resize(drawn.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    return cv2.dilate(drawn, np.ones((3, 3), np.uint8)) > 0


def _burn_planes(image: U8, covered: NDArray[np.bool_]) -> None:
    """Blackens I420 planes: Y, then U and V at half the size, where each pixel gives the colour of four."""
    luma, *colours = i420_planes(image)
    luma[covered] = _BLACK_Y
    h, w = covered.shape
    halves = covered.reshape(h // 2, 2, w // 2, 2).any(axis=(1, 3))
    for plane in colours:
        plane[halves] = _NO_COLOUR
