"""Which part of the frame the model looks at: all of it, a fixed region, or a window that follows the animal.

A window is so much smaller than the frame that the animal is as large in it as the model was trained for. It stays
where it is while the animal is well inside, so that a still animal gets still keypoints; when the animal comes near
its border, it moves to where the animal will be. When the scores fall, the next look is at everything again.
Regions and windows are (x, y, w, h) in the frame's pixels, and so are all poses.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from edgepose.config.schema import ViewConfig
from edgepose.errors import ConfigError
from edgepose.geometry.letterbox import FrameMap
from edgepose.inference.model_card import ModelCard
from edgepose.protocol.messages import Region
from edgepose.types import F32, U8, Frame, Pose

_ROUNDING = 1e-9
LOST = 0.3  # median score of the keypoints, below which the animal is not in the window
SURE = 0.5  # keypoints with a lower score do not say where the animal is
MARGIN = 0.12  # of the window's sides, between its border and the keypoints
_NEWEST = 0.5  # weight of the last step in the animal's velocity


class Estimator(Protocol):
    card: ModelCard

    def estimate(self, frame: Frame) -> Pose: ...


@dataclass(frozen=True, slots=True)
class Track:
    """Where the animal was last. window: where to look for it next. velocity: px a frame."""

    window: Region
    pose: Pose
    index: int
    velocity: tuple[float, float]


class Viewer:
    """Estimates poses as the config's `view` says. window: looked through at the next frame; None: at all of the
    region. lost: how often the animal was. Raises ConfigError where view and model, or view and frame, do not agree."""

    def __init__(self, estimator: Estimator, view: ViewConfig) -> None:
        self.card = estimator.card
        self.lost = 0
        self._estimator, self._view = estimator, view
        self._zoom = zoom_of(view, self.card)
        self._looked_at: tuple[tuple[int, int], Region] | None = None
        self._track: Track | None = None

    @property
    def window(self) -> Region | None:
        return self._track.window if self._track else None

    def estimate(self, frame: Frame, region: Region | None = None) -> Pose:
        """region: instead of the config's; it lies within the frame."""
        field = region or field_of(self._view, frame.size_wh)
        if self._looked_at != (frame.size_wh, field):
            self._looked_at, self._track = (frame.size_wh, field), None
        pose = look(self._estimator, frame, self.window or field)
        if self._view.follow:
            found = statistics.median(pose.score.tolist()) >= LOST
            self.lost += self._track is not None and not found
            size_wh = window_size(self.card, frame.size_wh, self._zoom)
            self._track = follow(self._track, pose, frame.index, field, size_wh) if found else None
        return pose


def zoom_of(view: ViewConfig, card: ModelCard) -> float:
    """How much larger than in the whole frame the window shows the animal. Raises ConfigError where the view follows
    and the model cannot."""
    zoom = view.zoom or card.input.zoom
    if view.follow and zoom <= 1:
        raise ConfigError(
            f"view.follow: {card.model_id()} was trained on whole frames alone; train it with "
            "`edgepose-train fit --follow`, or give view.zoom"
        )
    return zoom


def field_of(view: ViewConfig, size_wh: tuple[int, int]) -> Region:
    """What the config wants to be looked at in frames of that size. Raises ConfigError where it lies outside."""
    (x, y, w, h), (frame_w, frame_h) = view.region or (0, 0, *size_wh), size_wh
    if x + w > frame_w or y + h > frame_h:
        raise ConfigError(
            f"view.region [{x}, {y}, {w}, {h}] (x, y, w, h) does not lie within the frame, which is {frame_w}x{frame_h}"
        )
    return x, y, w, h


def window_size(card: ModelCard, frame_wh: tuple[int, int], zoom: float) -> tuple[int, int]:
    """(w, h) of the window that follows the animal."""
    return FrameMap.fit(frame_wh, card.input.size_wh, card.input.resize).window_wh(zoom)


