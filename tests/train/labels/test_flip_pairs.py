"""Left and right are found by the names, and what has no partner is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepose_train.labels.dataset import make_skeleton
from edgepose_train.labels.flip_pairs import find_flip_pairs, without_partner


@pytest.mark.parametrize(
    "pair",
    [
        ("leftear", "rightear"),
        ("LeftEar", "RightEar"),
        ("paw1_left", "paw1_right"),
        ("ear left tip", "ear right tip"),
        ("earL", "earR"),
        ("L_ear", "R_ear"),
        ("l-ear", "r-ear"),
        ("lpaw", "rpaw"),
        ("ear_L_tip", "ear_R_tip"),
        ("frontLPaw", "frontRPaw"),
        ("forelegL4", "forelegR4"),
        ("foreleg_l4", "foreleg_r4"),
        ("paw1LH_top", "paw1RH_top"),
        ("Shoulder_left", "Shoulder_right"),
        ("SHOULDER_LEFT", "SHOULDER_RIGHT"),
        ("FL_paw", "FR_paw"),
        ("HindLegLTip2", "HindLegRTip2"),
    ],
    ids=lambda pair: pair[0],
)
def test_pairs_are_found_by_their_names(pair):
    assert find_flip_pairs(("tail", pair[1], "snout", pair[0])) == (pair,)


@pytest.mark.parametrize(
    "names", [("leftear", "snout"), ("leftear", "Rightear"), ("Hand", "Tongue", "Joystick1"), ("ll", "lr", "rl", "rr")]
)
def test_what_has_no_clear_partner_is_no_pair(names):
    assert find_flip_pairs(names) == ()


@pytest.mark.parametrize(
    ("names", "alone"),
    [
        (("leftear", "rightear", "snout"), []),
        (("leftear", "rightear", "forelegL4"), ["forelegL4"]),
        (("leftear", "rightear", "paw_l", "paw-r"), ["paw_l", "paw-r"]),
        (("LH_top", "snout"), ["LH_top"]),
        (("ll", "lr", "rl", "rr"), ["ll", "lr", "rl", "rr"]),
        (("upright", "cleft", "bright", "tail", "rear", "Hand", "Joystick1", "lip", "Rump", "collar"), []),
    ],
)
def test_keypoints_of_one_side_without_a_partner(names, alone):
    assert without_partner(names, find_flip_pairs(names)) == alone


def test_a_skeleton_reports_what_has_no_partner():
    problems = []
    skeleton = make_skeleton(Path("l.slp"), ("leftear", "rightear", "legL4"), (), (), problems)
    assert skeleton.flip_pairs == (("leftear", "rightear"),)
    assert len(problems) == 1
    assert problems[0].startswith("1 keypoint of one side without a partner")
    assert problems[0].endswith("not mirrored in training: legL4")


def test_names_complete_the_pairs_of_the_file():
    names = ("a", "b", "leftear", "rightear")
    assert make_skeleton(Path("l.slp"), names, (), [("b", "a")], []).flip_pairs == (("b", "a"), ("leftear", "rightear"))
