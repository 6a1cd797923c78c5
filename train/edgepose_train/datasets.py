"""Labelled images, whatever program labelled them: `read_dataset` recognises the format and reads it.

Numbers stay what the labelling program wrote, floats in the image's own pixels. Bad images are named in
`Dataset.problems` and left out; only what makes a data set useless is an error.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.core.errors import DatasetError
from edgepose.core.types import U8, Skeleton

FEWEST_IMAGES = 5  # different ones, so that there are some to train on, to choose by and to test with


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """xy_px: (K, 2) float64, NaN = not labelled. video: the folder the frame was extracted into."""

    path: Path
    xy_px: NDArray[np.float64]
    video: str


@dataclass(frozen=True)
class Dataset:
    """images: readable, each with at least one label. problems: one line each about what was left out."""

    name: str
    skeleton: Skeleton
    images: tuple[LabelledImage, ...]
    problems: tuple[str, ...] = ()


def read_dataset(path: Path) -> Dataset:
    """A DeepLabCut or Lightning Pose project folder, its labeled-data folder, or one label file (CSV or H5).

    Raises DatasetError with one line when nothing usable is there.
    """
    from edgepose_train.deeplabcut import read_project

    try:
        path.stat()
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file or folder") from None
    except OSError as exc:
        raise DatasetError(f"{path}: cannot read ({exc.strerror})") from None
    return read_project(path)


def read_image(path: Path) -> U8:
    """Colours as BGR, uint8 (H, W, 3); grey is repeated, 16 bits are scaled to 8. Raises DatasetError.

    Pixels stay as they are stored, whatever a camera noted about its orientation: so do the labels.
    """
    how = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        data = path.read_bytes()  # not cv2.imread, which cannot open every path on Windows
    except OSError as exc:
        raise DatasetError(f"{path}: cannot read ({exc.strerror})") from None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise DatasetError(f"{path}: damaged or not an image; extract or copy the frame again")
    return np.asarray(image, np.uint8)


def image_hash(path: Path) -> str:
    """sha256 of the file's bytes: the frame's identity, which survives moving and renaming."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as exc:
        raise DatasetError(f"{path}: cannot read ({exc.strerror})") from None


_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}
# The word anywhere (leftear, paw1_left), or the letter at an end (lpaw, earL), on its own (ear_L_tip), or in
# camel case (frontLPaw). A wrong guess needs a partner of exactly that name, so guessing is safe.
_SIDE = re.compile(r"(?i:left|right)|^[lrLR]|[lrLR]$|(?<=[^A-Za-z])[lrLR](?=[^A-Za-z])|(?<=[a-z0-9])[LR](?=[A-Z])")


def find_flip_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(left, right) keypoints that swap in a mirror image, told by their names."""
    pairs = [
        (name, other)
        for name in names
        for match in _SIDE.finditer(name)
        if match[0].lower() in {"left", "l"} and (other := _with_other_side(name, match)) in names
    ]
    # A name with two possible partners (ll, lr, rl, rr) does not say which letter is the side.
    times = Counter(name for pair in pairs for name in pair)
    return tuple(pair for pair in pairs if all(times[name] == 1 for name in pair))


def _with_other_side(name: str, match: re.Match[str]) -> str:
    side = _OTHER_SIDE[match[0].lower()]
    if match[0].isupper():
        side = side.upper()
    elif match[0][0].isupper():
        side = side.capitalize()
    return name[: match.start()] + side + name[match.end() :]
