"""Pixels to millimetres: a known length, four points and more, with and without a lens."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from board_pictures import FLOOR, LENS, corners_mm, corners_px
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.config.geometry_files import read_ground, write_lens
from edgepose.config.schema import GeometryConfig, LengthConfig, PlaceConfig
from edgepose.errors import ConfigError
from edgepose.geometry.lens import Lens, distorted

SIZE_WH = (640, 480)
OUTER = [0, 8, 53, 45]


def points(px, mm, calibration=None) -> GeometryConfig:
    places = tuple(
        PlaceConfig(px=tuple(p), mm=tuple(m))
        for p, m in zip(np.asarray(px).tolist(), np.asarray(mm).tolist(), strict=True)
    )
    return GeometryConfig(calibration=calibration, points=places)


@pytest.fixture
def camera(tmp_path) -> str:
    write_lens(tmp_path / "camera.yaml", LENS, 0.1)
    return str(tmp_path / "camera.yaml")


def test_a_known_length():
    ground = read_ground(GeometryConfig(length=LengthConfig(between=((100, 50), (400, 450)), mm=250)), SIZE_WH)
    np.testing.assert_allclose(ground.to_mm([[0, 0], [200, 0], [0, 100]]), [[0, 0], [100, 0], [0, 50]], atol=1e-9)
    assert ground.to_mm(np.zeros((5, 4, 2))).shape == (5, 4, 2)


def test_a_known_length_through_a_lens(camera):
    """A ruler of 200 mm has the same length in the corner and in the middle of the picture."""
    ruler = np.array([[120.0, 55], [320, 55]])

    def measured(calibration, down) -> float:
        length = LengthConfig(between=tuple(map(tuple, distorted(LENS, ruler))), mm=200)
        there = distorted(LENS, ruler + np.array([230, down]))
        found = read_ground(GeometryConfig(calibration=calibration, length=length), SIZE_WH).to_mm(there)
        return float(np.linalg.norm(found[1] - found[0]))

    assert measured(camera, 330) == pytest.approx(200, rel=1e-4)
    assert abs(measured(None, 170) - 200) > 2  # without the lens it is wrong


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-40, 40), st.floats(-40, 40)), min_size=4, max_size=4))
def test_four_points_lie_exactly_where_they_were_said_to(moved):
    px = np.array([[100.0, 100], [500, 110], [520, 400], [90, 380]]) + moved
    mm = np.array([[0.0, 0], [400, 0], [400, 300], [0, 300]])
    ground = read_ground(points(px, mm), SIZE_WH)
    np.testing.assert_allclose(ground.to_mm(px), mm, atol=1e-4)
    assert ground.worst_mm < 1e-4


def test_a_board_on_the_floor_is_right_to_a_thousandth(camera):
    px, mm = corners_px(FLOOR), corners_mm()
    ground = read_ground(points(px[OUTER], mm[OUTER], camera), SIZE_WH)
    np.testing.assert_allclose(ground.to_mm(px), mm, atol=160 / 1000)
    without = read_ground(points(px[OUTER], mm[OUTER]), SIZE_WH)
    assert np.abs(without.to_mm(px) - mm).max() > 0.5


def test_many_points_are_fitted_and_the_worst_is_reported(camera):
    px, mm = corners_px(FLOOR), corners_mm()
    noisy = px + np.random.default_rng(0).normal(0, 0.3, px.shape)
    ground = read_ground(points(noisy, mm, camera), SIZE_WH)
    np.testing.assert_allclose(ground.to_mm(px), mm, atol=0.3)
    assert 0.1 < ground.worst_mm < 1.5
    assert np.linalg.norm(ground.to_mm(noisy) - mm, axis=1).max() == pytest.approx(ground.worst_mm)


def test_beyond_the_horizon_there_are_no_millimetres():
    px = np.array([[200.0, 300], [440, 300], [600, 460], [40, 460]])
    ground = read_ground(points(px, [[0, 1000], [300, 1000], [300, 0], [0, 0]]), SIZE_WH)
    found = ground.to_mm([[320, 400], [320, 20]])
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def refused(geometry: GeometryConfig, message: str, size_wh=SIZE_WH) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_ground(geometry, size_wh)
    assert len(str(caught.value).splitlines()) == 1


def test_a_wrong_geometry_is_reported(camera, tmp_path):
    square = np.array([[100.0, 100], [500, 100], [500, 400], [100, 400]])
    refused(
        points(square + np.array([200, 0]), square),
        r"^geometry\.points: a point lies outside the frame, which is 640x480",
    )
    refused(points([*square[:3], [np.nan, 0]], square), "a point lies outside the frame")
    refused(points(square, [*square[:3], [np.nan, 0]]), "a value in mm is not finite")
    refused(points([[0, 0], [100, 0], [200, 0], [300, 0]], square), "lie on a line")
    refused(points([[0, 0], [100, 0], [200, 0], [0, 100]], square), "three of only four, lie on a line")
    refused(points(square, [[0, 0], [100, 0], [200, 0], [300, 0]]), "lie on a line")
    refused(
        points([*square, [300, 250], [200, 200]], [*square, [300, 250], [250, 200]]), r"no\. 6 lies .* mm from where"
    )
    refused(points(square[[0, 1, 3, 2]], square), "no plane fits|beyond the horizon")
    refused(
        GeometryConfig(length=LengthConfig(between=((9, 9), (9, 9)), mm=5)),
        r"^geometry\.length\.between: both points are the same",
    )
    refused(
        GeometryConfig(calibration=camera, length=LengthConfig(between=((1, 1), (9, 9)), mm=5)),
        "another shape",
        (640, 360),
    )
    none = str(tmp_path / "none.yaml")
    refused(
        GeometryConfig(calibration=none, length=LengthConfig(between=((1, 1), (9, 9)), mm=5)),
        r"^geometry\.calibration: .*none\.yaml",
    )


def test_points_that_the_calibration_does_not_reach(tmp_path):
    lens = Lens(LENS.matrix, np.array([-0.6, 0, 0, 0]), SIZE_WH)
    write_lens(tmp_path / "narrow.yaml", lens, 0.1)
    length = LengthConfig(between=((2, 2), (300, 200)), mm=5)
    refused(
        GeometryConfig(calibration=str(tmp_path / "narrow.yaml"), length=length),
        "a point lies where the calibration is not known",
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "give either a length or points"),
        ({"calibration": "camera.yaml"}, "give either a length or points"),
        (
            {"length": {"between": [[0, 0], [1, 1]], "mm": 1}, "points": [{"px": [0, 0], "mm": [0, 0]}] * 4},
            "give either",
        ),
        ({"points": [{"px": [0, 0], "mm": [0, 0]}] * 3}, "3 points; give four or more"),
        ({"length": {"between": [[0, 0], [1, 1]], "mm": 0}}, "> 0.0"),
    ],
)
def test_a_section_that_says_too_little_or_too_much(data, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(data, GeometryConfig)
