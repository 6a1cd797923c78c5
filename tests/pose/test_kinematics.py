"""Distances, angles, speeds and time in zones, against movements worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.pose.kinematics import centre, measures, speed, zone_times
from edgepose.types import Skeleton

SKELETON = Skeleton(("snout", "neck", "tail"), (("snout", "neck"), ("neck", "tail")))
NAN = np.nan


def rigid(centres) -> np.ndarray:
    """A right-angled animal (N, 3, 2) whose middle is at `centres` (N, 2)."""
    body = np.array([[20.0, -10], [-10, -10], [-10, 20]])
    return np.asarray(centres, np.float64).reshape(-1, 1, 2) + body


def test_a_straight_run():
    time_s = np.arange(5) * 0.5
    xy = rigid([[10.0 * i, 0] for i in range(5)])
    found = measures(xy, "px", time_s, SKELETON)
    assert list(found) == [
        "centre_x_px",
        "centre_y_px",
        "centre_speed_px_s",
        "centre_distance_px",
        "snout_speed_px_s",
        "neck_speed_px_s",
        "tail_speed_px_s",
        "length_snout_neck_px",
        "length_neck_tail_px",
        "angle_snout_neck_tail_deg",
    ]
    np.testing.assert_allclose(found["centre_x_px"], [0, 10, 20, 30, 40])
    np.testing.assert_allclose(found["centre_speed_px_s"], 20)
    np.testing.assert_allclose(found["tail_speed_px_s"], 20)
    np.testing.assert_allclose(found["centre_distance_px"], [0, 10, 20, 30, 40])
    np.testing.assert_allclose(found["length_snout_neck_px"], 30)
    np.testing.assert_allclose(found["angle_snout_neck_tail_deg"], 90)


def test_millimetres():
    xy, time_s = rigid([[10.0 * i, 5] for i in range(4)]), np.arange(4) / 10
    in_px, in_mm = measures(xy, "px", time_s, SKELETON), measures(xy / 4, "mm", time_s, SKELETON)
    for name, values in in_px.items():
        scale = 1 if name.endswith("_deg") else 4
        np.testing.assert_allclose(in_mm[name.replace("_px", "_mm")], values / scale)


def test_measures_whose_names_read_alike_are_all_there():
    skeleton = Skeleton(("tail", "base_paw", "tail_base", "paw"), (("tail", "base_paw"), ("tail_base", "paw")))
    found = measures(np.array([[[0.0, 0], [3, 4], [0, 0], [6, 8]]]), "mm", np.zeros(1), skeleton)
    assert [found[f"length_tail_base_paw{number}_mm"].tolist() for number in ("", "_2")] == [[5], [10]]


def test_an_edge_that_is_named_twice_is_measured_once():
    skeleton = Skeleton(("a", "b", "c"), (("a", "b"), ("b", "a"), ("b", "c")))
    names = [*measures(np.zeros((1, 3, 2)), "px", np.zeros(1), skeleton)]
    assert names[-3:] == ["length_b_a_px", "length_b_c_px", "angle_a_b_c_deg"]


def test_a_gap_adds_no_distance_and_no_speed():
    xy = rigid([[0.0, 0], [10, 0], [0, 0], [500, 0], [510, 0]])
    xy[2] = NAN
    found = measures(xy, "px", np.arange(5.0), SKELETON)
    np.testing.assert_allclose(found["centre_distance_px"], [0, 10, 10, 10, 20])
    np.testing.assert_allclose(found["centre_speed_px_s"], [10, 10, NAN, 10, 10])
    np.testing.assert_allclose(found["length_neck_tail_px"], [30, 30, NAN, 30, 30])


def test_uneven_frames_have_the_right_speed():
    time_s = np.array([0.0, 0.1, 0.4, 0.5])
    np.testing.assert_allclose(speed(np.stack([time_s * 70, 0 * time_s], axis=1), time_s), 70)


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, [NAN]), (2, [20, 20])])
def test_very_short_videos(count, expected):
    found = measures(rigid([[10.0 * i, 0] for i in range(count)]), "px", np.arange(count) / 2, SKELETON)
    np.testing.assert_allclose(found["centre_speed_px_s"], expected)
    assert {len(values) for values in found.values()} == {count}


def test_the_centre_needs_half_of_the_keypoints():
    xy = np.array([[[0.0, 0], [10, 0], [20, 6]], [[NAN, NAN], [10, 0], [20, 6]], [[NAN, NAN], [NAN, NAN], [20, 6]]])
    np.testing.assert_allclose(centre(xy), [[10, 2], [15, 3], [NAN, NAN]], atol=1e-5)
    np.testing.assert_allclose(centre(xy[:, :1]), [[0, 0], [NAN, NAN], [NAN, NAN]])


def test_many_keypoints_on_the_head_do_not_draw_the_centre_there():
    head = [[0.0, 0], [10, 8], [10, -8], [12, 0], [8, 2]]
    found = centre(np.array([[*head, [100, 15], [100, -15]]]))
    assert found[0, 0] == pytest.approx(59, abs=2)
    assert found[0, 1] == pytest.approx(0, abs=0.5)


def test_the_centre_of_a_line_is_its_middle():
    xy = np.array([[[0.0, 0], [1, 1], [2, 2], [100, 100]], [[5, 5], [5, 5], [5, 5], [5, 5]]])
    np.testing.assert_allclose(centre(xy), [[50, 50], [5, 5]], atol=1e-4)


def test_one_keypoint_in_a_wrong_place_does_not_move_the_centre():
    square = np.array([[-10.0, -10], [10, -10], [10, 10], [-10, 10], [0, 0]]) + 100
    xy = np.stack([square] * 3)
    xy[1, 4] = (600, 20)
    np.testing.assert_allclose(centre(xy), [[100, 100]] * 3, atol=1e-4)


def test_a_keypoint_may_stand_for_the_animal_and_the_columns_say_so():
    xy = rigid([[10.0 * i, 0] for i in range(5)])
    np.testing.assert_allclose(centre(xy, 2), xy[:, 2])
    found = measures(xy, "px", np.arange(5.0), SKELETON, 2)
    assert list(found)[:6] == [
        "tail_x_px",
        "tail_y_px",
        "tail_speed_px_s",
        "tail_distance_px",
        "snout_speed_px_s",
        "neck_speed_px_s",
    ]
    np.testing.assert_allclose(found["tail_x_px"], xy[:, 2, 0])
    assert zone_times(centre(xy, 2), np.arange(5.0), {"nest": xy[0]}, "tail")["point"] == ["tail"]


def test_an_angle_for_each_pair_of_edges_that_meet():
    star = Skeleton(("a", "b", "c", "d"), (("a", "b"), ("c", "b"), ("b", "d")))
    xy = np.array([[[10.0, 0], [0, 0], [0, 10], [-10, 0]]])
    found = {name: values[0] for name, values in measures(xy, "px", np.zeros(1), star).items() if "angle" in name}
    assert found == pytest.approx({"angle_a_b_c_deg": 90, "angle_a_b_d_deg": 180, "angle_c_b_d_deg": 90})


def test_a_skeleton_without_edges_has_no_lengths_and_no_angles():
    found = measures(rigid([[0.0, 0]] * 3), "px", np.arange(3.0), Skeleton(("snout", "neck", "tail")))
    assert not [name for name in found if name.startswith(("length", "angle"))]


# --- zones -------------------------------------------------------------------------------------------------

ZONES = {
    "left": np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]]),
    "right": np.array([[20.0, 0], [30, 0], [30, 10], [20, 10]]),
    "never": np.array([[90.0, 90], [99, 90], [99, 99]]),
}


def test_time_entries_and_the_first_visit():
    x = [5, 5, 15, 25, 25, 15, 5, 5, 5, 15]
    xy = np.array([[value, 5.0] for value in x])
    found = zone_times(xy, np.arange(10) * 0.1, ZONES)
    assert found["zone"] == ["left", "right", "never"]
    assert found["entries"].tolist() == [2, 1, 0]
    np.testing.assert_allclose(found["time_s"], [0.5, 0.2, 0])
    np.testing.assert_allclose(found["share"], [0.5, 0.2, 0])
    np.testing.assert_allclose(found["first_s"], [0, 0.3, NAN])


def test_not_seen_for_a_while_is_no_entry_and_no_time():
    xy = np.array([[5.0, 5], [NAN, NAN], [5, 5], [15, 5]])
    found = zone_times(xy, np.arange(4.0), ZONES)
    assert found["entries"].tolist() == [1, 0, 0]
    np.testing.assert_allclose(found["time_s"], [2, 0, 0])
    np.testing.assert_allclose(found["share"], [2 / 3, 0, 0])


def test_an_animal_that_was_never_seen():
    found = zone_times(np.full((3, 2), NAN), np.arange(3.0), ZONES)
    assert found["entries"].tolist() == [0, 0, 0]
    assert found["time_s"].tolist() == [0, 0, 0]
    assert np.isnan(found["share"]).all()
    assert np.isnan(found["first_s"]).all()
