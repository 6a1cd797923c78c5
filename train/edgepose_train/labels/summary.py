"""Summarises what is in a data set, and which of its labels are probably wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepose.pose.animal_size import animal_side_px
from edgepose.system.wording import count, listing
from edgepose_train.labels.dataset import Dataset, is_labelled
from edgepose_train.labels.frame_identity import identity_of
from edgepose_train.labels.images import read_image
from edgepose_train.labels.label_qc import duplicates, outlier_labels, swapped_pairs

FEW_IMAGES = 50
FEW_LABELS = 20


@dataclass(frozen=True)
class DatasetSummary:
    """A summary of N images of K keypoints.

    Attributes:
        labels: (N, K), True where a keypoint is labelled.
        sizes_wh: number of images of each size.
        videos: number of images of each video.
        n_grey: number of grey images.
        n_different: number of different pictures.
        animal_px: median longer side of the box around an image's labels, NaN where no image has two labels.
        outside: labels beyond the edge of their image, such as `snout in cage1/img0.png`.
        swapped: left/right pairs that are probably swapped.
        outliers: labels far from all others of their image.
        copies: images with the same picture.
    """

    labels: NDArray[np.bool_]
    sizes_wh: Counter[tuple[int, int]]
    videos: Counter[str]
    n_grey: int
    n_different: int
    animal_px: float
    outside: tuple[str, ...]
    swapped: tuple[str, ...]
    outliers: tuple[str, ...]
    copies: tuple[str, ...]

    def faults(self) -> list[str]:
        """Returns one line for each kind of fault that was found."""
        kinds = (
            (self.outside, "label", "outside the image"),
            (self.swapped, "left/right pair", "probably swapped, please check"),
            (self.outliers, "label", "far from all others, please check"),
            (self.copies, "picture", "there more than once"),
        )
        return [f"{count(len(found), noun)} {what}: {listing(found)}" for found, noun, what in kinds if found]


def summarise(dataset: Dataset) -> DatasetSummary:
    """Reads every image once more, for its size. Raises DatasetError when one has been removed meanwhile."""
    xy_px = np.stack([image.xy_px for image in dataset.images])
    names = [f"{image.video}/{image.path.name}" for image in dataset.images]
    sizes, n_grey, outside, pictures = [], 0, [], []
    for labelled, name in zip(dataset.images, names, strict=True):
        image = read_image(labelled.path)
        h, w = image.shape[:2]
        sizes.append((w, h))
        n_grey += bool((image == image[..., :1]).all())
        pictures.append(identity_of(image))
        # A pixel reaches half a pixel around its centre.
        beyond = ((labelled.xy_px < -0.5) | (labelled.xy_px > np.array([w, h]) - 0.5)).any(axis=1)
        outside += [f"{keypoint} in {name}" for keypoint in _names(dataset, np.asarray(beyond))]
    return DatasetSummary(
        is_labelled(xy_px),
        Counter(sizes),
        Counter(image.video for image in dataset.images),
        n_grey,
        len(set(pictures)),
        animal_side_px(xy_px),
        tuple(outside),
        tuple(f"{a}/{b} in {names[i]}" for i, (a, b) in swapped_pairs(xy_px, dataset.skeleton)),
        tuple(f"{dataset.skeleton.keypoints[k]} in {names[i]}" for i, k in outlier_labels(xy_px)),
        tuple(" = ".join(names[i] for i in group) + _disagreement(xy_px[group]) for group in duplicates(pictures)),
    )


def _disagreement(xy_px: NDArray[np.float64]) -> str:
    """Says how far the labels of one picture's copies are apart; xy_px (copies, K, 2)."""
    both = np.isfinite(xy_px).all(axis=(0, 2))
    distance_px = np.linalg.norm(np.ptp(xy_px[:, both], axis=0), axis=1).max(initial=0.0)
    return f" (labels up to {distance_px:.1f} px apart)" if distance_px > 0 else ""


def warnings(dataset: Dataset, summary: DatasetSummary) -> list[str]:
    """Returns what makes a model trained on the data set worse than it could be."""
    found = []
    if len(dataset.images) < FEW_IMAGES:
        found.append(f"only {count(len(dataset.images), 'image')}; label {FEW_IMAGES} or more")
    counts = summary.labels.sum(axis=0)
    if never := _names(dataset, counts == 0):
        found.append(
            f"no label at all for {', '.join(never)}, so it cannot be learnt; label it, or take it out of config.yaml"
        )
    rare = _names(dataset, (counts > 0) & (counts < FEW_LABELS))
    if rare and len(dataset.images) >= FEW_LABELS:
        found.append(f"fewer than {FEW_LABELS} labels for {', '.join(rare)}")
    return found


def _names(dataset: Dataset, which: NDArray[np.bool_]) -> list[str]:
    return [dataset.skeleton.keypoints[k] for k in np.flatnonzero(which)]
