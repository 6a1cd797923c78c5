"""Puts many frames with their poses into one picture, because people judge poses fastest by looking at them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgepose.pose.drawing import draw_marker, draw_pose
from edgepose.system.atomic_files import write_durably
from edgepose.types import U8, Pose, Skeleton

_COLUMNS = 5
_WIDTH = 400  # pixels of each picture
_LINE, _LINES = 18, 3  # height in pixels of a line of text, and the number of lines below each picture
_TEXT_CHARS = 48
_MARGIN = 8
_SMALLEST_PART = 0.25  # of the frame's sides; with less of the frame, nobody sees where the animal is


@dataclass(frozen=True)
class Picture:
    """A small picture of a frame with its pose, and the text below it."""

    image: U8
    text: str


def make_picture(image: U8, pose: Pose, skeleton: Skeleton, text: str) -> Picture:
    """Cuts out the part of the frame where the pose is. image: BGR (H, W, 3), which is not changed."""
    left, top, w, h = _region(pose, (image.shape[1], image.shape[0]))
    scale = _WIDTH / w
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cut = image[top : top + h, left : left + w]
    part = np.asarray(cv2.resize(cut, (_WIDTH, round(h * scale)), interpolation=interpolation), np.uint8)
    # The rule of coordinates is x' = (x + 0.5) * scale - 0.5.
    xy_px = ((pose.xy_px - np.array([left, top]) + 0.5) * scale - 0.5).astype(np.float32)
    draw_pose(part, Pose(xy_px, pose.score), skeleton)
    return Picture(part, text)


def _region(pose: Pose, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns left, top, width and height of a region with the frame's shape, twice as large as the pose."""
    low, high = pose.xy_px.min(axis=0), pose.xy_px.max(axis=0)
    part = float(np.clip(2 * ((high - low) / size_wh).max(), _SMALLEST_PART, 1))
    w, h = round(part * size_wh[0]), round(part * size_wh[1])
    left, top = (
        round(float(np.clip((low[axis] + high[axis] - side) / 2, 0, size_wh[axis] - side)))
        for axis, side in ((0, w), (1, h))
    )
    return left, top, w, h


def write_sheet(path: Path, pictures: Sequence[Picture], skeleton: Skeleton) -> None:
    """Writes a PNG with all pictures in rows, below a legend of the keypoints. There must be at least one picture."""
    columns = min(_COLUMNS, len(pictures))
    height = max(picture.image.shape[0] for picture in pictures) + _LINE * _LINES
    rows = -(-len(pictures) // columns)
    legend = _legend(skeleton, columns * (_WIDTH + _MARGIN) + _MARGIN)
    sheet = np.full((rows * (height + _MARGIN) + _MARGIN, legend.shape[1], 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        x = _MARGIN + i % columns * (_WIDTH + _MARGIN)
        y = _MARGIN + i // columns * (height + _MARGIN)
        h = picture.image.shape[0]
        sheet[y : y + h, x : x + _WIDTH] = picture.image
        for n, line in enumerate(textwrap.wrap(picture.text, _TEXT_CHARS)[:_LINES]):
            _write(sheet, line, (x, y + h + _LINE * (n + 1) - 5))
    write_durably(path, cv2.imencode(".png", np.vstack([legend, sheet]))[1].tobytes())


def _legend(skeleton: Skeleton, width: int) -> U8:
    """Returns a picture of every name beside a dot in its colour, in as many lines as they need."""
    positions, x, y = [], _MARGIN, _LINE
    for name in skeleton.keypoints:
        needed = 24 + cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]
        if x + needed > width and x > _MARGIN:
            x, y = _MARGIN, y + _LINE
        positions.append((name, x, y))
        x += needed + _MARGIN
    legend = np.full((y + _MARGIN, width, 3), 255, np.uint8)
    for k, (name, left, bottom) in enumerate(positions):
        draw_marker(legend, np.array([left + 6.0, bottom - 5]), k, 5)
        _write(legend, name, (left + 16, bottom))
    return legend


def _write(image: U8, text: str, corner: tuple[int, int]) -> None:
    cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
