"""The coordinate rule. This is its only statement; every other file calls these functions.

Points are (x, y) floats and pixel (0, 0) is the *centre* of the top-left pixel, so
  cell i of a stride-s map is centred on pixel   i * s + (s - 1) / 2
  resizing by `scale` maps                       x' = (x + 0.5) * scale - 0.5
cv2.resize follows the same rule.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Number = TypeVar("_Number", float, NDArray[np.float64])


def cell_to_px(cell: _Number, stride: int) -> _Number:
    """The pixel coordinate of the centre of a cell, which may be fractional."""
    return cell * stride + (stride - 1) / 2


def px_to_cell(px: _Number, stride: int) -> _Number:
    """The inverse of `cell_to_px`; the result is not rounded."""
    return (px - (stride - 1) / 2) / stride


def lies_within(region: tuple[int, int, int, int], frame_wh: tuple[int, int]) -> bool:
    """Returns True when all of a region (x, y, w, h) is in the frame."""
    x, y, w, h = region
    return x + w <= frame_wh[0] and y + h <= frame_wh[1]
