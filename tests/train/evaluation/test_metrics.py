"""Errors in pixels and the measures computed from them, compared with results by hand and with random numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.errors import DatasetError
from edgepose_train.evaluation.metrics import OKS_SIGMA, Predictions, mean_interval, summarize

NAMES = ("snout", "leftear", "tailbase")


def predictions(errors, score=None) -> Predictions:
    """Returns predictions `errors` (N, K) px to the right of their labels; animals are 100 px long, NaN is no label."""
    errors = np.asarray(errors, np.float64)
    labels = np.tile(np.array([[0.0, 0.0], [50.0, 0.0], [100.0, 0.0]])[: errors.shape[1]], (len(errors), 1, 1))
    xy = labels + np.stack([np.nan_to_num(errors), np.zeros_like(errors)], axis=2)
    labels[np.isnan(errors)] = np.nan
    return Predictions(labels, xy, np.full(errors.shape, 0.9) if score is None else np.asarray(score))


def test_each_labelled_keypoint_counts_once():
    score = summarize(predictions([[1, 2, 3], [3, np.nan, 5], [5, np.nan, 25]]), NAMES)
    assert (score.n_frames, score.n_points) == (3, 7)
    assert score.mean_px == pytest.approx(44 / 7, abs=1e-3)
    assert score.median_px == 3
    assert score.per_keypoint == {"snout": 3, "leftear": 2, "tailbase": 11}
    assert score.median_per_keypoint == {"snout": 3, "leftear": 2, "tailbase": 5}
    assert score.p95_px == pytest.approx(np.percentile([1, 2, 3, 3, 5, 5, 25], 95), abs=1e-3)
    assert score.p95_per_keypoint["tailbase"] == pytest.approx(np.percentile([3, 5, 25], 95), abs=1e-3)


def test_an_unlabelled_keypoint_has_no_error_and_no_label_at_all_is_an_error():
    found = predictions([[1, np.nan, 3], [3, np.nan, 5]])
    assert summarize(found, NAMES).per_keypoint["leftear"] is None
    with pytest.raises(DatasetError, match="no labelled keypoint among the frames to evaluate on"):
        summarize(predictions(np.full((2, 3), np.nan)), NAMES)


def test_pck_is_the_share_within_parts_of_the_animal():
    score = summarize(predictions([[4, 6, 9], [11, 19, 21]]), NAMES)
    assert score.length_px == 100
    assert score.pck == {"0.05": 0.167, "0.1": 0.5, "0.2": 0.833}


def test_oks_is_that_of_its_formula():
    """The box of a straight animal is 100 x 10 px, because its width is at least a tenth of its length."""
    score = summarize(predictions([[0, 5, 10]]), NAMES)
    expected = np.mean([np.exp(-(d**2) / (2 * 1000 * (2 * OKS_SIGMA) ** 2)) for d in (0, 5, 10)])
    assert score.oks == pytest.approx(expected, abs=1e-3)
    assert summarize(predictions([[0, 0, 0]]), NAMES).oks == 1


def test_one_keypoint_alone_has_neither_a_length_nor_an_oks():
    score = summarize(predictions([[1], [3]]), NAMES[:1])
    assert (score.length_px, score.pck, score.oks) == (None, {}, None)
    assert score.mean_px == 2


def test_the_certain_ones_are_those_above_the_cutoff():
    score = summarize(predictions([[1, 2, 30]], [[0.6, 0.95, 0.59]]), NAMES)
    assert (score.certain.p_cutoff, score.certain.n_points, score.certain.mean_px) == (0.6, 2, 1.5)
    nobody = summarize(predictions([[1, 2, 30]], [[0.1, 0.1, 0.1]]), NAMES).certain
    assert (nobody.n_points, nobody.mean_px) == (0, None)


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    """The errors of one frame are equal; an interval that draws keypoints would be much too narrow."""
    rng = np.random.default_rng(0)
    inside, trials, mean = 0, 300, 3.0
    for _ in range(trials):
        errors = np.repeat(rng.gamma(2.0, mean / 2.0, (30, 1)), 4, axis=1)
        low, high = mean_interval(errors)
        inside += low <= mean <= high
    assert 0.88 < inside / trials < 0.99


def test_the_interval_is_repeatable_and_needs_two_frames():
    errors = np.random.default_rng(1).gamma(2, 2, (12, 3))
    assert mean_interval(errors) == mean_interval(errors)
    assert mean_interval(errors[:1]) is None
    assert mean_interval(np.vstack([errors[:1], np.full((3, 3), np.nan)])) is None
    assert mean_interval(np.full((5, 3), 2.0)) == (2.0, 2.0)
