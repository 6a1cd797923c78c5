"""What is drawn where: sure keypoints filled, unsure ones hollow, edges between sure ones only."""

from __future__ import annotations

import itertools

import numpy as np

from edgepose.core.overlay import draw_pose, keypoint_colours
from edgepose.core.types import Pose, Skeleton

SKELETON = Skeleton(("a", "b", "c"), edges=(("a", "b"), ("b", "c")))


def draw(xy, score):
    image = np.zeros((240, 320, 3), np.uint8)
    draw_pose(image, Pose(np.array(xy, np.float32), np.array(score, np.float32)), SKELETON)
    return image


def test_sure_keypoints_are_filled_and_joined_and_unsure_ones_hollow():
    image = draw([(50, 60), (150, 60), (250, 60)], [0.9, 0.8, 0.1])
    colours = keypoint_colours(3)
    assert tuple(image[60, 50]) == colours[0]
    assert tuple(image[60, 150]) == colours[1]
    assert image[60, 100].min() > 200  # the white edge from a to b
    assert not image[60, 250].any()  # c is hollow
    assert image[55:66, 245:256].any()
    assert not image[60, 200].any()  # no edge to it


def test_a_keypoint_far_outside_is_no_trouble():
    image = draw([(-1e6, 1e7), (319, 0), (0, 239)], [1, 1, 1])
    assert image.any()


def test_neighbouring_keypoints_differ_in_colour():
    colours = keypoint_colours(17)
    assert len(set(colours)) == 17
    for one, other in itertools.pairwise(colours):
        assert np.abs(np.subtract(one, other)).max() > 100
