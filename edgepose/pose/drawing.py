"""Draws a pose, the names of its keypoints, and where they came from and go to, onto a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.pose.colours import SHAPE_CORNERS, keypoint_colours, keypoint_shapes
from edgepose.types import F32, F64, U8, Pose, Skeleton

Colour: TypeAlias = tuple[int, int, int]  # BGR, 0..255
Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom

SURE = 0.5  # a keypoint with a lower score is drawn hollow, without its edges and its name
_SHIFT = 4  # cv2 takes coordinates in sixteenths of a pixel, integers at pixel centres as everywhere here
_FAINT = 0.6  # how much of its colour a future trail has
_DARK: Colour = (20, 20, 20)  # the outline, so that a point is seen on any ground
_LIGHT: Colour = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_PX = 22  # height of a capital letter at scale 1


def draw_pose(image: U8, pose: Pose, skeleton: Skeleton) -> None:
    """Draws the edges and keypoints into `image`, BGR (H, W, 3), whose pixels the pose is in.

    A keypoint whose place is NaN is left out.
    """
    radius = marker_radius(image)
    known = np.asarray(np.isfinite(pose.xy_px).all(axis=1))
    xy_px = np.where(known[:, None], pose.xy_px, 0)
    points = _sixteenths(xy_px).tolist()
    sure = (known & (pose.score >= SURE)).tolist()
    edges = [(points[a], points[b]) for a, b in skeleton.edge_indices() if sure[a] and sure[b]]
    line = max(1, radius // 2)
    for colour, width in ((_DARK, line + 2), (_LIGHT, line)):
        for start, end in edges:
            cv2.line(image, start, end, colour, width, cv2.LINE_AA, _SHIFT)
    for k in np.flatnonzero(known):
        draw_marker(image, xy_px[k], int(k), radius, filled=sure[k])


def draw_marker(image: U8, xy_px: F64 | F32, keypoint: int, radius: int, *, filled: bool = True) -> None:
    """Draws the sign of one keypoint, filled or hollow, with a dark outline.

    Args:
        image: BGR (H, W, 3).
        xy_px: the place, (2,).
        keypoint: its number in the skeleton, which says colour and shape.
        radius: pixels, without the outline.
        filled: False draws only the border.
    """
    colour, corners = bgr_colours(keypoint + 1)[-1], SHAPE_CORNERS[keypoint_shapes(keypoint + 1)[-1]]
    if filled:
        cv2.fillPoly(image, [_sixteenths(xy_px + (radius + 1.3) * corners)], _DARK, cv2.LINE_AA, _SHIFT)
        cv2.fillPoly(image, [_sixteenths(xy_px + radius * corners)], colour, cv2.LINE_AA, _SHIFT)
    else:
        for shade, width in ((_DARK, 4), (colour, 2)):
            cv2.polylines(image, [_sixteenths(xy_px + (radius + 2) * corners)], True, shade, width, cv2.LINE_AA, _SHIFT)


def draw_names(image: U8, pose: Pose, skeleton: Skeleton, text_px: int) -> None:
    """Writes the name of each sure keypoint beside it, where it covers no keypoint and no other name.

    A name that finds no such place is left out. text_px: height of a capital letter.
    """
    sure = np.isfinite(pose.xy_px).all(axis=1) & (pose.score >= SURE)
    radius = marker_radius(image) + 1
    taken: list[Box] = [(x - radius, y - radius, x + radius, y + radius) for x, y in pose.xy_px[sure].tolist()]
    middle_x = float(pose.xy_px[sure, 0].mean()) if sure.any() else 0.0
    for k in np.flatnonzero(sure):
        name, (x, y), gap = skeleton.keypoints[k], pose.xy_px[k].tolist(), radius + 4
        width = text_width(name, text_px)
        sides = [x + gap, x - gap - width] if x >= middle_x else [x - gap - width, x + gap]
        places = [
            *((left, y + text_px / 2) for left in sides),
            *((x - width / 2, y + dy) for dy in (-gap, gap + text_px)),
        ]
        for left, bottom in places:
            box = (left - 1, bottom - 1.2 * text_px, left + width + 1, bottom + 0.3 * text_px)
            inside = box[0] >= 0 and box[1] >= 0 and box[2] <= image.shape[1] and box[3] <= image.shape[0]
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                draw_text(image, name, (round(left), round(bottom)), text_px, outlined=True)
                break


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def draw_text(image: U8, text: str, left_bottom: tuple[int, int], text_px: int, *, outlined: bool = False) -> None:
    """Writes a light line of text, whose capital letters are `text_px` high. OpenCV before 5 writes letters outside
    ASCII as question marks."""
    scale, width = text_px / _FONT_PX, _stroke(text_px)
    x, y = left_bottom
    for dx, dy in ((-1, -1), (1, -1), (-1, 1), (1, 1)) if outlined else ():
        cv2.putText(image, text, (x + dx, y + dy), _FONT, scale, _DARK, width, cv2.LINE_AA)
    cv2.putText(image, text, left_bottom, _FONT, scale, _LIGHT, width, cv2.LINE_AA)


def text_width(text: str, text_px: int) -> int:
    """The width in pixels of a text that `draw_text` writes."""
    return cv2.getTextSize(text, _FONT, text_px / _FONT_PX, _stroke(text_px))[0][0]


def draw_trails(image: U8, path: F64, now: int, colours: Sequence[Colour]) -> None:
    """Draws where each keypoint was, and thinner and fainter where it will be, into `image`, BGR (H, W, 3).

    Args:
        image: the frame.
        path: (T, K, 2) pixels in the frames around this one; a trail has a gap where it is NaN.
        now: this frame's row of `path`.
        colours: of the K keypoints.
    """
    width = max(2, marker_radius(image) // 2)
    fainter = image.copy()
    _draw_paths(fainter, path[now:], colours, max(1, width // 2))
    cv2.addWeighted(fainter, _FAINT, image, 1 - _FAINT, 0, dst=image)
    _draw_paths(image, path[: now + 1], colours, width)


def bgr_colours(count: int) -> list[Colour]:
    """The colours of keypoints 0..count-1 in the order that OpenCV wants."""
    return [(b, g, r) for r, g, b in keypoint_colours(count).tolist()]


def marker_radius(image: U8) -> int:
    """The radius of a keypoint's sign in a picture of that size, pixels."""
    return int(max(2, round(min(image.shape[:2]) / 120)))


def _stroke(text_px: int) -> int:
    return max(1, round(text_px / 10))


def _sixteenths(xy: F64 | F32) -> NDArray[np.int32]:
    """Converts pixels for cv2, which wants 32-bit integers; a keypoint may lie far outside."""
    return np.asarray(np.clip(np.round(xy * 2**_SHIFT), -(2**20), 2**20), np.int32)


def _draw_paths(image: U8, path: F64, colours: Sequence[Colour], thickness: int) -> None:
    for k, colour in enumerate(colours):
        known = np.asarray(np.isfinite(path[:, k]).all(axis=1))
        borders = np.flatnonzero(np.diff(known)) + 1
        runs = [run for run in np.split(np.arange(len(path)), borders) if len(run) > 1 and known[run[0]]]
        lines = [_sixteenths(path[run, k]) for run in runs]
        cv2.polylines(image, lines, False, colour, thickness, cv2.LINE_AA, _SHIFT)
