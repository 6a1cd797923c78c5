"""Draws a pose onto a picture."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import cv2
import numpy as np

from edgepose.core.types import U8, Pose, Skeleton

SURE = 0.5  # keypoints with a lower score are drawn hollow, and without their edges
_GOLDEN_ANGLE = 0.618034  # in turns: however many keypoints there are, neighbours in the list differ in hue
_SHIFT = 4  # cv2 takes coordinates in sixteenths of a pixel, integers at pixel centres as everywhere here


def draw_pose(image: U8, pose: Pose, skeleton: Skeleton) -> None:
    """Draws into `image`, BGR (H, W, 3), whose pixels the pose is in."""
    colours = keypoint_colours(len(skeleton.keypoints))
    radius = max(2, round(min(image.shape[:2]) / 120))
    # A keypoint may lie far outside; cv2 wants 32-bit integers.
    points = np.clip(np.round(pose.xy_px * 2**_SHIFT), -(2**20), 2**20).astype(int).tolist()
    sure = (pose.score >= SURE).tolist()
    for a, b in skeleton.edge_indices():
        if sure[a] and sure[b]:
            cv2.line(image, points[a], points[b], (255, 255, 255), max(1, radius // 2), cv2.LINE_AA, _SHIFT)
    for point, colour, filled in zip(points, colours, sure, strict=True):
        thickness = cv2.FILLED if filled else 1
        cv2.circle(image, point, radius << _SHIFT, colour, thickness, cv2.LINE_AA, _SHIFT)


@lru_cache(maxsize=8)
def keypoint_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """One bright BGR colour per keypoint, in 0..255."""
    found = []
    for i in range(count):
        r, g, b = colorsys.hsv_to_rgb(i * _GOLDEN_ANGLE % 1, 0.85, 1.0)
        found.append((round(b * 255), round(g * 255), round(r * 255)))
    return tuple(found)
