"""Measures the px error of the shipped int8 file with the same code that runs on the device."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgepose.errors import DatasetError
from edgepose.geometry.crops import place_window
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_card import ModelCard, Score
from edgepose.inference.viewer import estimate_in, follow, window_size
from edgepose.system.progress import progress_bar
from edgepose.types import Frame, Pose
from edgepose_train.evaluation.metrics import FOLLOWED, Predictions, summarize
from edgepose_train.labels.dataset import Dataset, LabelledImage
from edgepose_train.labels.frame_identity import is_learnt
from edgepose_train.labels.images import read_image

JITTER = 0.1  # how far a window is moved at most, as a share of its sides


def held_out(dataset: Dataset, card: ModelCard) -> list[LabelledImage]:
    """Returns the images that were neither trained on nor used to choose the model; their pixels identify them."""
    learnt = card.training.learnt_frames()
    return [image for image in dataset.images if not is_learnt(image.path, learnt)]


def measure(estimator: Estimator, images: Sequence[LabelledImage]) -> Predictions:
    """Runs the model on whole frames."""
    return _measured(images, estimator.estimate)


def measure_followed(estimator: Estimator, images: Sequence[LabelledImage], seed: int = 0) -> Predictions:
    """Runs the model on windows like those that follow the animal.

    A window is placed round what the estimator finds in the whole frame, and then moved by up to `JITTER` of its sides,
    because the animal moves between two frames. The same seed moves the window of a picture by the same amount.
    """

    def through_window(frame: Frame) -> Pose:
        rng = np.random.default_rng([seed, zlib.crc32(frame.image.data)])
        field = (0, 0, *frame.size_wh)
        size_wh = window_size(estimator.card, frame.size_wh, estimator.card.input.zoom)
        window = follow(None, estimator.estimate(frame), 0, field, size_wh).window
        low_xy = np.array(window[:2]) + rng.uniform(-JITTER, JITTER, 2) * size_wh
        high_xy = low_xy + np.array(size_wh) - 1
        return estimate_in(estimator, frame, place_window(low_xy.tolist(), high_xy.tolist(), field, size_wh))

    return _measured(images, through_window)


def _measured(images: Sequence[LabelledImage], estimate: Callable[[Frame], Pose]) -> Predictions:
    poses: list[Pose] = []
    with progress_bar() as bar:
        for image in bar.track(images, description="testing"):
            poses.append(estimate(Frame(read_image(image.path), "bgr", len(poses), 0, 0)))
    return Predictions(
        np.stack([image.xy_px for image in images]),
        np.stack([pose.xy_px for pose in poses]).astype(np.float64),
        np.stack([pose.score for pose in poses]).astype(np.float64),
    )


def evaluate(model: Path, dataset: Dataset, every_frame: bool = False) -> dict[str, Score]:
    """Measures a model on the frames of a data set that it was not trained on.

    Args:
        model: the model's file.
        dataset: the labelled frames.
        every_frame: also use the frames that the model was trained on.

    Returns:
        The score "int8" of whole frames. Where the model can follow the animal, also the score "followed".

    Raises:
        DatasetError: the labels have other keypoints, or no frame is left to test on.
    """
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
    scores = {"int8": summarize(measure(estimator, images), names)}
    if estimator.card.input.zoom > 1:
        scores[FOLLOWED] = summarize(measure_followed(estimator, images), names)
    return scores
