"""What is drawn where: sure keypoints filled, others hollow, edges between sure ones only, names, trails by time."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.pose.drawing import bgr_colours, draw_marker, draw_names, draw_pose, draw_trails
from edgepose.types import Pose, Skeleton

SKELETON = Skeleton(("a", "b", "c"), edges=(("a", "b"), ("b", "c")))


def draw(xy, score):
    image = np.zeros((240, 320, 3), np.uint8)
    draw_pose(image, Pose(np.array(xy, np.float32), np.array(score, np.float32)), SKELETON)
    return image


def test_sure_keypoints_are_filled_and_joined_and_unsure_ones_hollow():
    image = draw([(50, 60), (150, 60), (250, 60)], [0.9, 0.8, 0.1])
    colours = bgr_colours(3)
    assert tuple(image[60, 50]) == colours[0]
    assert tuple(image[60, 150]) == colours[1]
    assert image[60, 100].min() > 200  # the white edge from a to b
    assert not image[60, 250].any()  # c is hollow
    assert (image[55:66, 245:256] == colours[2]).all(axis=2).any()
    assert not image[60, 200].any()  # no edge to it


def test_a_keypoint_far_outside_is_no_trouble():
    image = draw([(-1e6, 1e7), (319, 0), (0, 239)], [1, 1, 1])
    assert image.any()


@pytest.mark.parametrize("shade", [0, 60, 128, 255])
def test_a_point_and_its_edge_are_seen_on_any_ground(shade):
    image = np.full((240, 320, 3), shade, np.uint8)
    draw_pose(
        image, Pose(np.array([(50, 60), (150, 60), (250, 60)], np.float32), np.full(3, 0.9, np.float32)), SKELETON
    )
    across_point, across_edge = image[50:71, 50].astype(int), image[50:71, 100].astype(int)
    for across in (across_point, across_edge):
        assert np.abs(across - shade).max() > 90
        assert across.min() <= 20  # the dark outline


@pytest.mark.parametrize("keypoint", [0, 9, 18, 27])  # a circle, a square, a diamond and a triangle
@pytest.mark.parametrize("filled", [True, False])
def test_every_shape_is_centred_and_can_be_hollow(keypoint, filled):
    image = np.full((81, 81, 3), 90, np.uint8)
    draw_marker(image, np.array([40.0, 40]), keypoint, 12, filled=filled)
    rows, columns = np.nonzero((image != 90).any(axis=2))
    assert np.hypot(rows.mean() - 40, columns.mean() - 40) < 1.5
    assert (image[40, 40] == (bgr_colours(1)[0] if filled else 90)).all()
    drawn = (image != 90).any(axis=2).sum()
    assert 400 < drawn < 900


def test_shapes_differ():
    signs = []
    for keypoint in (0, 9, 18, 27):
        image = np.zeros((41, 41, 3), np.uint8)
        draw_marker(image, np.array([20.0, 20]), keypoint, 8)
        signs.append((image == bgr_colours(1)[0]).all(axis=2))
    for i, one in enumerate(signs):
        assert all((one != other).sum() > 0.15 * one.sum() for other in signs[:i])


def named(xy, score, names):
    """Where names are drawn, (H, W)."""
    image = np.full((240, 320, 3), 100, np.uint8)
    draw_names(image, Pose(np.array(xy, np.float32), np.array(score, np.float32)), Skeleton(names), 10)
    return (image != 100).any(axis=2)


def test_names_stand_beside_sure_keypoints_away_from_the_others():
    drawn = named([(100, 60), (220, 60), (160, 200)], [0.9, 0.9, 0.1], ("nose", "tail", "paw"))
    assert drawn[50:71, 60:97].any()
    assert drawn[50:71, 225:270].any()
    assert not drawn[:, 100:220].any()


def test_names_cover_no_keypoint_and_no_other_name():
    xy = [(100 + 7 * (k % 5), 60 + 7 * (k // 5)) for k in range(20)]
    names = tuple(f"keypoint{k}" for k in range(20))
    alone = named([xy[0], *[(np.nan, np.nan)] * 19], [1] * 20, names)
    drawn = named(xy, [1] * 20, names)
    assert not drawn[57:85, 97:132].any()  # where the keypoints are
    assert 2 * alone.sum() < drawn.sum() < 12 * alone.sum()  # some find a place, not all


def test_names_that_would_leave_the_picture_go_to_the_other_side_or_are_left_out():
    assert named([(10, 100), (310, 100)], [1, 1], ("nose", "tail"))[90:111, 15:100].any()
    assert not named([(-50, -90), (np.nan, np.nan)], [1, 1], ("nose", "tail")).any()


def test_a_keypoint_whose_place_is_not_known_is_left_out_with_its_edges():
    image = draw([(50, 60), (np.nan, np.nan), (250, 60)], [0.9, 0.8, 0.9])
    assert tuple(image[60, 50]) == bgr_colours(3)[0]
    image[50:71, 40:61] = image[50:71, 240:261] = 0
    assert not image.any()


def trails(path, now):
    image = np.full((240, 320, 3), 100, np.uint8)
    draw_trails(image, np.array(path, np.float64)[:, None], now, bgr_colours(1))
    return (image != 100).any(axis=2), image


def test_the_past_is_drawn_in_full_colour_and_the_future_thinner_and_fainter():
    drawn, image = trails([(20 + 10 * i, 120) for i in range(21)], 10)  # now at x = 120
    assert drawn[120, 20:221].all()
    assert tuple(image[120, 60]) == bgr_colours(1)[0]
    share = (image[120, 180] - 100.0) / (np.array(bgr_colours(1)[0]) - 100.0)
    assert ((share > 0.4) & (share < 0.7)).all()
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
