"""The verdict and what to label next, on predictions whose errors are known."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from report_case import Case

from edgepose_train.export.layer_attribution import LayerAttribution, Suspect
from edgepose_train.report.report import data_hash, git_commit, judge, label_next, left_behind, provenance, worst_first


def reasons(case: Case, **parts) -> str:
    return "; ".join(judge(*case.made(**parts)).reasons)


def advice(case: Case) -> str:
    return "\n".join(label_next(*case.made()))


# --- verdict -----------------------------------------------------------------------------------------------


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
    blame = LayerAttribution(12, 1.0, 1.3, (Suspect("the first convolution", 2.0, 0.05),), 0.05)
    assert "allowed; the layer to blame is the first convolution" in reasons(case, blame=blame)


def test_one_frame_that_falls_the_other_way_is_excused_unless_a_person_set_the_limit(tmp_path):
    case = Case(tmp_path)
    case.xy_px[4, 2] += [300, 0]
    assert "int8" not in reasons(case, max_int8_loss=1, one_frame_excused=True)
    assert "int8 loses 6.25 px, more than the 1 px that are allowed" in reasons(case, max_int8_loss=1)
    case.xy_px[5:8] += [30, 0]
    assert "int8 loses 8.18 px" in reasons(case, max_int8_loss=1, one_frame_excused=True)


@pytest.mark.parametrize(("frames", "told"), [(1, "1 test frame cannot"), (9, "9 test frames cannot"), (10, "")])
def test_few_test_frames_are_no_result(tmp_path, frames, told):
    found = reasons(Case(tmp_path, frames=frames))
    assert told in found
    assert bool(found) == bool(told)


def test_cross_validation_tests_enough_frames(tmp_path):
    card, data = Case(tmp_path, frames=9).made()
    card.scores["folds"] = msgspec.structs.replace(card.scores["int8"], n_frames=30)
    assert judge(card, data).good


def test_a_model_that_finds_little_is_not_good(tmp_path):
    """Though no keypoint is worse than the others, and int8 costs nothing."""
    case = Case(tmp_path)
    case.xy_px[:3] += [9, 0]
    case.float_px[:3] += [9, 0]
    assert reasons(case) == "only 75 % of the keypoints lie within 5 px of where a person put them; 80 % should"


def test_a_keypoint_is_not_left_behind(tmp_path):
    case = Case(tmp_path)
    case.xy_px[:, 3] = case.labels[:, 3] + [3.5, 0]
    assert reasons(case, max_int8_loss=1) == "tailbase is found much less well than the other keypoints"
    case.xy_px[:, 3] = case.labels[:, 3] + [2.5, 0]
    assert reasons(case, max_int8_loss=1) == ""


def test_two_labels_do_not_say_that_a_keypoint_is_behind():
    errors = np.ones((8, 3))
    errors[:, 2] = [50.0, 50.0, *[np.nan] * 6]
    assert left_behind(errors, "abc") == []
    errors[2, 2] = 50
    assert left_behind(errors, "abc") == ["c"]
    assert left_behind(errors[:, 2:], "c") == []  # there are no others


def test_a_keypoint_that_nobody_labelled_is_not_judged(tmp_path):
    case = Case(tmp_path)
    case.labels[:, 2] = np.nan
    assert judge(*case.made()).good
    assert "No test frame has a label of rightear" in advice(case)


# --- what to label next ------------------------------------------------------------------------------------


def test_the_worst_frame_is_first_and_those_without_labels_last():
    errors = np.array([[1.0, 2], [np.nan, np.nan], [9, np.nan], [4, 4]])
    assert worst_first(errors).tolist() == [2, 3, 0, 1]


def test_left_and_right_exchanged_is_told(tmp_path):
    case = Case(tmp_path)
    assert "exchanged" not in advice(case)
    case.xy_px[5, [1, 2]] = case.xy_px[5, [2, 1]]
    assert "Look at img005.png (leftear, rightear): left and right seem exchanged" in advice(case)
    assert "far from the label" not in advice(case)  # it is the same thing
    assert "exchanged" not in advice(replace_pairs(case))


def replace_pairs(case: Case) -> Case:
    other = replace(case, pairs=())
    other.xy_px = case.xy_px
    return other


def test_a_label_that_a_sure_model_contradicts_is_told(tmp_path):
    case = Case(tmp_path)
    case.xy_px[7, 0] += [0, 20]
    case.xy_px[7, 3] += [0, 12]  # each frame is named once
    assert "Look at img007.png (snout, 20 px): the model is sure" in advice(case)
    case.score[7] = 0.3
    assert "the model is sure" not in advice(case)


def test_the_keypoints_and_the_video_with_most_error_are_told(tmp_path):
    case = Case(tmp_path)
    case.videos = ["cage1"] * 6 + ["cage2"] * 6
    case.xy_px[6:] += [1, 0]
    case.xy_px[:, 3] += [0.5, 0]
    told = advice(case)
    assert "Most error is in tailbase (2.0 px) and snout (1.5 px)" in told
    assert "Of the videos, cage2 is found worst: 2.1 px, the best one 1.1 px" in told
    case.xy_px[:6] += [0.5, 0]
    assert "Of the videos" not in advice(case)  # nearly as good


def test_rare_labels_are_counted(tmp_path):
    case = Case(tmp_path)
    case.labels[3, 0] = np.nan  # one of the frames whose labels `Case` repeats for training
    assert "Fewer than 50 labels to learn from: snout (2), leftear (3), rightear (3), tailbase (3)." in advice(case)


def test_one_keypoint_is_advised_about_too(tmp_path):
    case = Case(tmp_path, names=("nose",), pairs=())
    assert judge(*case.made()).sentence.startswith("On average, this model puts nose 1.0 px")
    assert "Most error" not in advice(case)


# --- provenance --------------------------------------------------------------------------------------------


def test_provenance_tells_what_made_the_model(tmp_path):
    card, data = Case(tmp_path).made(command="edgepose-train fit 'my project' -o RUN")
    facts = dict(provenance(card, data))
    assert facts["command"] == "edgepose-train fit 'my project' -o RUN"
    assert facts["sha256 of the model"] == card.files.cpu.sha256
    assert facts["frames"] == "3 train, 2 validation, 12 test"
    assert facts["seed"] == str(card.training.seed)
    assert f"tensorflow {card.training.versions['tensorflow']}" in facts["software"]
    assert facts["sha256 of frames and labels"] == data_hash(card, data.split)
    assert "git commit of the labels" not in facts


def test_the_hash_of_the_data_is_that_of_frames_and_labels_alone(tmp_path):
    card, data = Case(tmp_path).made()
    before = data_hash(card, data.split)
    assert len(before) == 64
    for name in ("train", "test"):
        getattr(data.split, name).reverse()
        card.training.splits[name] = card.training.splits[name][::-1]
    assert data_hash(card, data.split) == before
    data.split.train[0].xy_px[0] += 0.001
    assert data_hash(card, data.split) != before


def test_the_commit_of_the_labels_is_told(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    file = folder / "labels.csv"
    file.write_text("a")
    assert git_commit(folder) == ""  # no repository

    def git(*words):
        who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
        done = subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    assert git_commit(folder) == ""  # git does not keep it
    git("add", ".")
    git("commit", "-m", "labels")
    assert git_commit(folder) == git_commit(file) == git("rev-parse", "HEAD")
    file.write_text("b")
    assert git_commit(folder) == git("rev-parse", "HEAD") + ", with changes that are not committed"
    assert git_commit(tmp_path / "gone" / "x.csv") == ""
