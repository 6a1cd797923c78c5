"""Finds labels that mean "not labelled": other programs write (0, 0) or another fixed point for a missing keypoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgepose.system.wording import count, listing
from edgepose_train.labels.dataset import LabelledImage, is_labelled

_FEWEST = 3  # images in which several keypoints lie at exactly the same point
_SHARE = 0.05  # of all images

_Point = tuple[float, float]


def without_placeholders(
    images: Sequence[LabelledImage], names: Sequence[str], problems: list[str]
) -> list[LabelledImage]:
    """Takes the labels at such a point as not labelled.

    A point is such a placeholder where it repeats impossibly often: in the corner (0, 0) or beyond it twice, elsewhere
    in several images for several keypoints. A thing that does not move may have the same label in every image.

    Args:
        images: the labelled images, as the label file has them.
        names: the K keypoints.
        problems: gets one line for each such point, also where it is only suspicious.
    """
    labels: dict[_Point, list[tuple[int, int]]] = {}
    for i, image in enumerate(images):
        for k in np.flatnonzero(is_labelled(image.xy_px)).tolist():
            x, y = image.xy_px[k].tolist()
            labels.setdefault((x, y), []).append((i, k))
    dropped: dict[int, list[int]] = {}
    for point, where in labels.items():
        in_corner = max(point) <= 0
        which = Counter(names[k] for _, k in where)
        found = f"{count(len(where), 'label')} at exactly ({point[0]:g}, {point[1]:g})"
        if len(where) > 1 and (in_corner or _is_too_often(where, len(images))):
            problems.append(
                f"{found}, which other programs write for a keypoint that is not labelled; taken as not labelled: "
                + listing([f"{name} ({n})" for name, n in which.most_common()])
            )
            for i, k in where:
                dropped.setdefault(i, []).append(k)
        elif in_corner:
            image = images[where[0][0]]
            problems.append(f"{found}, perhaps not labelled; check {next(iter(which))} in {image.path.name}")
    return [_without(image, dropped[i]) if i in dropped else image for i, image in enumerate(images)]


def _is_too_often(where: list[tuple[int, int]], images: int) -> bool:
    return len({k for _, k in where}) > 1 and len({i for i, _ in where}) >= max(_FEWEST, _SHARE * images)


def _without(image: LabelledImage, keypoints: list[int]) -> LabelledImage:
    xy_px = image.xy_px.copy()
    xy_px[keypoints] = np.nan
    hidden_px = None if image.hidden_px is None else image.hidden_px.copy()
    if hidden_px is not None:
        hidden_px[keypoints] = np.nan
    return replace(image, xy_px=xy_px, hidden_px=hidden_px)
