"""Draws a pose, and where its keypoints came from and go to, onto a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.types import F32, F64, U8, Pose, Skeleton

Colour: TypeAlias = tuple[int, int, int]  # BGR, 0..255

SURE = 0.5  # keypoints with a lower score are drawn hollow, and without their edges
_GOLDEN_ANGLE = 0.618034  # in turns: however many keypoints there are, neighbours in the list differ in hue
_SHIFT = 4  # cv2 takes coordinates in sixteenths of a pixel, integers at pixel centres as everywhere here
_FAINT = 0.45  # how much of the colour a future trail has


def draw_pose(image: U8, pose: Pose, skeleton: Skeleton) -> None:
    """Draws into `image`, BGR (H, W, 3), whose pixels the pose is in. A keypoint whose place is NaN is left out."""
    colours = keypoint_colours(len(skeleton.keypoints))
    radius = _radius(image)
    known = np.asarray(np.isfinite(pose.xy_px).all(axis=1))
    points = _sixteenths(np.where(known[:, None], pose.xy_px, 0)).tolist()
    sure = (known & (pose.score >= SURE)).tolist()
    for a, b in skeleton.edge_indices():
        if sure[a] and sure[b]:
            cv2.line(image, points[a], points[b], (255, 255, 255), max(1, radius // 2), cv2.LINE_AA, _SHIFT)
    for k in np.flatnonzero(known):
        thickness = cv2.FILLED if sure[k] else 1
        cv2.circle(image, points[k], radius << _SHIFT, colours[k], thickness, cv2.LINE_AA, _SHIFT)


def draw_trails(image: U8, path: F64, now: int, colours: Sequence[Colour]) -> None:
    """Draws where each keypoint was, and thinner and fainter where it will be, into `image`, BGR (H, W, 3).

    path: (T, K, 2) pixels of the frames around this one; a trail has a gap where it is NaN. now: this frame's row.
    """
    thick = max(2, _radius(image) // 2)
    fainter = image.copy()
    _draw_paths(fainter, path[now:], colours, max(1, thick // 2))
    cv2.addWeighted(fainter, _FAINT, image, 1 - _FAINT, 0, dst=image)
    _draw_paths(image, path[: now + 1], colours, thick)


@lru_cache(maxsize=8)
def keypoint_colours(count: int) -> tuple[Colour, ...]:
    """One bright BGR colour per keypoint, in 0..255."""
    found = []
    for i in range(count):
        r, g, b = colorsys.hsv_to_rgb(i * _GOLDEN_ANGLE % 1, 0.85, 1.0)
        found.append((round(b * 255), round(g * 255), round(r * 255)))
    return tuple(found)


def _radius(image: U8) -> int:
    return int(max(2, round(min(image.shape[:2]) / 120)))


def _sixteenths(xy: F64 | F32) -> NDArray[np.int32]:
    """A keypoint may lie far outside; cv2 wants 32-bit integers."""
    return np.asarray(np.clip(np.round(xy * 2**_SHIFT), -(2**20), 2**20), np.int32)


def _draw_paths(image: U8, path: F64, colours: Sequence[Colour], thickness: int) -> None:
    for k, colour in enumerate(colours):
        known = np.asarray(np.isfinite(path[:, k]).all(axis=1))
        borders = np.flatnonzero(np.diff(known)) + 1
        runs = [run for run in np.split(np.arange(len(path)), borders) if len(run) > 1 and known[run[0]]]
        lines = [_sixteenths(path[run, k]) for run in runs]
        cv2.polylines(image, lines, False, colour, thickness, cv2.LINE_AA, _SHIFT)
