"""Fits a frame into the model's input, and maps points back. The coordinate rule is in `coordinates`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import cv2
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike

from edgepose.types import F64, U8

ResizeMode: TypeAlias = Literal["letterbox", "stretch"]

PAD_VALUE = 128  # grey, which is zero for the network, like the padding of its convolutions


class ModelInput(msgspec.Struct, frozen=True):
    """The picture that a model takes.

    Attributes:
        size_wh: pixels.
        channels: 3 is RGB, 1 is brightness.
        resize: how a frame of another size is fitted.
        zoom: how much larger than in the whole frame the animal may be, in a window that follows it; 1 means that the
            model was trained on whole frames only.
    """

    size_wh: tuple[Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=1)]]
    channels: Literal[1, 3]
    resize: ResizeMode
    zoom: Annotated[float, Meta(ge=1)] = 1.0


@dataclass(frozen=True, slots=True)
class FrameMap:
    """How frames of one size map to the model's input: they are scaled, then shifted by whole pixels of padding.

    "letterbox" keeps the aspect ratio and centres the picture; "stretch" fills the input. The scale is computed from
    the rounded size, so that the right and bottom edges are as exact as the left and top ones.
    """

    frame_wh: tuple[int, int]
    input_wh: tuple[int, int]
    resized_wh: tuple[int, int]
    pad_xy: tuple[int, int]

    @classmethod
    def fit(cls, frame_wh: tuple[int, int], input_wh: tuple[int, int], mode: ResizeMode) -> FrameMap:
        if mode == "stretch":
            return cls(frame_wh, input_wh, input_wh, (0, 0))
        scale = min(input_wh[0] / frame_wh[0], input_wh[1] / frame_wh[1])
        resized = (
            min(input_wh[0], max(1, round(frame_wh[0] * scale))),
            min(input_wh[1], max(1, round(frame_wh[1] * scale))),
        )
        return cls(frame_wh, input_wh, resized, ((input_wh[0] - resized[0]) // 2, (input_wh[1] - resized[1]) // 2))

    @property
    def scale_xy(self) -> F64:
        return np.array([self.resized_wh[0] / self.frame_wh[0], self.resized_wh[1] / self.frame_wh[1]], np.float64)

    def to_model(self, xy_px: ArrayLike) -> F64:
        """Maps frame pixels (..., 2) to model-input pixels."""
        return (np.asarray(xy_px, np.float64) + 0.5) * self.scale_xy - 0.5 + np.array(self.pad_xy, np.float64)

    def to_frame(self, xy_px: ArrayLike) -> F64:
        """Maps model-input pixels (..., 2) to frame pixels; the inverse of `to_model`."""
        xy = np.asarray(xy_px, np.float64) - np.array(self.pad_xy, np.float64)
        return (xy + 0.5) / self.scale_xy - 0.5

    def matrix(self) -> F64:
        """`to_model` as a matrix (3, 3) for (x, y, 1)."""
        scale = self.scale_xy
        shift = 0.5 * scale - 0.5 + np.array(self.pad_xy, np.float64)
        return np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]], [0, 0, 1]])

    def window_wh(self, zoom: float) -> tuple[int, int]:
        """Size (w, h) of the part of the frame that fills the input when it is shown `zoom` times as large."""
        wanted = np.array(self.input_wh) / (self.scale_xy * zoom)
        w, h = (min(side, max(1, round(part))) for side, part in zip(self.frame_wh, wanted.tolist(), strict=True))
        return w, h

    def resize(self, image: U8, out: U8) -> None:
        """Writes a frame into the model's input, padded with grey.

        Args:
            image: (H, W[, C]), of any size, as long as it shows the whole frame.
            out: (h, w[, C]), which is overwritten.
        """
        (w, h), (x, y), size_wh = self.resized_wh, self.pad_xy, (image.shape[1], image.shape[0])
        if self.resized_wh != self.input_wh:
            out[...] = PAD_VALUE
        if self.resized_wh == size_wh:
            out[y : y + h, x : x + w] = image
            return
        # cv2 writes into a contiguous `dst` only; rows inside a padded width are not.
        dst = out[y : y + h, x : x + w]
        # Where the picture becomes half as large or smaller, bilinear sampling would skip pixels.
        shrink = min(size_wh[0] / w, size_wh[1] / h)
        how = cv2.INTER_AREA if shrink >= 2 else cv2.INTER_LINEAR
        if dst.flags.c_contiguous:
            cv2.resize(image, (w, h), dst=dst, interpolation=how)
        else:
            dst[...] = cv2.resize(image, (w, h), interpolation=how)