def follow(track: Track | None, pose: Pose, index: int, field: Region, size_wh: tuple[int, int]) -> Track:
    """Where to look after `pose`, of frame `index`. track: as it was before; None where the animal was not followed."""
    # Plain numbers, not arrays: of a handful of keypoints each call of NumPy costs more than all of this.
    points, scores = pose.xy_px.tolist(), pose.score.tolist()
    least = min(SURE, statistics.median(scores))
    sure = [k for k, score in enumerate(scores) if score >= least]
    velocity, frames = [0.0, 0.0], 1
    if track is not None:
        frames = max(1, index - track.index)
        before, then = track.pose.xy_px.tolist(), track.pose.score.tolist()
        both = [k for k in sure if then[k] >= SURE]
        velocity = list(track.velocity)
        for axis in (0, 1) if both else ():
            step = statistics.median(points[k][axis] - before[k][axis] for k in both) / frames
            velocity[axis] += _NEWEST * (step - velocity[axis])
    ahead = [[points[k][axis] + velocity[axis] * frames for k in sure] for axis in (0, 1)]
    low, high = (min(ahead[0]), min(ahead[1])), (max(ahead[0]), max(ahead[1]))
    window = placed(low, high, field, size_wh, track.window if track else None)
    return Track(window, pose, index, (velocity[0], velocity[1]))


def placed(
    low: Sequence[float], high: Sequence[float], field: Region, size_wh: tuple[int, int], window: Region | None = None
) -> Region:
    """A window of that size round the box from low to high, inside the field. window: the one so far, which moves along
    those axes alone on which the box is not well inside it."""
    starts, sides = [], []
    for axis in (0, 1):
        first, whole = field[axis], field[2 + axis]
        side = min(size_wh[axis], whole)
        last, margin = first + whole - side, MARGIN * side
        start = window[axis] if window else None
        if (
            start is None
            or (low[axis] < start + margin and start > first)
            or (high[axis] > start + side - 1 - margin and start < last)
        ):
            start = min(max(round((low[axis] + high[axis] - side + 1) / 2), first), last)
        starts.append(start)
        sides.append(side)
    return starts[0], starts[1], sides[0], sides[1]


@dataclass(frozen=True, slots=True)
class Cut:
    """Part of a frame as a frame of its own, and where its pixels are: whole = (own + 0.5) * scale - 0.5 + corner."""

    frame: Frame
    scale_xy: tuple[float, float]
    corner_xy: tuple[float, float]

    def to_whole(self, xy_px: F32) -> F32:
        """(..., 2)."""
        return np.asarray((xy_px + 0.5) * self.scale_xy - 0.5 + self.corner_xy, np.float32)


def look(estimator: Estimator, frame: Frame, region: Region) -> Pose:
    """The pose in a part of the frame, in the whole frame's pixels."""
    if region == (0, 0, *frame.size_wh):
        return estimator.estimate(frame)
    part = cut(frame, region)
    pose = estimator.estimate(part.frame)
    return Pose(part.to_whole(pose.xy_px), pose.score)


def cut(frame: Frame, region: Region) -> Cut:
    """From the full picture where there is one; else whole pixels of a smaller one, which may be a little more."""
    if frame.field_wh is not None and frame.full is not None:
        frame = replace(frame, image=frame.full, order="bgr", field_wh=None)
    planes = frame.order == "i420"
    rows, columns = frame.image.shape[:2]
    rows = rows * 2 // 3 if planes else rows
    wide, tall = frame.size_wh[0] / columns, frame.size_wh[1] / rows  # frame's pixels in one of the image's
    x, y, w, h = region
    across, down = _whole(x / wide, (x + w) / wide, planes), _whole(y / tall, (y + h) / tall, planes)
    image = _cut_planes(frame.image, across, down) if planes else frame.image[down, across]
    # Of the size that it has in the frame's pixels, so that the model sees it in its right proportions.
    exact = (across.stop - across.start) * wide, (down.stop - down.start) * tall
    field_wh = round(exact[0]), round(exact[1])
    part = replace(frame, image=image, field_wh=field_wh, full=None)
    return Cut(part, (exact[0] / field_wh[0], exact[1] / field_wh[1]), (across.start * wide, down.start * tall))


def _whole(start: float, stop: float, planes: bool) -> slice:
    """Whole pixels round that; of planes whole colours, which are two pixels wide and tall."""
    step = 2 if planes else 1
    # A border on a whole pixel stays there, however the division rounds: beyond the last one there is nothing.
    return slice(math.floor(start / step + _ROUNDING) * step, math.ceil(stop / step - _ROUNDING) * step)


def _cut_planes(image: U8, across: slice, down: slice) -> U8:
    h, w = image.shape[0] * 2 // 3, image.shape[1]
    luma, *colours = image[:h], *image[h:].reshape(2, h // 2, w // 2)
    half = slice(down.start // 2, down.stop // 2), slice(across.start // 2, across.stop // 2)
    parts = [luma[down, across], *(colour[half] for colour in colours)]
    return np.concatenate([part.ravel() for part in parts]).reshape(-1, across.stop - across.start)
