"""Draws labels and predictions over a frame, as SVG: a small JPEG with vector marks over it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np

from edgepose.pose.colours import SHAPE_CORNERS, keypoint_hex, keypoint_shapes
from edgepose.types import F64, U8

_WIDTH = 480  # a picture's width in units and in pixels
_ASPECT = 4 / 3
_ROOM = 1.35  # times the box round all marks
_LEAST = 0.12  # the smallest part, as a share of the frame's width
_NAMED = 4  # marks with a name in a picture, those with the largest errors
_QUALITY = 80
_LONGEST = 18  # letters of a name in a picture or plot

_Box = tuple[float, float, float, float]  # left, top, right, bottom


def picture_svg(image: U8, label_px: F64, xy_px: F64, names: Sequence[str], alt: str) -> str:
    """Returns an `<svg>` that contains the picture and its marks.

    Args:
        image: BGR (H, W, 3).
        label_px: the labels (K, 2) in frame pixels, NaN where not labelled.
        xy_px: the predictions (K, 2) in frame pixels.
        names: the keypoints' names.
        alt: the text for those who cannot see the picture.
    """
    x, y, w, h = crop(image.shape[:2], np.concatenate([label_px, xy_px]))
    unit = w / _WIDTH
    errors = np.linalg.norm(xy_px - label_px, axis=1)
    worst = np.argsort(-np.nan_to_num(errors))[:_NAMED].tolist()
    marks = "".join(_marks(label_px[k], xy_px[k], name, k, unit) for k, name in enumerate(names))
    texts = [(f"{short(names[k])} {errors[k]:.1f}", xy_px[k]) for k in worst if np.isfinite(errors[k])]
    points = [point for point in np.concatenate([label_px, xy_px]) if np.isfinite(point).all()]
    notes = _notes(texts, points, (x, y, x + w, y + h), unit)
    part = _jpeg(image[y : y + h, x : x + w])
    # Pixel centres are at whole numbers, so the picture begins half a pixel before the centre of the first pixel.
    return (
        f'<svg viewBox="{x - 0.5:.1f} {y - 0.5:.1f} {w} {h}" role="img" aria-label="{escape(alt)}">'
        f'<image x="{x - 0.5:.1f}" y="{y - 0.5:.1f}" width="{w}" height="{h}" href="{part}"/>{marks}{notes}</svg>'
    )


def crop(frame_hw: tuple[int, int], points: F64) -> tuple[int, int, int, int]:
    """Returns x, y, width and height of the part of a frame that shows those `points` (P, 2) that lie in it."""
    rows, columns = frame_hw
    known = points[np.isfinite(points).all(axis=1)]
    known = np.clip(known, 0, [columns - 1, rows - 1])
    low, high = known.min(axis=0), known.max(axis=0)
    w, h = np.maximum((high - low) * _ROOM, _LEAST * columns)
    w = min(max(w, h * _ASPECT), columns)
    h = min(max(h, w / _ASPECT), rows)
    size = np.ceil([w, h]).astype(int)
    corner = np.clip(np.round((low + high) / 2 - size / 2).astype(int), 0, [columns - size[0], rows - size[1]])
    return int(corner[0]), int(corner[1]), int(size[0]), int(size[1])


def short(name: str) -> str:
    """Shortens a long name in its middle, because long names mostly differ at one end."""
    return name if len(name) <= _LONGEST else f"{name[:10]}…{name[11 - _LONGEST :]}"


def _jpeg(part: U8) -> str:
    scale = min(1.0, _WIDTH / part.shape[1])
    small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ok, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert ok
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def keypoint_dot(keypoint: int, xy_px: F64, unit: float = 1.0) -> str:
    """Returns the sign of a keypoint, in the colour and shape of its number. unit: pixels of a unit of the picture."""
    colour, shape = keypoint_hex(keypoint + 1)[-1], keypoint_shapes(keypoint + 1)[-1]
    corners = " ".join(f"{x:.2f},{y:.2f}" for x, y in xy_px + 4.5 * unit * SHAPE_CORNERS[shape])
    return f'<polygon class="dot" points="{corners}" fill="{colour}" stroke-width="{1.2 * unit:.2f}"/>'


def _marks(label: F64, found: F64, name: str, keypoint: int, unit: float) -> str:
    """Returns a ring for the label, a dot for the prediction, and a line between them."""
    px, py = found
    dot = keypoint_dot(keypoint, found, unit)
    if not np.isfinite(label).all():
        return f"<g><title>{escape(name)}, not labelled</title>{dot}</g>"
    lx, ly = label
    r = 8 * unit
    ring = "".join(
        f'<g class="{layer}" stroke-width="{width * unit:.2f}"><circle cx="{lx:.2f}" cy="{ly:.2f}" r="{r:.2f}"/>'
        f'<path d="M{lx:.2f} {ly:.2f}L{px:.2f} {py:.2f}"/></g>'
        for layer, width in (("edge", 3.6), ("label", 1.8))
    )
    return f"<g><title>{escape(name)}</title>{ring}{dot}</g>"


# The possible places of a text beside its dot, in units: right, left, above and below, then further away.
_PLACES = (*((dx, dy) for dy in (5, -12, 22, -30, 40) for dx in (13, -13)), (0, -15), (0, 28), (0, -32), (0, 45))
_TEXT, _LETTER, _MARK = 17, 11.5, 7  # units: height of a letter, mean width in a wide font, and the space round a mark


def _notes(at: Sequence[tuple[str, F64]], marks: Sequence[F64], inside: _Box, unit: float) -> str:
    """Places each text beside its point, where it is inside the picture and covers no mark and no other text."""
    side = _MARK * unit
    taken: list[_Box] = [(x - side, y - side, x + side, y + side) for x, y in marks]
    found = []
    for text, (px, py) in at:
        places = [(px + dx * unit, py + dy * unit, int(np.sign(dx))) for dx, dy in _PLACES]
        boxes = [_text_box(text, *place, unit) for place in places]
        best = min(range(len(places)), key=lambda i: _covered(boxes[i], taken, inside))
        x, y, direction = places[best]
        taken.append(boxes[best])
        anchor = {1: "start", -1: "end", 0: "middle"}[direction]
        found.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{_TEXT * unit:.2f}" '
            f'stroke-width="{4 * unit:.2f}">{escape(text)}</text>'
        )
    return "".join(found)


def _text_box(text: str, x: float, y: float, direction: int, unit: float) -> _Box:
    """Returns the box of a text at (x, y) that extends to the right (1), to the left (-1) or to both sides (0)."""
    width = len(text) * _LETTER * unit
    left = x + width * (direction - 1) / 2
    return left, y - 0.8 * _TEXT * unit, left + width, y + 0.2 * _TEXT * unit


def _covered(box: _Box, taken: list[_Box], inside: _Box) -> float:
    """Returns the area that covers other boxes, and ten times the area outside of the picture."""
    hidden = (box[2] - box[0]) * (box[3] - box[1]) - _shared(box, inside)
    return round(10 * hidden + sum(_shared(box, other) for other in taken), 6)


def _shared(a: _Box, b: _Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
