"""The values that all rooms share: a Frame comes in, a Pose goes out, and a Skeleton names its keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

U8: TypeAlias = NDArray[np.uint8]
I8: TypeAlias = NDArray[np.int8]
F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]

Column: TypeAlias = NDArray[Any] | Sequence[Any]  # the values of a table's column
PixelOrder: TypeAlias = Literal["bgr", "rgb", "gray", "i420"]

MOST_KEYPOINTS = 200  # of one animal
MOST_NAME_CHARS = 200  # in a name from outside: of a keypoint, a model, a device, a tag


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured image.

    Attributes:
        image: uint8, (H, W, 3); (H, W) when `order` is "gray"; (H * 3 / 2, W) when it is "i420", which is the planes Y,
            U and V one under the other, BT.601 limited range, H and W even.
        index: count of captured frames since the camera was opened; the first is 0.
        captured_mono_ns: monotonic clock in the middle of the exposure, or at capture where that is not known. In a
            video file it goes on from frame to frame as the video's own time does, however fast the file is read.
        captured_us: wall clock of the same moment, epoch microseconds.
        field_wh: the size of the frame whose pixels all coordinates are in, when `image` shows that frame smaller.
        full: that frame, (H, W, 3) BGR, where somebody wants it and `image` is smaller.
        exposure_us: the exposure time, where the camera reports it.
        received_mono_ns: monotonic clock when the frame was read from a file; None for a camera.
    """

    image: U8
    order: PixelOrder
    index: int
    captured_mono_ns: int
    captured_us: int
    field_wh: tuple[int, int] | None = None
    full: U8 | None = None
    exposure_us: int | None = None
    received_mono_ns: int | None = None

    @property
    def latency_from_ns(self) -> int:
        """Monotonic clock from which the latency of the frame's pose counts."""
        return self.captured_mono_ns if self.received_mono_ns is None else self.received_mono_ns

    @property
    def size_wh(self) -> tuple[int, int]:
        """Size (w, h) of the frame whose pixels all coordinates are in."""
        return self.field_wh or image_size_wh(self.image, self.order)


def image_size_wh(image: U8, order: PixelOrder) -> tuple[int, int]:
    """Size (w, h) of the picture in `image`: under the brightness, "i420" has half as many rows of colours."""
    h, w = image.shape[:2]
    return (w, h * 2 // 3) if order == "i420" else (w, h)


@dataclass(frozen=True, slots=True)
class Pose:
    """K keypoints: xy_px (K, 2) float32 in the frame's own pixels, score (K,) float32 in 0..1."""

    xy_px: F32
    score: F32


class Skeleton(msgspec.Struct, frozen=True):
    """The names of K keypoints in order, the `edges` to draw, and the `flip_pairs` that a mirror image exchanges."""

    keypoints: Annotated[
        tuple[Annotated[str, Meta(max_length=MOST_NAME_CHARS)], ...],
        Meta(description="Names of the keypoints, in their order.", max_length=MOST_KEYPOINTS),
    ]
    edges: Annotated[tuple[tuple[str, str], ...], Meta(description="Pairs of keypoints to join when drawing.")] = ()
    flip_pairs: Annotated[
        tuple[tuple[str, str], ...], Meta(description="Pairs of keypoints that swap in a mirror image.")
    ] = ()

    def __post_init__(self) -> None:
        if not self.keypoints:
            raise ValueError("a skeleton needs at least one keypoint")
        if len(set(self.keypoints)) != len(self.keypoints):
            raise ValueError(f"keypoint names repeat: {', '.join(self.keypoints)}")
        for pair in (*self.edges, *self.flip_pairs):
            for name in pair:
                if name not in self.keypoints:
                    raise ValueError(f"edge or pair names {name!r}, which is not a keypoint")
        paired = [name for pair in self.flip_pairs for name in pair]
        for name in paired:
            if paired.count(name) > 1:
                raise ValueError(f"keypoint {name!r} occurs twice in the flip pairs; it has one mirror image")

    def flip_order(self) -> list[int]:
        """Returns for each keypoint the index of the one that is in its place in a mirror image, (K,)."""
        order = list(range(len(self.keypoints)))
        for left, right in self.flip_pairs:
            i, j = self.keypoints.index(left), self.keypoints.index(right)
            order[i], order[j] = j, i
        return order

    def edge_indices(self) -> list[tuple[int, int]]:
        """Returns the edges as indices of keypoints."""
        return [(self.keypoints.index(a), self.keypoints.index(b)) for a, b in self.edges]
