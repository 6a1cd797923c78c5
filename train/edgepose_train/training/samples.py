"""Labelled images as training uses them; their memory is bounded, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from edgepose.geometry.crops import FrameRegion, place_window
from edgepose.geometry.letterbox import FrameMap
from edgepose.pose.animal_size import animal_side_px
from edgepose.types import F64, U8
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.labels.images import read_image
from edgepose_train.network.recipes import RESIZE
from edgepose_train.training.augment import Matrix, source_of

KEPT_BYTES = 2 * 10**9
_MEASURED_FRAMES = 200  # frames that are read to find the size of all


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """A labelled image, ready for training.

    Attributes:
        path: the image.
        frame_map: the map from the frame, or from its window, to the model's input.
        to_source: the matrix from the frame's pixels to the picture that views are cut from.
        frame_xy: the labels (K, 2) in frame pixels, NaN where not labelled.
        window: the region of the frame that fills the model's input; None for the whole frame.
    """

    path: Path
    frame_map: FrameMap
    to_source: Matrix
    frame_xy: F64
    window: FrameRegion | None = None

    @property
    def xy_px(self) -> F64:
        """The labels (K, 2) in pixels of the source picture."""
        return self.frame_xy @ self.to_source[:2, :2].T + self.to_source[:2, 2]

    @property
    def to_model(self) -> Matrix:
        """The matrix from pixels of the source picture to the model's input."""
        return self.frame_map.matrix() @ np.linalg.inv(self.to_source)

    def fitted(self) -> U8:
        """Returns the model's input, RGB (H, W, 3), read and resized as the device does it."""
        out = np.empty((self.frame_map.input_wh[1], self.frame_map.input_wh[0], 3), np.uint8)
        image = read_rgb(self.path)
        if self.window is not None:
            x, y, w, h = self.window
            image = image[y : y + h, x : x + w]
        self.frame_map.resize(image, out)
        return out

    def to_frame(self, xy_px: F64) -> F64:
        """Maps keypoints (K, 2) from the model's input to frame pixels."""
        return self.frame_map.to_frame(xy_px) + (self.window or (0, 0))[:2]

    def followed(self, zoom: float) -> TrainingSample:
        """Returns the sample as seen through a window round its labels; the sample itself where it has no label."""
        known = self.frame_xy[np.isfinite(self.frame_xy).all(axis=1)]
        if not len(known):
            return self
        size_wh, whole = self.frame_map.window_wh(zoom), (0, 0, *self.frame_map.frame_wh)
        window = place_window(known.min(axis=0), known.max(axis=0), whole, size_wh)
        return replace(self, window=window, frame_map=FrameMap.fit(size_wh, self.frame_map.input_wh, RESIZE))


@dataclass
class PictureCache:
    """The pictures that views are cut from.

    The first ones stay in memory, and the others are read again for each view. In random order, a cache that replaces
    its pictures would hardly ever have the right one.

    Attributes:
        limit_bytes: the memory for pictures.
        zoom: the largest enlargement of a view.
        held_bytes: the memory that the pictures take.
    """

    limit_bytes: int = KEPT_BYTES
    zoom: float = 1.0
    held_bytes: int = 0
    _held: dict[Path, U8] = field(default_factory=dict)

    def sample(self, labelled: LabelledImage, input_wh: tuple[int, int]) -> TrainingSample:
        """Returns the sample for a model's input of this size; raises DatasetError when the image cannot be read."""
        image = read_rgb(labelled.path)
        frame_map = FrameMap.fit((image.shape[1], image.shape[0]), input_wh, RESIZE)
        source, to_source = source_of(image, frame_map, self.zoom)
        self._keep(labelled.path, source)
        return TrainingSample(labelled.path, frame_map, to_source, labelled.xy_px)

    def source(self, sample: TrainingSample) -> U8:
        """Returns the picture that views of the sample are cut from, RGB (H, W, 3)."""
        held = self._held.get(sample.path)
        return source_of(read_rgb(sample.path), sample.frame_map, self.zoom)[0] if held is None else held

    def _keep(self, path: Path, source: U8) -> None:
        if path not in self._held and self.held_bytes + source.nbytes <= self.limit_bytes:
            self._held[path] = source
            self.held_bytes += source.nbytes


def read_rgb(path: Path) -> U8:
    """Reads a labelled image as RGB (H, W, 3); raises DatasetError when that is impossible."""
    return np.asarray(cv2.cvtColor(read_image(path), cv2.COLOR_BGR2RGB), np.uint8)


def frame_size(images: Sequence[LabelledImage]) -> tuple[int, int]:
    """Returns the (w, h) that most frames have; frames of other sizes are letterboxed into the same input."""
    some = images[:: -(-len(images) // _MEASURED_FRAMES)]
    sizes = [read_image(image.path).shape[1::-1] for image in some]
    w, h = max(sorted(set(sizes)), key=sizes.count)
    return w, h


def animal_size(images: Sequence[LabelledImage]) -> float:
    """Returns the length of the animal in frame pixels, as `animal_side_px` defines it."""
    return animal_side_px(np.stack([image.xy_px for image in images]))
