"""Measures how good a model is: errors in pixels, the confidence interval of their mean, PCK and OKS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgepose.errors import DatasetError
from edgepose.inference.model_card import Certain, Score
from edgepose.pose.animal_size import animal_side_px
from edgepose.types import F64

# The names of the card's scores beside "float" and "int8".
FOLLOWED = "followed"  # through windows that follow the animal
FOLDS = "folds"  # by cross-validation

P_CUTOFF = 0.6  # DeepLabCut's default
PCK_LENGTHS = (0.05, 0.1, 0.2)  # shares of the animal's length
OKS_SIGMA = 0.1  # for every keypoint, as in DeepLabCut: nobody has measured how the labels of animals scatter
_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Predictions:
    """Labels and predictions of N frames and K keypoints.

    Attributes:
        labels: (N, K, 2) in the frames' own pixels, NaN where there is no label.
        xy_px: (N, K, 2) in the frames' own pixels.
        score: (N, K) in 0..1.
    """

    labels: F64
    xy_px: F64
    score: F64

    @property
    def errors_px(self) -> F64:
        """Distances from label to prediction, (N, K); NaN where there is no label."""
        return np.asarray(np.linalg.norm(self.xy_px - self.labels, axis=2))


def summarize(found: Predictions, names: Sequence[str]) -> Score:
    """Returns the score of N frames; `names` are the K keypoints. Raises DatasetError when nothing is labelled."""
    errors = found.errors_px
    points = errors[np.isfinite(errors)]
    if not points.size:
        raise DatasetError("no labelled keypoint among the frames to evaluate on")
    length = animal_side_px(found.labels)
    known = bool(length > 0)
    return Score(
        n_frames=len(errors),
        n_points=int(points.size),
        mean_px=_rounded(points.mean()),
        median_px=_rounded(np.median(points)),
        p95_px=_rounded(np.percentile(points, 95)),
        per_keypoint=_each(errors, names, np.mean),
        median_per_keypoint=_each(errors, names, np.median),
        p95_per_keypoint=_each(errors, names, lambda column: np.percentile(column, 95)),
        interval_px=mean_interval(errors),
        length_px=_rounded(length) if known else None,
        pck={f"{share:g}": _rounded((points <= share * length).mean()) for share in PCK_LENGTHS} if known else {},
        oks=_oks(found) if known else None,
        certain=_certain(errors, found.score),
    )


def mean_interval(errors_px: F64) -> tuple[float, float] | None:
    """Returns the 95 % confidence interval of the mean of `errors_px` (N, K), by the bootstrap (Efron 1979).

    Frames are drawn, not keypoints, because the errors of one frame depend on each other. Returns None for a single
    frame, which says nothing about other frames.
    """
    known = np.isfinite(errors_px)
    sums, counts = np.where(known, errors_px, 0.0).sum(axis=1), known.sum(axis=1)
    sums, counts = sums[counts > 0], counts[counts > 0]
    if len(sums) < 2:
        return None
    drawn = np.random.default_rng(0).integers(len(sums), size=(_DRAWS, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5])
    return _rounded(low), _rounded(high)


def _oks(found: Predictions) -> float | None:
    """Returns the mean object keypoint similarity of the frames with two labels or more.

    Its formula is exp(-d² / (2 area (2 sigma)²)), https://cocodataset.org/#keypoints-eval. The area is that of the box
    round the labels. Its width is at least a tenth of its length, because a straight animal would have no area
    otherwise.
    """
    several = np.isfinite(found.labels).all(axis=2).sum(axis=1) >= 2
    labels, errors = found.labels[several], found.errors_px[several]
    if not len(labels):
        return None
    sides = np.nanmax(labels, axis=1) - np.nanmin(labels, axis=1)
    longer = sides.max(axis=1)
    area = np.maximum(longer * np.maximum(sides.min(axis=1), longer / 10), 1.0)
    return _rounded(np.nanmean(np.exp(-(errors**2) / (8 * OKS_SIGMA**2 * area[:, None])), axis=1).mean())


def _certain(errors_px: F64, score: F64) -> Certain:
    points = errors_px[np.isfinite(errors_px) & (score >= P_CUTOFF)]
    return Certain(P_CUTOFF, int(points.size), _rounded(points.mean()) if points.size else None)


def _each(errors_px: F64, names: Sequence[str], measure: Callable[[F64], float]) -> dict[str, float | None]:
    columns = (column[np.isfinite(column)] for column in errors_px.T)
    return {
        name: _rounded(measure(column)) if column.size else None for name, column in zip(names, columns, strict=True)
    }


def _rounded(value: float) -> float:
    return round(float(value), 3)
