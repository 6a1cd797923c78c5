"""The colour and the shape of each keypoint: the same in overlays, snapshots, contact sheets, the terminal and reports.

Keypoint number k has colour k of the palette, whatever model it belongs to. When the palette has come to its end, the
same colours return with another shape. Only after `len(PALETTE) * len(SHAPES)` keypoints is a pair used again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import numpy as np

from edgepose.types import F64, U8

Shape: TypeAlias = Literal["circle", "square", "diamond", "triangle"]

# The first seven are those of Okabe and Ito (Color Universal Design, 2008) without black, which is not seen on a dark
# ground. Then pale grey from the scheme "muted" and light cyan from "light" by Paul Tol (SRON/EPS/TN/09-002, 2021):
# among his colours that are bright enough they are the farthest from the seven. Any two colours are at least 10 apart
# (CIEDE2000), also for people with protanopia, deuteranopia or tritanopia (simulated after Machado et al., 2009).
PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#dddddd", "#99ddff")
SHAPES: tuple[Shape, ...] = get_args(Shape)
_TURN = np.linspace(0, 2 * np.pi, 24, endpoint=False)
SHAPE_CORNERS: dict[Shape, F64] = {
    "circle": np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1),
    "square": 0.9 * np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)]),
    "diamond": 1.3 * np.array([(0.0, -1), (1, 0), (0, 1), (-1, 0)]),
    "triangle": 1.5 * np.array([(0.0, -1), (0.87, 0.5), (-0.87, 0.5)]),
}
"""The corners (x, y) of each shape around (0, 0), y downwards, for a radius of 1; all cover about the same area."""


@lru_cache(maxsize=8)
def keypoint_colours(count: int) -> U8:
    """Returns the colours of keypoints 0..count-1, RGB (count, 3), not to be written to."""
    palette = np.array([list(bytes.fromhex(colour[1:])) for colour in PALETTE], np.uint8)
    colours = palette[np.arange(count) % len(PALETTE)]
    colours.flags.writeable = False
    return colours


def keypoint_hex(count: int) -> tuple[str, ...]:
    """Returns the colours of keypoints 0..count-1 as `#rrggbb`."""
    return tuple(PALETTE[k % len(PALETTE)] for k in range(count))


def keypoint_shapes(count: int) -> tuple[Shape, ...]:
    """Returns the shapes of keypoints 0..count-1: circles, then squares, diamonds and triangles."""
    return tuple(SHAPES[k // len(PALETTE) % len(SHAPES)] for k in range(count))
