"""Which part of the frame the model gets: all of it, a fixed region, or a window that follows the animal.

A window is smaller than the frame, so that the animal is as large in it as the model was trained for. It stays where it
is while the animal is well inside, so that a still animal gets still keypoints. When the animal comes near the border,
the window moves to where the animal will be. When the scores fall, the next frame is searched as a whole again.
Regions and windows are (x, y, w, h) in the frame's pixels, and so are all poses.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Protocol

from edgepose.config.schema import ViewConfig
from edgepose.errors import ConfigError
from edgepose.geometry.crops import crop, place_window
from edgepose.geometry.letterbox import FrameMap
from edgepose.inference.estimator import FrameEstimator
from edgepose.inference.model_card import ModelCard
from edgepose.protocol.messages import Region
from edgepose.types import Frame, Pose

LOST = 0.3  # with a lower median score of the keypoints, the animal is not in the window
SURE = 0.5  # keypoints with a lower score do not say where the animal is
_NEWEST = 0.5  # weight of the last step in the animal's velocity


class RegionEstimator(Protocol):
    """What makes poses of frames, or of a region of them."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def model_id(self) -> str: ...

    def estimate(self, frame: Frame, region: Region | None = None) -> Pose:
        """The pose in the frame's pixels. region: the part to search, where somebody has set one."""


@dataclass(frozen=True, slots=True)
class Track:
    """Where the animal was last.

    Attributes:
        window: where it is searched in the next frame.
        pose: its last pose, found in frame `index`.
        velocity_xy: pixels a frame.
    """

    window: Region
    pose: Pose
    index: int
    velocity_xy: tuple[float, float]


class Viewer:
    """Estimates poses in the part of the frame that the config's `view` names.

    Attributes:
        lost: how often the animal was lost while it was followed.

    Raises:
        ConfigError: view and model, or view and frame, do not agree.
    """

    def __init__(self, estimator: FrameEstimator, view: ViewConfig) -> None:
        self.card, self.model_id = estimator.card, estimator.model.id
        self.lost = 0
        self._estimator, self._view = estimator, view
        self._zoom = zoom_of(view, self.card)
        self._searched: tuple[tuple[int, int], Region] | None = None  # size of the frame, and field
        self._track: Track | None = None

    @property
    def window(self) -> Region | None:
        """The part of the next frame that is searched; None means the whole region."""
        return self._track.window if self._track else None

    def estimate(self, frame: Frame, region: Region | None = None) -> Pose:
        """Returns the pose in the frame's pixels. region: replaces the config's, and lies within the frame."""
        field = region or field_of(self._view, frame.size_wh)
        if self._searched != (frame.size_wh, field):
            self._searched, self._track = (frame.size_wh, field), None
        pose = estimate_in(self._estimator, frame, self.window or field)
        if self._view.follow:
            found = statistics.median(pose.score.tolist()) >= LOST
            self.lost += self._track is not None and not found
            size_wh = window_size(self.card, frame.size_wh, self._zoom)
            self._track = follow(self._track, pose, frame.index, field, size_wh) if found else None
        return pose


def zoom_of(view: ViewConfig, card: ModelCard) -> float:
    """How much larger the window shows the animal than the whole frame does.

    Raises ConfigError where the view follows the animal and the model was not trained for it.
    """
    zoom = view.zoom or card.input.zoom
    if view.follow and zoom <= 1:
        raise ConfigError(
            f"view.follow: {card.name} was trained on whole frames alone; train it with "
            "`edgepose-train fit --follow`, or give view.zoom"
        )
    return zoom


def field_of(view: ViewConfig, size_wh: tuple[int, int]) -> Region:
    """The region that the config wants to be searched in frames of this size. Raises ConfigError where it lies
    outside of them."""
    (x, y, w, h), (frame_w, frame_h) = view.region or (0, 0, *size_wh), size_wh
    if x + w > frame_w or y + h > frame_h:
        raise ConfigError(
            f"view.region [{x}, {y}, {w}, {h}] (x, y, w, h) does not lie within the frame, which is {frame_w}x{frame_h}"
        )
    return x, y, w, h


def window_size(card: ModelCard, frame_wh: tuple[int, int], zoom: float) -> tuple[int, int]:
    """Size (w, h) of the window that follows the animal, pixels of the frame."""
    return FrameMap.fit(frame_wh, card.input.size_wh, card.input.resize).window_wh(zoom)


def follow(track: Track | None, pose: Pose, index: int, field: Region, size_wh: tuple[int, int]) -> Track:
    """Where to search the animal after its pose in frame `index`.

    track: the result for the frame before; None where the animal was not followed.
    """
    # Plain numbers instead of arrays: with so few keypoints, one call of NumPy costs more than all of this.
    points, scores = pose.xy_px.tolist(), pose.score.tolist()
    least = min(SURE, statistics.median(scores))
    sure = [k for k, score in enumerate(scores) if score >= least]
    velocity, frames = [0.0, 0.0], 1
    if track is not None:
        frames = max(1, index - track.index)
        before, then = track.pose.xy_px.tolist(), track.pose.score.tolist()
        both = [k for k in sure if then[k] >= SURE]
        velocity = list(track.velocity_xy)
        for axis in (0, 1) if both else ():
            step = statistics.median(points[k][axis] - before[k][axis] for k in both) / frames
            velocity[axis] += _NEWEST * (step - velocity[axis])
    ahead = [[points[k][axis] + velocity[axis] * frames for k in sure] for axis in (0, 1)]
    low, high = (min(ahead[0]), min(ahead[1])), (max(ahead[0]), max(ahead[1]))
    window = place_window(low, high, field, size_wh, track.window if track else None)
    return Track(window, pose, index, (velocity[0], velocity[1]))


def estimate_in(estimator: FrameEstimator, frame: Frame, region: Region) -> Pose:
    """The pose in a region of the frame, in the whole frame's pixels."""
    if region == (0, 0, *frame.size_wh):
        return estimator.estimate(frame)
    part = crop(frame, region)
    pose = estimator.estimate(part.frame)
    return Pose(part.to_whole(pose.xy_px), pose.score)
