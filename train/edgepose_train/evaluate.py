"""Pixel error of the shipped int8 file, through the very code that runs on the device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgepose.core.card import ModelCard, Score
from edgepose.core.errors import DatasetError
from edgepose.core.types import Frame
from edgepose.inference.estimator import Estimator
from edgepose_train.datasets import Dataset, LabelledImage, image_hash, read_image
from edgepose_train.metrics import Predictions, summarize
from edgepose_train.video_frames import progress_bar


def held_out(dataset: Dataset, card: ModelCard) -> list[LabelledImage]:
    """The images that were neither trained on nor used to choose the model, told by their content."""
    learnt = card.training.learnt_frames()
    return [image for image in dataset.images if image_hash(image.path) not in learnt]


def measure(estimator: Estimator, images: Sequence[LabelledImage]) -> Predictions:
    """Of whole frames, one or more."""
    poses = []
    with progress_bar() as bar:
        for image in bar.track(images, description="testing"):
            poses.append(estimator.estimate(Frame(read_image(image.path), "bgr", len(poses), 0, 0)))
    return Predictions(
        np.stack([image.xy_px for image in images]),
        np.stack([pose.xy_px for pose in poses]).astype(np.float64),
        np.stack([pose.score for pose in poses]).astype(np.float64),
    )


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
