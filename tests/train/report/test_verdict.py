"""The verdict on models whose errors are known."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from report_case import Case

from edgepose_train.export.layer_attribution import LayerAttribution, SuspectLayer
from edgepose_train.report.verdict import judge, much_worse


def reasons(case: Case, **parts) -> str:
    return "; ".join(judge(*case.made(**parts)).reasons)


def test_a_good_model_is_called_good(tmp_path):
    case = Case(tmp_path)
    case.xy_px[::2] += [1, 0]
    verdict = judge(*case.made(max_int8_loss=0.6))
    assert verdict.good
    assert verdict.sentence.startswith("On average, this model puts the 4 keypoints 1.5 px (95 % interval 1.2 to 1.8)")
    assert verdict.sentence.endswith("on 12 frames it never saw.")


def test_int8_may_lose_no_more_than_allowed(tmp_path):
    case = Case(tmp_path)
    case.xy_px += [0.3, 0]
    assert reasons(case, max_int8_loss=0.31) == ""
    assert reasons(case, max_int8_loss=0.29) == "int8 loses 0.30 px, more than the 0.29 px that are allowed"
    attribution = LayerAttribution(12, 1.0, 1.3, (SuspectLayer("the first convolution", 2.0, 0.05),), 0.05)
    assert "allowed; the cause is the layer the first convolution" in reasons(case, attribution=attribution)


def test_one_frame_that_falls_the_other_way_is_excused_unless_a_person_set_the_limit(tmp_path):
    case = Case(tmp_path)
    case.xy_px[4, 2] += [300, 0]
    assert "int8" not in reasons(case, max_int8_loss=1, one_frame_excused=True)
    assert "int8 loses 6.25 px, more than the 1 px that are allowed" in reasons(case, max_int8_loss=1)
    case.xy_px[5:8] += [30, 0]
    assert "int8 loses 8.18 px" in reasons(case, max_int8_loss=1, one_frame_excused=True)


@pytest.mark.parametrize(("frames", "reason"), [(1, "1 test frame cannot"), (9, "9 test frames cannot"), (10, "")])
def test_few_test_frames_are_no_result(tmp_path, frames, reason):
    found = reasons(Case(tmp_path, frames=frames))
    assert reason in found
    assert bool(found) == bool(reason)


def test_cross_validation_tests_enough_frames(tmp_path):
    card, data = Case(tmp_path, frames=9).made()
    card.scores["folds"] = msgspec.structs.replace(card.scores["int8"], n_frames=30)
    assert judge(card, data).good


def test_a_model_that_finds_little_is_not_good(tmp_path):
    """It is not good although no keypoint is worse than the others and int8 costs nothing."""
    case = Case(tmp_path)
    case.xy_px[:3] += [9, 0]
    case.float_px[:3] += [9, 0]
    assert reasons(case) == "only 75 % of the keypoints lie within 5 px of where a person put them; 80 % should"


def test_a_keypoint_is_not_much_worse(tmp_path):
    case = Case(tmp_path)
    case.xy_px[:, 3] = case.labels[:, 3] + [3.5, 0]
    assert reasons(case, max_int8_loss=1) == "tailbase is found much less well than the other keypoints"
    case.xy_px[:, 3] = case.labels[:, 3] + [2.5, 0]
    assert reasons(case, max_int8_loss=1) == ""


def test_two_labels_do_not_show_that_a_keypoint_is_much_worse():
    errors = np.ones((8, 3))
    errors[:, 2] = [50.0, 50.0, *[np.nan] * 6]
    assert much_worse(errors, "abc") == []
    errors[2, 2] = 50
    assert much_worse(errors, "abc") == ["c"]
    assert much_worse(errors[:, 2:], "c") == []  # there are no others


def test_a_keypoint_that_nobody_labelled_is_not_judged(tmp_path):
    case = Case(tmp_path)
    case.labels[:, 2] = np.nan
    assert judge(*case.made()).good
