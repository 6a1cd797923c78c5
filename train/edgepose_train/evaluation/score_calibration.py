"""Calibrates the scores: with the mapping in the card, 0.9 means that nine of ten such keypoints are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.inference.estimator import Estimator
from edgepose.inference.model_card import ScoreMap
from edgepose.pose.animal_size import animal_side_px
from edgepose.types import F64, U8, Frame
from edgepose_train.evaluation.metrics import Predictions
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.labels.images import read_image

RIGHT_LENGTHS = 0.1  # a keypoint is right when it is nearer to its label than this share of the animal's length
_RIGHT_FRAMES = 0.02  # the same as a share of the frame's longer side, where the animal's length is unknown
_IMAGES = 40  # bounds the time; each image is shown in several degraded versions
_BINS = 8
_SMALLEST_SLOPE = 0.05


class ReliabilityBin(NamedTuple):
    """Predictions with similar scores.

    Attributes:
        score: their mean score.
        right: the share of them that is right.
        points: their number.
    """

    score: float
    right: float
    points: int


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: how often predictions of a score are right on the test frames.

    Attributes:
        right_px: the distance to the label up to which a prediction counts as right.
        before: bins of the network's own scores.
        after: bins of the scores after the card's mapping.
    """

    right_px: float
    before: Sequence[ReliabilityBin]
    after: Sequence[ReliabilityBin]


def fit_score_map(estimator: Estimator, images: Sequence[LabelledImage]) -> ScoreMap | None:
    """Fits the mapping of the scores by logistic regression (Platt 1999) of right and wrong on the network's scores.

    Args:
        estimator: the model, whose card has no mapping yet.
        images: labelled images that the model was not trained on. They are few, and the model finds nearly everything
            in them. So they are also shown blurred, dark, noisy, half covered and without the animal, because a camera
            in a cage will show such pictures too.

    Returns:
        The mapping, or None where no image has a label.
    """
    images = [image for image in images if np.isfinite(image.xy_px).any()][:_IMAGES]
    if not images:
        return None
    right_px = right_distance(np.stack([image.xy_px for image in images]), read_image(images[0].path))
    logits, right = [], []
    for i, labelled in enumerate(images):
        for image, is_visible in _degraded(read_image(labelled.path), labelled.xy_px, np.random.default_rng([7, i])):
            pose = estimator.estimate(Frame(image, "bgr", i, 0, 0))
            known = np.isfinite(labelled.xy_px).all(axis=1)
            error = np.linalg.norm(pose.xy_px - labelled.xy_px, axis=1)[known]
            logits.append(_logit(pose.score[known].astype(np.float64)))
            right.append((error <= right_px) & is_visible)
    x, y = np.concatenate(logits), np.concatenate(right)
    slope, shift = _logistic(x, y)
    return ScoreMap(round(slope, 4), round(shift, 4), round(right_px, 2))


def right_distance(labels: F64, image: U8) -> float:
    """Returns the distance in frame pixels up to which a prediction is right; labels: (N, K, 2)."""
    length = animal_side_px(labels)
    return RIGHT_LENGTHS * length if length > 0 else _RIGHT_FRAMES * max(image.shape[:2])


def reliability(found: Predictions, raw_score: F64, right_px: float) -> Reliability:
    """Compares the scores before the mapping, `raw_score` (N, K), and those after it, in `found`."""
    known = np.isfinite(found.errors_px)
    right = found.errors_px[known] <= right_px
    return Reliability(right_px, _bins(raw_score[known], right), _bins(found.score[known], right))


def _bins(score: F64, right: NDArray[np.bool_]) -> list[ReliabilityBin]:
    """Returns bins with equal numbers of points."""
    order = np.argsort(score, kind="stable")
    parts = np.array_split(order, min(_BINS, max(1, len(order) // 8)))
    return [
        ReliabilityBin(float(score[part].mean()), float(right[part].mean()), len(part)) for part in parts if len(part)
    ]


def _degraded(image: U8, xy_px: F64, rng: np.random.Generator) -> Iterator[tuple[U8, bool]]:
    """Yields the image, degraded versions of it, and one without the animal, each with whether it shows the animal."""
    side = max(image.shape[:2])
    yield image, True
    for degrade in (_blurred(side / 200), _blurred(side / 70), _dark, _noisy, _covered(xy_px)):
        yield degrade(image, rng), True
    yield _emptied(image, xy_px), False


_Degrade = Callable[[U8, np.random.Generator], U8]


def _blurred(sigma_px: float) -> _Degrade:
    return lambda image, _rng: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)


def _dark(image: U8, rng: np.random.Generator) -> U8:
    return _noisy(np.asarray(image * 0.25, np.uint8), rng, 6.0)


def _noisy(image: U8, rng: np.random.Generator, sigma: float = 25.0) -> U8:
    return np.asarray(np.clip(image + rng.normal(0, sigma, image.shape[:2])[..., None], 0, 255), np.uint8)


def _covered(xy_px: F64) -> _Degrade:
    """Covers a quarter to a half of the box round the animal, from one side."""

    def cover(image: U8, rng: np.random.Generator) -> U8:
        out = image.copy()
        x0, y0, x1, y1 = _box(image, xy_px)
        share = rng.uniform(0.25, 0.5)
        if rng.random() < 0.5:
            x1 = x0 + max(1, round(share * (x1 - x0)))
        else:
            y1 = y0 + max(1, round(share * (y1 - y0)))
        out[y0:y1, x0:x1] = np.median(image, axis=(0, 1))
        return out

    return cover


def _emptied(image: U8, xy_px: F64) -> U8:
    """Returns the image with the animal painted over from its surroundings (Telea 2004)."""
    x0, y0, x1, y1 = _box(image, xy_px)
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[y0:y1, x0:x1] = 255
    return np.asarray(cv2.inpaint(image, mask, 3, cv2.INPAINT_TELEA), np.uint8)


def _box(image: U8, xy_px: F64) -> tuple[int, int, int, int]:
    """Returns x0, y0, x1, y1 of a box round the labels, wider by a third of their extent; it is never empty."""
    h, w = image.shape[:2]
    low, high = np.nanmin(xy_px, axis=0), np.nanmax(xy_px, axis=0)
    margin = max(float((high - low).max()) / 3, 0.02 * max(h, w))
    x0, y0 = (int(np.clip(v, 0, side - 1)) for v, side in zip(low - margin, (w, h), strict=True))
    x1, y1 = (int(np.clip(v, 1, side)) for v, side in zip(high + margin, (w, h), strict=True))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _logit(score: F64) -> F64:
    score = np.clip(score, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(score / (1 - score)))


def _logistic(x: F64, y: NDArray[np.bool_]) -> tuple[float, float]:
    """Returns slope and shift of the most likely logistic function, by Newton's method.

    A weak prior keeps them near 1 and 0, so that there is an answer where no point is wrong, too.
    """
    n_right, n_wrong = int(y.sum()), int((~y).sum())
    target = np.where(y, (n_right + 1) / (n_right + 2), 1 / (n_wrong + 2))  # Platt's targets
    design, prior = np.stack([x, np.ones_like(x)], axis=1), np.array([1.0, 0.0])
    weights = prior.copy()
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (p - target) + (weights - prior)
        step = np.linalg.solve(design.T @ (design * (p * (1 - p))[:, None]) + np.eye(2), gradient)
        weights = weights - np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-8:
            break
    return max(float(weights[0]), _SMALLEST_SLOPE), float(weights[1])
