"""Score calibration: a known distortion is found, and the mapped score is the share of right predictions."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.inference.estimator import Estimator
from edgepose.inference.model_card import ScoreMap
from edgepose.inference.model_file import read_card
from edgepose_train.evaluation.metrics import Predictions
from edgepose_train.evaluation.score_calibration import _logistic, _logit, fit_score_map, reliability, right_distance
from edgepose_train.labels.dataset import LabelledImage
from edgepose_train.labels.reading import read_dataset


def scored(count, slope, shift):
    """Returns random scores, and which are right with the probability sigmoid(slope * logit + shift)."""
    rng = np.random.default_rng(0)
    score = rng.uniform(0.02, 0.99, count)
    return score, rng.random(count) < ScoreMap(slope, shift, 1.0).apply(score)


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.5, 1.0), (2.5, -1.0)])
def test_a_known_distortion_is_found(slope, shift):
    score, right = scored(20_000, slope, shift)
    assert _logistic(_logit(score), right) == pytest.approx((slope, shift), abs=0.1)


@pytest.mark.parametrize("right", [True, False])
def test_without_a_single_mistake_or_hit_there_is_still_a_map(right):
    slope, shift = _logistic(_logit(np.linspace(0.3, 0.99, 40)), np.full(40, right))
    assert 0 < slope < 5
    assert abs(shift) < 5
    assert (ScoreMap(slope, shift, 1.0).apply(np.array([0.9]))[0] > 0.5) == right


def test_a_map_never_reverses_the_order():
    """The slope is positive even for scores without meaning, so a threshold always removes the lowest scores."""
    rng = np.random.default_rng(0)
    score = rng.uniform(0.02, 0.98, 500)
    slope, shift = _logistic(_logit(score), rng.random(500) > score)
    assert slope > 0
    assert (np.diff(ScoreMap(slope, shift, 1.0).apply(np.sort(score))) > 0).all()


def test_mapped_scores_are_the_share_that_is_right():
    """The reliability diagram of a network that is much too sure, before and after the mapping."""
    score, right = scored(8000, 0.5, 0.0)
    labels = np.zeros((4000, 2, 2))
    xy = labels + np.where(right, 1.0, 50.0).reshape(4000, 2, 1)
    found = Predictions(labels, xy, ScoreMap(0.5, 0.0, 5.0).apply(score).reshape(4000, 2))
    diagram = reliability(found, score.reshape(4000, 2), 5.0)
    assert max(abs(one.score - one.right) for one in diagram.after) < 0.05
    assert max(abs(one.score - one.right) for one in diagram.before) > 0.1
    assert sum(one.points for one in diagram.before) == sum(one.points for one in diagram.after) == 8000


def test_unlabelled_keypoints_are_in_no_bin():
    labels = np.full((20, 2, 2), np.nan)
    labels[:, 0] = 0
    diagram = reliability(Predictions(labels, labels, np.full((20, 2), 0.9)), np.full((20, 2), 0.5), 3.0)
    assert sum(one.points for one in diagram.after) == 20


def test_right_is_a_tenth_of_the_animal_or_a_part_of_the_frame():
    frame = np.zeros((480, 640, 3), np.uint8)
    assert right_distance(np.array([[[0.0, 0.0], [100.0, 30.0]]]), frame) == pytest.approx(10)
    assert right_distance(np.array([[[5.0, 5.0]]]), frame) == pytest.approx(12.8)


# --- a real model ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_finished_run_has_a_map_and_the_device_applies_it(finished_run):
    score_map = read_card(finished_run.model).score_map
    assert score_map is not None
    assert score_map.slope > 0
    assert score_map.right_px > 0


@pytest.mark.slow
def test_frames_without_a_label_give_no_map(finished_run):
    images = [
        LabelledImage(image.path, np.full_like(image.xy_px, np.nan), image.video)
        for image in read_dataset(finished_run.project).images[:2]
    ]
    assert fit_score_map(Estimator(finished_run.model), images) is None
