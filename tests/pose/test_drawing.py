"""What is drawn where: sure keypoints filled, unsure ones hollow, edges between sure ones only, trails by time."""

from __future__ import annotations

import itertools

import numpy as np

from edgepose.pose.drawing import draw_pose, draw_trails, keypoint_colours
from edgepose.types import Pose, Skeleton

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


def test_a_keypoint_whose_place_is_not_known_is_left_out_with_its_edges():
    image = draw([(50, 60), (np.nan, np.nan), (250, 60)], [0.9, 0.8, 0.9])
    assert tuple(image[60, 50]) == keypoint_colours(3)[0]
    image[50:71, 40:61] = image[50:71, 240:261] = 0
    assert not image.any()


def trails(path, now):
    image = np.full((240, 320, 3), 100, np.uint8)
    draw_trails(image, np.array(path, np.float64)[:, None], now, keypoint_colours(1))
    return (image != 100).any(axis=2), image


def test_the_past_is_drawn_in_full_colour_and_the_future_thinner_and_fainter():
    drawn, image = trails([(20 + 10 * i, 120) for i in range(21)], 10)  # now at x = 120
    assert drawn[120, 20:221].all()
    assert tuple(image[120, 60]) == keypoint_colours(1)[0]
    share = (image[120, 180] - 100.0) / (np.array(keypoint_colours(1)[0]) - 100.0)
    assert ((share > 0.3) & (share < 0.5)).all()
    assert drawn[:, 60].sum() > drawn[:, 180].sum() > 0
    assert not drawn[:, :15].any()
    assert not drawn[:, 226:].any()


def test_a_trail_has_a_gap_where_the_keypoint_is_not_known():
    path = [(20 + 10 * i, 120) for i in range(21)]
    path[4] = path[5] = path[15] = (np.nan, np.nan)
    drawn, _ = trails(path, 10)
    assert not drawn[:, 55:66].any()  # between the points at 50 and 80
    assert not drawn[:, 165:176].any()
    assert drawn[120, [40, 100, 150, 190]].all()


def test_a_trail_without_a_point_draws_nothing():
    drawn, _ = trails([(np.nan, np.nan)] * 5, 2)
    assert not drawn.any()
    drawn, _ = trails([(50, 50)], 0)
    assert not drawn.any()
