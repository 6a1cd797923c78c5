"""What a frame looks like, small: enough to tell frames apart, and to tell which ones nobody could label."""

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
from edgepose_train.labels.images import pixel_digest, read_image

WIDTH = 30  # of the thumbnail; DeepLabCut's `cluster_resizewidth`
_SHARPNESS_WIDTH = 320
_BLACK, _WHITE, _FLAT = 6.0, 249.0, 2.0  # mean and spread of grey levels, of 255
_BLURRED = 0.15  # in parts of the video's median sharpness: below, the whole picture is out of focus
_EMPTY = 0.25  # in parts of the median difference from the background: below, nothing is there
_SAME = 5.0  # grey levels by which no pixel of two thumbnails differs when the frames show the same


@dataclass(frozen=True, slots=True)
class Look:
    """thumbnail: grey, (h, 30) uint8. sharpness: variance of the Laplacian. digest: of all its pixels."""

    thumbnail: U8
    sharpness: float
    digest: bytes


def look_at(image: U8) -> Look:
    """image: BGR (H, W, 3)."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    medium = _resized(grey, min(_SHARPNESS_WIDTH, grey.shape[1]))
    sharpness = float(cv2.Laplacian(medium, cv2.CV_32F).var())
    return Look(_resized(medium, WIDTH), sharpness, pixel_digest(image))


def known_digests(folder: Path) -> set[bytes]:
    """Of every PNG in the folders of `folder`, which may be absent."""
    with ThreadPoolExecutor() as pool:
        return set(pool.map(lambda path: pixel_digest(read_image(path)), sorted(folder.glob("*/*.png"))))


def _resized(grey: MatLike, width: int) -> U8:
    height = max(1, round(grey.shape[0] * width / grey.shape[1]))
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def usable(looks: Sequence[Look]) -> NDArray[np.bool_]:
    """(N,) of one video's frames: False where black, overexposed, without contrast, or blurred as a whole."""
    thumbnails = stack(looks)
    mean, spread = thumbnails.mean(axis=1), thumbnails.std(axis=1)
    lit = (mean > _BLACK) & (mean < _WHITE) & (spread > _FLAT)
    sharpness = np.array([look.sharpness for look in looks])
    return np.asarray(lit & (sharpness >= _BLURRED * np.median(sharpness[lit])) if lit.any() else lit)


def occupied(looks: Sequence[Look]) -> NDArray[np.bool_]:
    """(N,) of one video's frames: False where the picture is the background (their median) and no more.

    Where the animal is away, or still, most of the time, the median says nothing and all frames count.
    """
    thumbnails = stack(looks)
    difference = np.abs(thumbnails - np.median(thumbnails, axis=0)).max(axis=1)
    return np.asarray(difference >= _EMPTY * np.median(difference))


def worth_labelling(looks: Sequence[Look]) -> NDArray[np.bool_]:
    """(N,) of one video's frames: usable and occupied."""
    good = usable(looks)
    if good.any():
        good[good] = occupied([look for look, fine in zip(looks, good, strict=True) if fine])
    return good


def same(a: F32, b: F32) -> NDArray[np.bool_]:
    """Do thumbnails show the same? a: (..., D), b: (D,) -> (...,)."""
    return np.asarray(np.abs(a - b).max(axis=-1) < _SAME)


def stack(looks: Sequence[Look]) -> F32:
    """Thumbnails as rows, (N, D)."""
    return np.stack([look.thumbnail.ravel() for look in looks]).astype(np.float32)
