"""Compares frames by small grey pictures, and finds those in which nobody could label anything."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from edgepose.types import F32, U8
from edgepose_train.labels.frame_identity import frame_identity, identity_of

WIDTH = 30  # pixels; DeepLabCut's `cluster_resizewidth`
_SHARPNESS_WIDTH = 320
_BLACK, _WHITE, _FLAT = 6.0, 249.0, 2.0  # mean and standard deviation of the grey levels, 0 to 255
_BLURRED = 0.15  # parts of the video's median sharpness; below this the whole picture is out of focus
_EMPTY = 0.25  # parts of the median difference from the background; below this no animal is there
_DUPLICATE = 5.0  # grey levels; two frames are duplicates when no pixel of their thumbnails differs by more


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture of a frame, and what was measured on the whole frame.

    Attributes:
        grey: (h, 30) uint8.
        sharpness: variance of the Laplacian.
        identity: that of the frame, see `labels.frame_identity`.
    """

    grey: U8
    sharpness: float
    identity: str


def make_thumbnail(image: U8) -> Thumbnail:
    """Makes the thumbnail of a BGR image (H, W, 3)."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    medium = _resized(grey, min(_SHARPNESS_WIDTH, grey.shape[1]))
    sharpness = float(cv2.Laplacian(medium, cv2.CV_32F).var())
    return Thumbnail(_resized(medium, WIDTH), sharpness, identity_of(image))


def known_frames(folder: Path) -> set[str]:
    """Returns the identities of every PNG in the folders of `folder`, which need not exist."""
    paths = [path for path in sorted(folder.glob("*/*.png")) if not path.name.startswith(".")]
    with ThreadPoolExecutor() as pool:
        return set(pool.map(frame_identity, paths))


def _resized(grey: MatLike, width: int) -> U8:
    height = max(1, round(grey.shape[0] * width / grey.shape[1]))
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def is_exposed_and_sharp(thumbnails: Sequence[Thumbnail]) -> NDArray[np.bool_]:
    """Returns (N,) for the frames of one video: False where black, overexposed, without contrast, or out of focus."""
    grey = as_rows(thumbnails)
    mean, spread = grey.mean(axis=1), grey.std(axis=1)
    lit = (mean > _BLACK) & (mean < _WHITE) & (spread > _FLAT)
    sharpness = np.array([thumbnail.sharpness for thumbnail in thumbnails])
    return np.asarray(lit & (sharpness >= _BLURRED * np.median(sharpness[lit])) if lit.any() else lit)


def differs_from_background(thumbnails: Sequence[Thumbnail]) -> NDArray[np.bool_]:
    """Returns (N,) for the frames of one video: False where only the background, their median, is seen.

    Where the animal is absent or still most of the time, the median is no background, and all frames are True.
    """
    grey = as_rows(thumbnails)
    difference = np.abs(grey - np.median(grey, axis=0)).max(axis=1)
    return np.asarray(difference >= _EMPTY * np.median(difference))


def can_be_labelled(thumbnails: Sequence[Thumbnail]) -> NDArray[np.bool_]:
    """Returns (N,) for the frames of one video: True where the picture is good and shows more than the background."""
    good = is_exposed_and_sharp(thumbnails)
    if good.any():
        good[good] = differs_from_background([t for t, fine in zip(thumbnails, good, strict=True) if fine])
    return good


def are_duplicates(a: F32, b: F32) -> NDArray[np.bool_]:
    """Returns (...,) for thumbnails a (..., D) and b (D,): True where both show the same."""
    return np.asarray(np.abs(a - b).max(axis=-1) < _DUPLICATE)


def as_rows(thumbnails: Sequence[Thumbnail]) -> F32:
    """Returns the grey levels of N thumbnails of one size, (N, D)."""
    return np.stack([thumbnail.grey.ravel() for thumbnail in thumbnails]).astype(np.float32)
