"""What a score is worth: a mapping for the card, after which 0.9 means that nine of ten such keypoints are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.geometry.coordinates import animal_px
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_card import ScoreMap
from edgepose.types import F64, U8, Frame
from edgepose_train.evaluation.metrics import Predictions
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.labels.images import read_image

RIGHT_LENGTHS = 0.1  # of the animal: a keypoint this near to its label is right
_RIGHT_FRAMES = 0.02  # of the frame's longer side, where no frame tells how long the animal is
_IMAGES = 40  # what bounds the time; each is shown in every disguise
_BINS = 8
_SMALLEST_SLOPE = 0.05


class Bin(NamedTuple):
    """Predictions of similar score. right: the share of them that lies near enough to the label."""

    score: float
    right: float
    points: int


@dataclass(frozen=True)
class Reliability:
    """What scores mean on the test frames, as the network gives them and after the card's mapping.

    right_px: how near to the label a prediction counts as right."""

    right_px: float
    before: Sequence[Bin]
    after: Sequence[Bin]


def fit_score_map(estimator: Estimator, images: Sequence[LabelledImage]) -> ScoreMap | None:
    """By logistic regression (Platt 1999) of right and wrong on the network's own scores: `estimator` has no map yet.

    images: not trained on. They are few, and nearly everything in them is found; so they are also shown blurred, dark,
    noisy, half covered and without the animal, as a camera in a cage will. None where nothing is labelled."""
    images = [image for image in images if np.isfinite(image.xy_px).any()][:_IMAGES]
    if not images:
        return None
    right_px = right_distance(np.stack([image.xy_px for image in images]), read_image(images[0].path))
    logits, right = [], []
    for i, labelled in enumerate(images):
        for image, there in _disguised(read_image(labelled.path), labelled.xy_px, np.random.default_rng([7, i])):
            pose = estimator.estimate(Frame(image, "bgr", i, 0, 0))
            known = np.isfinite(labelled.xy_px).all(axis=1)
            error = np.linalg.norm(pose.xy_px - labelled.xy_px, axis=1)[known]
            logits.append(_logit(pose.score[known].astype(np.float64)))
            right.append((error <= right_px) & there)
    x, y = np.concatenate(logits), np.concatenate(right)
    slope, shift = _logistic(x, y)
    return ScoreMap(round(slope, 4), round(shift, 4), round(right_px, 2))


def right_distance(labels: F64, image: U8) -> float:
    """In frame pixels. labels: (N, K, 2)."""
    length = animal_px(labels)
    return RIGHT_LENGTHS * length if length > 0 else _RIGHT_FRAMES * max(image.shape[:2])


def reliability(found: Predictions, raw_score: F64, right_px: float) -> Reliability:
    """raw_score: (N, K), before the mapping; `found` has those after it."""
    known = np.isfinite(found.errors_px)
    right = found.errors_px[known] <= right_px
    return Reliability(right_px, _bins(raw_score[known], right), _bins(found.score[known], right))


def _bins(score: F64, right: NDArray[np.bool_]) -> list[Bin]:
    """As many points in each."""
    order = np.argsort(score, kind="stable")
    parts = np.array_split(order, min(_BINS, max(1, len(order) // 8)))
    return [Bin(float(score[part].mean()), float(right[part].mean()), len(part)) for part in parts if len(part)]


def _disguised(image: U8, xy_px: F64, rng: np.random.Generator) -> Iterator[tuple[U8, bool]]:
    """The image, worse ones of the same labels, and one that the animal is not in: (image, whether it is there)."""
    side = max(image.shape[:2])
    yield image, True
    for worsen in (_blurred(side / 200), _blurred(side / 70), _dark, _noisy, _covered(xy_px)):
        yield worsen(image, rng), True
    yield _emptied(image, xy_px), False


_Worsen = Callable[[U8, np.random.Generator], U8]


def _blurred(sigma_px: float) -> _Worsen:
    return lambda image, _rng: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)


def _dark(image: U8, rng: np.random.Generator) -> U8:
    return _noisy(np.asarray(image * 0.25, np.uint8), rng, 6.0)


def _noisy(image: U8, rng: np.random.Generator, sigma: float = 25.0) -> U8:
    return np.asarray(np.clip(image + rng.normal(0, sigma, image.shape[:2])[..., None], 0, 255), np.uint8)


def _covered(xy_px: F64) -> _Worsen:
    """A quarter to a half of the box round the animal, from one side."""

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
    """The animal painted over from its surroundings, by Telea's method (2004)."""
    x0, y0, x1, y1 = _box(image, xy_px)
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[y0:y1, x0:x1] = 255
    return np.asarray(cv2.inpaint(image, mask, 3, cv2.INPAINT_TELEA), np.uint8)


def _box(image: U8, xy_px: F64) -> tuple[int, int, int, int]:
    """Round the labels, wider by a third of their extent, inside the image and never empty."""
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
    """Slope and shift of the most likely logistic, by Newton's method; a weak prior holds them near "as it is", so
    that data without a single wrong point have an answer too."""
    n_right, n_wrong = int(y.sum()), int((~y).sum())
    target = np.where(y, (n_right + 1) / (n_right + 2), 1 / (n_wrong + 2))  # Platt's
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
