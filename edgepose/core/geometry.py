"""The coordinate rule, stated once.

Points are (x, y) floats and pixel (0, 0) is the *centre* of the top-left pixel, so
  cell i of a stride-s map is centred on pixel   i * s + (s - 1) / 2
  resizing by `scale` maps                       x' = (x + 0.5) * scale - 0.5
which is also what cv2.resize does. Every other file calls these functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.core.types import F64, U8

ResizeMode: TypeAlias = Literal["letterbox", "stretch"]
_Number = TypeVar("_Number", float, NDArray[np.float64])

PAD_VALUE = 128  # grey: what the network sees as zero, like the padding of its convolutions


def cell_to_px(cell: _Number, stride: int) -> _Number:
    """Pixel coordinate of the centre of a cell (fractional cells allowed)."""
    return cell * stride + (stride - 1) / 2


def px_to_cell(px: _Number, stride: int) -> _Number:
    """Inverse of `cell_to_px`; not rounded."""
    return (px - (stride - 1) / 2) / stride


@dataclass(frozen=True, slots=True)
class FrameMap:
    """How one frame size maps to the model's input: scale, then shift by whole pixels of padding.

    "letterbox" keeps the aspect ratio and centres the picture; "stretch" fills the input.
    The scale is that of the *rounded* size, so the far edge is as exact as the near one.
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
        """Frame pixels (..., 2) to model-input pixels."""
        return (np.asarray(xy_px, np.float64) + 0.5) * self.scale_xy - 0.5 + np.array(self.pad_xy, np.float64)

    def to_frame(self, xy_px: ArrayLike) -> F64:
        """Model-input pixels (..., 2) to frame pixels; inverse of `to_model`."""
        xy = np.asarray(xy_px, np.float64) - np.array(self.pad_xy, np.float64)
        return (xy + 0.5) / self.scale_xy - 0.5

    def matrix(self) -> F64:
        """`to_model` as a 3 x 3 matrix acting on (x, y, 1)."""
        scale = self.scale_xy
        shift = 0.5 * scale - 0.5 + np.array(self.pad_xy, np.float64)
        return np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]], [0, 0, 1]])

    def window_wh(self, zoom: float) -> tuple[int, int]:
        """Of a part of the frame that fills the input when it is shown `zoom` times as large as the frame is."""
        wanted = np.array(self.input_wh) / (self.scale_xy * zoom)
        w, h = (min(side, max(1, round(part))) for side, part in zip(self.frame_wh, wanted.tolist(), strict=True))
        return w, h

    def resize(self, image: U8, out: U8) -> None:
        """Writes the frame `image` (H, W[, C]), of any size that shows all of it, into the model input `out`
        (h, w[, C]), padded with grey.

        Shrinking by two or more averages areas: bilinear sampling would skip pixels there.
        """
        (w, h), (x, y), size_wh = self.resized_wh, self.pad_xy, (image.shape[1], image.shape[0])
        if self.resized_wh != self.input_wh:
            out[...] = PAD_VALUE
        if self.resized_wh == size_wh:
            out[y : y + h, x : x + w] = image
            return
        # cv2 writes into a contiguous `dst` only; rows inside a padded width are not.
        dst = out[y : y + h, x : x + w]
        shrink = min(size_wh[0] / w, size_wh[1] / h)
        how = cv2.INTER_AREA if shrink >= 2 else cv2.INTER_LINEAR
        if dst.flags.c_contiguous:
            cv2.resize(image, (w, h), dst=dst, interpolation=how)
        else:
            dst[...] = cv2.resize(image, (w, h), interpolation=how)


def lies_within(region: tuple[int, int, int, int], frame_wh: tuple[int, int]) -> bool:
    """Whether all of `region` (x, y, w, h) is in the frame."""
    x, y, w, h = region
    return x + w <= frame_wh[0] and y + h <= frame_wh[1]


def animal_px(xy: F64, percentile: float = 50) -> float:
    """How long the animal is: median, or another percentile, over frames of the longer side of the box round the
    keypoints; xy (N, K, 2). NaN where no frame has two."""
    several = xy[np.isfinite(xy).all(axis=2).sum(axis=1) >= 2]
    if not len(several):
        return float("nan")
    lengths = (np.nanmax(several, axis=1) - np.nanmin(several, axis=1)).max(axis=1)
    return float(np.percentile(lengths, percentile))
