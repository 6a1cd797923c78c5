"""What to label next, on predictions whose errors are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from report_case import Case

from edgepose_train.report.advice import label_next
from edgepose_train.report.verdict import judge


def advice(case: Case) -> str:
    return "\n".join(label_next(*case.made()))


def test_left_and_right_exchanged_is_reported(tmp_path):
    case = Case(tmp_path)
    assert "exchanged" not in advice(case)
    case.xy_px[5, [1, 2]] = case.xy_px[5, [2, 1]]
    assert "Check img005.png (leftear, rightear): left and right seem exchanged" in advice(case)
    assert "far from the label" not in advice(case)  # it is the same fact
    assert "exchanged" not in advice(without_pairs(case))


def without_pairs(case: Case) -> Case:
    other = replace(case, pairs=())
    other.xy_px = case.xy_px
    return other


def test_a_label_that_a_sure_model_contradicts_is_reported(tmp_path):
    case = Case(tmp_path)
    case.xy_px[7, 0] += [0, 20]
    case.xy_px[7, 3] += [0, 12]  # each frame is named once
    assert "Check img007.png (snout, 20 px): the model is sure" in advice(case)
    case.score[7] = 0.3
    assert "the model is sure" not in advice(case)


def test_the_keypoints_and_the_video_with_most_error_are_reported(tmp_path):
    case = Case(tmp_path)
    case.videos = ["cage1"] * 6 + ["cage2"] * 6
    case.xy_px[6:] += [1, 0]
    case.xy_px[:, 3] += [0.5, 0]
    lines = advice(case)
    assert "Most error is in tailbase (2.0 px) and snout (1.5 px)" in lines
    assert "Of the videos, cage2 is found worst: 2.1 px, the best one 1.1 px" in lines
    case.xy_px[:6] += [0.5, 0]
    assert "Of the videos" not in advice(case)  # nearly as good


def test_rare_labels_are_counted(tmp_path):
    case = Case(tmp_path)
    case.labels[3, 0] = np.nan  # one of the frames whose labels `Case` repeats for training
    assert "Fewer than 50 labels to learn from: snout (2), leftear (3), rightear (3), tailbase (3)." in advice(case)


def test_there_is_advice_for_one_keypoint_too(tmp_path):
    case = Case(tmp_path, names=("nose",), pairs=())
    assert judge(*case.made()).sentence.startswith("On average, this model puts nose 1.0 px")
    assert "Most error" not in advice(case)


def test_a_keypoint_without_a_label_among_the_test_frames_is_reported(tmp_path):
    case = Case(tmp_path)
    case.labels[:, 2] = np.nan
    assert "No test frame has a label of rightear" in advice(case)
