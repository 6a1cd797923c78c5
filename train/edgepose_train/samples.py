"""Labelled images as training sees them, with memory bounded however many there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edgepose.core.geometry import FrameMap, ResizeMode
from edgepose.core.types import F64, U8
from edgepose_train.augment import Matrix, source_of
from edgepose_train.datasets import LabelledImage, read_image

RESIZE: ResizeMode = "letterbox"
KEPT_BYTES = 2 * 10**9


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled image ready for training. to_source: from the frame's pixels to the picture that views are cut from.
    frame_xy: the labels (K, 2) in the frame's own pixels, NaN = not labelled."""

    path: Path
    frame_map: FrameMap
    to_source: Matrix
    frame_xy: F64

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
        self.frame_map.resize(read_rgb(self.path), out)
        return out


@dataclass
class Pictures:
    """The pictures that views are cut from. They stay in memory up to `limit_bytes`; the others are read again for
    each view. Not the most recent ones are kept but the first: in random order one is as good as another, and a
    cache that replaces them would hardly ever be hit."""

    limit_bytes: int = KEPT_BYTES
    held_bytes: int = 0
    _held: dict[Path, U8] = field(default_factory=dict)

    def sample(self, labelled: LabelledImage, input_wh: tuple[int, int]) -> Sample:
        """Raises DatasetError when the image has gone."""
        image = read_rgb(labelled.path)
        frame_map = FrameMap.fit((image.shape[1], image.shape[0]), input_wh, RESIZE)
        source, to_source = source_of(image, frame_map)
        self._keep(labelled.path, source)
        return Sample(labelled.path, frame_map, to_source, labelled.xy_px)

    def source(self, sample: Sample) -> U8:
        """RGB (H, W, 3), at most slightly larger than the model sees it."""
        held = self._held.get(sample.path)
        return source_of(read_rgb(sample.path), sample.frame_map)[0] if held is None else held

    def _keep(self, path: Path, source: U8) -> None:
        if path not in self._held and self.held_bytes + source.nbytes <= self.limit_bytes:
            self._held[path] = source
            self.held_bytes += source.nbytes


def read_rgb(path: Path) -> U8:
    return np.asarray(cv2.cvtColor(read_image(path), cv2.COLOR_BGR2RGB), np.uint8)
