"""Zones: which points lie in a polygon; mistakes in the file are reported in one line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.config.geometry_files import read_zones
from edgepose.errors import UsageError
from edgepose.geometry.zones import inside

SQUARE = np.array([[10.0, 10], [30, 10], [30, 30], [10, 30]])
# An L: the upper right quarter is missing.
CONCAVE = np.array([[0.0, 0], [10, 0], [10, 10], [20, 10], [20, 20], [0, 20]])


@pytest.mark.parametrize("corners", [SQUARE, SQUARE[::-1], np.roll(SQUARE, 2, axis=0)])
def test_inside_the_border_and_outside(corners):
    points = np.array([[20.0, 20], [10, 10], [30, 20], [20, 30], [9.9, 20], [20, 30.1], [40, 10], [np.nan, 20]])
    assert inside(points, corners).tolist() == [True, True, True, True, False, False, False, False]


def test_a_concave_zone_does_not_hold_its_notch():
    points = np.array([[5.0, 5], [15, 15], [5, 15], [15, 5], [10, 5], [15, 10], [10.5, 9.5]])
    assert inside(points, CONCAVE).tolist() == [True, True, True, False, True, True, False]


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=20))
def test_a_triangle_holds_what_lies_on_the_inner_side_of_all_its_edges(points):
    corners, xy = np.array([[-20.0, -15], [25, -10], [0, 30]]), np.array(points)
    after = np.roll(corners, -1, axis=0)
    along, to_point = after - corners, xy - corners[:, None]
    sides = along[:, :1] * to_point[..., 1] - along[:, 1:] * to_point[..., 0]
    clear = np.abs(sides).min(axis=0) > 1e-3
    np.testing.assert_array_equal(inside(xy, corners)[clear], (sides > 0).all(axis=0)[clear])


def write(path, text):
    (path / "zones.yaml").write_text(text, encoding="utf-8")
    return path / "zones.yaml"


def test_zones_are_read_in_their_order(tmp_path):
    found = read_zones(
        write(tmp_path, "nest: [[20, 30], [200, 30.5], [200, 180]]\nfeeder:\n- [1, 2]\n- [3, 4]\n- [5, 7]\n")
    )
    assert list(found) == ["nest", "feeder"]
    np.testing.assert_array_equal(found["nest"], [[20, 30], [200, 30.5], [200, 180]])
    assert found["feeder"].dtype == np.float64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no zones; give lines such as `nest: "),
        ("[[1, 2], [3, 4], [5, 6]]", "holds no zones"),
        ("{}", "holds no zones"),
        ("nest: [[1, 2], [3, 4]]", "nest: 2 corners are no area; give three or more"),
        ("nest: []", "nest: 0 corners"),
        ("nest: [[1, 2], [3, 4], [.nan, 6]]", "nest: a corner is not finite"),
        ("nest: [[1, 2], [3, 4], [5]]", "nest: [2]: "),
        ("nest: [[1, 2], [3, 4], [5, six]]", "nest: [2][1]: expected a number"),
        ("nest: 5", "nest: expected a list"),
        ("nest: [[1, 2], [3, 4], [5, 6]]\nnest: [[1, 2], [3, 4], [5, 6]]", "the key 'nest' occurs twice"),
        ("nest: [[1, 2], [3, 4]", "line 1: cannot read as YAML"),
    ],
)
def test_mistakes_are_reported_in_one_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as error:
        read_zones(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value).splitlines()) == 1


def test_files_that_are_none(tmp_path):
    with pytest.raises(UsageError, match="cannot read \\(No such file or directory\\)"):
        read_zones(tmp_path / "zones.yaml")
    (tmp_path / "zones.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8 text"):
        read_zones(tmp_path / "zones.yaml")
