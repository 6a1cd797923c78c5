"""Defines the data set that every reader returns: labelled images and the skeleton of their keypoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.system.wording import count, listing
from edgepose.types import MOST_KEYPOINTS, MOST_NAME_CHARS, Skeleton
from edgepose_train.labels.flip_pairs import find_flip_pairs, without_partner

FEWEST_IMAGES = 5  # different images; with fewer, training, validation and test cannot each have one


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image and the keypoints that were labelled in it.

    Attributes:
        path: the argument for `images.read_image` and `frame_identity`. The frame may lie inside another file, and its
            path then leads through that file, so open it with those functions only.
        xy_px: (K, 2) float64 in pixels of the image, NaN where a keypoint is not labelled.
        video: name of the folder or video that the frame comes from.
        hidden_px: (K, 2), the positions of keypoints that the labeller marked as not visible, NaN elsewhere. Whether
            such a keypoint is also a label follows the programs of the format: in COCO it is, in SLEAP it is not.
        stated_wh: width and height of the labelled picture as the label file has them, where it does.
    """

    path: Path
    xy_px: NDArray[np.float64]
    video: str
    hidden_px: NDArray[np.float64] | None = None
    stated_wh: tuple[float, float] | None = None


@dataclass(frozen=True)
class Dataset:
    """Labelled images with one skeleton.

    Attributes:
        name: the project's name, or the name of the label file.
        skeleton: names of the K keypoints, edges and left/right pairs.
        images: the images that can be read and hold at least one label.
        problems: one line for each thing that was left out, and why.
        unchecked: images with predictions of a model that nobody has changed. They are no labels, and they are not
            among `images`.
    """

    name: str
    skeleton: Skeleton
    images: tuple[LabelledImage, ...]
    problems: tuple[str, ...] = ()
    unchecked: tuple[LabelledImage, ...] = ()


def is_labelled(xy_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns (..., K) for xy_px (..., K, 2): True where a keypoint has both coordinates."""
    return np.asarray(np.isfinite(xy_px).all(axis=-1))


def make_skeleton(
    path: Path,
    names: Sequence[str],
    edges: Iterable[Sequence[str]],
    pairs: Iterable[Sequence[str]],
    problems: list[str],
) -> Skeleton:
    """Checks what a label file says about its skeleton.

    Args:
        path: the label file, for messages.
        names: the keypoints.
        edges: pairs of names that a line joins. An edge that names no keypoint is left out and added to `problems`.
        pairs: left/right pairs, in either order. The names are used to find those that the file lacks.
        problems: gets one line for each edge that was left out, and one about keypoints of one side only.

    Raises:
        DatasetError: the names repeat, or there are none, too many or too long ones.
    """
    if len(names) > MOST_KEYPOINTS:
        raise DatasetError(f"{path}: has {len(names)} keypoints; edgepose reads up to {MOST_KEYPOINTS}")
    if bad := next((name for name in names if len(name) > MOST_NAME_CHARS or not name.isprintable()), None):
        why = f"has more than {MOST_NAME_CHARS} letters, or letters that cannot be printed"
        raise DatasetError(f"{path}: the keypoint {bad[:20]!r} {why}")
    by_name = find_flip_pairs(names)
    known = []
    for edge in edges:
        if len(edge) == 2 and edge[0] != edge[1] and set(edge) <= set(names):
            known.append((edge[0], edge[1]))
        else:
            problems.append(f"{path.name}: skeleton edge {' - '.join(edge)} does not join two body parts; left out")
    given = [(a, b) if (b, a) not in by_name else (b, a) for a, b in pairs]
    in_file = {name for pair in given for name in pair}
    found = [pair for pair in by_name if not in_file.intersection(pair)]
    try:
        skeleton = Skeleton(tuple(names), tuple(known), (*given, *found))
    except ValueError as exc:
        raise DatasetError(f"{path}: {exc}") from None
    if alone := without_partner(names, skeleton.flip_pairs):
        problems.append(
            f"{count(len(alone), 'keypoint')} of one side without a partner of the other side, so that views are not "
            f"mirrored in training: {listing(alone)}"
        )
    return skeleton
