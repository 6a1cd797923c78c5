"""Labelled images as training sees them, with memory bounded however many there are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from edgepose.geometry.crops import place_window
from edgepose.geometry.letterbox import FrameMap, ResizeMode
from edgepose.protocol.messages import Region
from edgepose.types import F64, U8
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.labels.images import read_image
from edgepose_train.training.augment import Matrix, source_of

RESIZE: ResizeMode = "letterbox"
KEPT_BYTES = 2 * 10**9


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled image ready for training. to_source: from the frame's pixels to the picture that views are cut from.
    frame_xy: the labels (K, 2) in the frame's own pixels, NaN = not labelled. window: (x, y, w, h) of the frame that
    fills the model's input; None: all of it does."""

    path: Path
    frame_map: FrameMap
    to_source: Matrix
    frame_xy: F64
    window: Region | None = None

    @property
    def xy_px(self) -> F64:
        """The labels in the source's pixels, (K, 2)."""
        return self.frame_xy @ self.to_source[:2, :2].T + self.to_source[:2, 2]

    @property
    def to_model(self) -> Matrix:
        """From the source's pixels to the model's input."""
        return self.frame_map.matrix() @ np.linalg.inv(self.to_source)

    def fitted(self) -> U8:
        """The model's input, RGB (H, W, 3), read and resized as the device does it."""
        out = np.empty((self.frame_map.input_wh[1], self.frame_map.input_wh[0], 3), np.uint8)
        image = read_rgb(self.path)
        if self.window is not None:
            x, y, w, h = self.window
            image = image[y : y + h, x : x + w]
        self.frame_map.resize(image, out)
        return out

    def to_frame(self, xy_px: F64) -> F64:
        """From the model's input to the frame's pixels."""
        return self.frame_map.to_frame(xy_px) + (self.window or (0, 0))[:2]

    def followed(self, zoom: float) -> Sample:
        """The same, through a window round the labels; unchanged where there are none."""
        known = self.frame_xy[np.isfinite(self.frame_xy).all(axis=1)]
        if not len(known):
            return self
        size_wh, field = self.frame_map.window_wh(zoom), (0, 0, *self.frame_map.frame_wh)
        window = place_window(known.min(axis=0), known.max(axis=0), field, size_wh)
        return replace(self, window=window, frame_map=FrameMap.fit(size_wh, self.frame_map.input_wh, RESIZE))


@dataclass
class Pictures:
    """The pictures that views are cut from. They stay in memory up to `limit_bytes`; the others are read again for
    each view. Not the most recent ones are kept but the first: in random order one is as good as another, and a
    cache that replaces them would hardly ever be hit."""

    limit_bytes: int = KEPT_BYTES
    zoom: float = 1.0  # the most that views are enlarged by
    held_bytes: int = 0
    _held: dict[Path, U8] = field(default_factory=dict)

    def sample(self, labelled: LabelledImage, input_wh: tuple[int, int]) -> Sample:
        """Raises DatasetError when the image has gone."""
        image = read_rgb(labelled.path)
        frame_map = FrameMap.fit((image.shape[1], image.shape[0]), input_wh, RESIZE)
        source, to_source = source_of(image, frame_map, self.zoom)
        self._keep(labelled.path, source)
        return Sample(labelled.path, frame_map, to_source, labelled.xy_px)

    def source(self, sample: Sample) -> U8:
        """RGB (H, W, 3), at most slightly larger than the model sees it."""
        held = self._held.get(sample.path)
        return source_of(read_rgb(sample.path), sample.frame_map, self.zoom)[0] if held is None else held

    def _keep(self, path: Path, source: U8) -> None:
        if path not in self._held and self.held_bytes + source.nbytes <= self.limit_bytes:
            self._held[path] = source
            self.held_bytes += source.nbytes


def read_rgb(path: Path) -> U8:
    return np.asarray(cv2.cvtColor(read_image(path), cv2.COLOR_BGR2RGB), np.uint8)
