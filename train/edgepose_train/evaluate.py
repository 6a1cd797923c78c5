"""Pixel error of the shipped int8 file, through the very code that runs on the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.core.card import ModelCard, Score
from edgepose.core.errors import DatasetError
from edgepose.core.types import F64, Frame
from edgepose.inference.estimator import Estimator
from edgepose_train.datasets import Dataset, LabelledImage, image_hash, read_image


def summarize(errors_px: F64, names: Sequence[str]) -> Score:
    """errors_px: (N, K) Euclidean distances in frame pixels, NaN where there is no label."""
    points = errors_px[np.isfinite(errors_px)]
    if not points.size:
        raise DatasetError("no labelled keypoint among the frames to evaluate on")
    return Score(
        n_frames=len(errors_px),
        n_points=int(points.size),
        mean_px=round(float(points.mean()), 3),
        median_px=round(float(np.median(points)), 3),
        p95_px=round(float(np.percentile(points, 95)), 3),
        per_keypoint={name: _mean(column) for name, column in zip(names, errors_px.T, strict=True)},
    )


def _mean(column: F64) -> float | None:
    known = column[np.isfinite(column)]
    return round(float(known.mean()), 3) if known.size else None


def held_out(dataset: Dataset, card: ModelCard) -> list[LabelledImage]:
    """The images that were neither trained on nor used to choose the model, told by their content."""
    seen = {digest for split in ("train", "validation") for digest in card.training.splits.get(split, ())}
    return [image for image in dataset.images if image_hash(image.path) not in seen]


def measure(estimator: Estimator, images: Iterable[LabelledImage]) -> NDArray[np.float64]:
    """Error per image and keypoint (N, K), in the frames' own pixels; NaN where there is no label."""
    rows = []
    for image in images:
        frame = Frame(read_image(image.path), "bgr", index=len(rows), captured_mono_ns=0, captured_us=0)
        rows.append(np.linalg.norm(estimator.estimate(frame).xy_px - image.xy_px, axis=1))
    return np.array(rows).reshape(len(rows), -1)


def evaluate(model: Path, dataset: Dataset, every_frame: bool = False) -> Score:
    """Raises DatasetError when the labels are of other keypoints, or no frame is left to test on."""
    estimator = Estimator(model)
    names = estimator.card.skeleton.keypoints
    if dataset.skeleton.keypoints != names:
        raise DatasetError(
            f"{dataset.name}: labels {', '.join(dataset.skeleton.keypoints)}, but the model predicts {', '.join(names)}"
        )
    images = list(dataset.images) if every_frame else held_out(dataset, estimator.card)
    if not images:
        raise DatasetError(
            f"{dataset.name}: the model was trained on every frame of it; label new frames, "
            "or give --all to score it on frames it has seen"
        )
    return summarize(measure(estimator, images), names)
