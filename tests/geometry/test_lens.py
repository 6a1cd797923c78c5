"""Distortion and its inverse, and calibration files of edgepose, OpenCV and ROS, and broken ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from board_pictures import LENS
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.config.geometry_files import read_lens, write_lens
from edgepose.errors import ConfigError
from edgepose.geometry.lens import Lens, distorted, scaled, undistorted
from edgepose.geometry.letterbox import FrameMap

LENSES = {
    "barrel": LENS,
    "pincushion": Lens(LENS.matrix, np.array([0.3, 0.1, 0.001, 0.002]), (640, 480)),
    "wide": Lens(
        np.array([[330.0, 0, 319], [0, 331, 241], [0, 0, 1]]), np.array([-0.25, 0.06, 0, 0, -0.004]), (640, 480)
    ),
    "rational": Lens(LENS.matrix, np.array([0.8, 0.3, 0.001, 0, 0.02, 1.1, 0.5, 0.05]), (640, 480)),
    "none": Lens(LENS.matrix, np.zeros(5), (640, 480)),
}


@settings(deadline=None)
@given(st.sampled_from(list(LENSES)), st.floats(-0.5, 639.5), st.floats(-0.5, 479.5))
def test_undistorted_undoes_distorted(name, x, y):
    straight = undistorted(LENSES[name], [[x, y]])
    np.testing.assert_allclose(distorted(LENSES[name], straight), [[x, y]], atol=0.01)
    np.testing.assert_allclose(undistorted(LENSES[name], distorted(LENSES[name], straight)), straight, atol=0.01)


@pytest.mark.parametrize("name", LENSES)
def test_undistorted_agrees_with_opencv(name):
    lens = LENSES[name]
    xy = np.stack(np.meshgrid(np.linspace(150, 490, 9), np.linspace(120, 360, 7)), axis=-1)
    theirs = cv2.undistortPoints(xy.reshape(-1, 1, 2), lens.matrix, lens.distortion, P=lens.matrix)
    np.testing.assert_allclose(undistorted(lens, xy), theirs.reshape(xy.shape), atol=0.05)  # five iterations


def test_where_the_polynomial_has_no_inverse_there_is_no_answer():
    """r (1 - 0.6 r²) never gets larger than 0.497: no pixel farther than 258 px from the middle has an inverse."""
    lens = Lens(LENS.matrix, np.array([-0.6, 0, 0, 0]), (640, 480))
    xy = [[LENS.matrix[0, 2] + r, LENS.matrix[1, 2]] for r in (0, 100, 250, 262, 300, 1000)]
    found = undistorted(lens, xy)
    assert np.isnan(found).all(axis=1).tolist() == [False] * 3 + [True] * 3
    np.testing.assert_allclose(distorted(lens, found[:3]), xy[:3], atol=0.01)


def test_shapes_and_what_is_not_known_are_kept():
    xy = np.full((3, 4, 2), np.nan)
    xy[1, 2] = 100, 200
    found = undistorted(LENS, xy)
    assert found.shape == xy.shape
    assert np.isfinite(found).sum() == 2
    assert undistorted(LENS, np.empty((0, 4, 2))).shape == (0, 4, 2)


def test_a_video_of_points_is_as_one_by_one():
    xy = np.random.default_rng(0).uniform(0, 480, (25_000, 2))
    found = undistorted(LENS, xy)
    np.testing.assert_allclose(found[[0, 9_999, 10_000, 24_999]], undistorted(LENS, xy[[0, 9_999, 10_000, 24_999]]))


@pytest.mark.parametrize("size_wh", [(640, 480), (320, 240), (1296, 972), (1280, 960)])
def test_a_lens_is_the_same_at_every_size_of_the_picture(size_wh):
    """A point of one picture and the same point of the resized one lie at the same place."""
    resize = FrameMap.fit((640, 480), size_wh, "stretch")
    xy = np.array([[10.0, 20], [320, 240], [630, 100]])
    found = undistorted(scaled(LENS, size_wh), resize.to_model(xy))
    np.testing.assert_allclose(found, resize.to_model(undistorted(LENS, xy)), atol=1e-4)


def test_a_lens_of_another_shape_is_refused():
    with pytest.raises(ConfigError, match="with pictures of 640x480, but the frames are 1280x720, another shape"):
        scaled(LENS, (1280, 720))


# --- files -------------------------------------------------------------------------------------------------


def assert_same(one: Lens, other: Lens) -> None:
    np.testing.assert_array_equal(one.matrix, other.matrix)
    np.testing.assert_array_equal(one.distortion, other.distortion)
    assert one.size_wh == other.size_wh


def test_what_is_written_is_read_again_by_us_and_by_opencv(tmp_path):
    path = tmp_path / "camera.yaml"
    lens = Lens(LENS.matrix, np.array([-0.28123456789012345, 1e-5, 0, -3e-17, 0]), LENS.size_wh)
    write_lens(path, lens, 0.123)
    assert_same(read_lens(path), lens)
    theirs = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    np.testing.assert_array_equal(theirs.getNode("camera_matrix").mat(), lens.matrix)
    np.testing.assert_array_equal(theirs.getNode("distortion_coefficients").mat(), lens.distortion[None])
    assert (theirs.getNode("image_width").real(), theirs.getNode("image_height").real()) == lens.size_wh
    assert theirs.getNode("avg_reprojection_error").real() == 0.123


def test_opencvs_own_file(tmp_path):
    """OpenCV's calibration program writes more than is needed."""
    path = tmp_path / "camera.yaml"
    file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    file.write("calibration_time", "Wed Nov 25 10:00:00 2026")
    file.write("nr_of_frames", 20)
    file.write("image_width", 640)
    file.write("image_height", 480)
    file.write("fisheye_model", 0)
    file.write("camera_matrix", LENS.matrix)
    file.write("distortion_coefficients", LENS.distortion[:, None])
    file.write("per_view_reprojection_errors", np.ones((20, 1), np.float32))
    file.release()
    assert_same(read_lens(path), LENS)


ROS = """\
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [520., 0., 322.5, 0., 518., 236., 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.28, 0.09, 0.0008, -0.0005, 0.]
"""


def test_a_file_of_ros(tmp_path):
    (tmp_path / "camera.yaml").write_text(ROS)
    assert_same(read_lens(tmp_path / "camera.yaml"), LENS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no calibration; give the YAML file that"),
        ("- 1", "no calibration; give the YAML file that"),
        ("a: [", r"line 1: cannot read as YAML"),
        ("a: !!opencv-matrix 5", "cannot read as YAML"),
        ("image_width: 640", "lacks image_height, camera_matrix, distortion_coefficients; give"),
        (ROS.replace("plumb_bob", "equidistant"), "describes a fisheye lens"),
        (ROS + "fisheye_model: 1\n", "describes a fisheye lens"),
        (ROS.replace("rows: 3", "rows: 2"), r"camera_matrix: not a matrix with rows, cols and rows \* cols numbers"),
        (ROS.replace("data: [520., 0.,", "data: [520., x,"), "camera_matrix: not a matrix with rows, cols"),
        (ROS.replace("520.", "-520."), r"camera_matrix is not \[\[fx, 0, cx\]"),
        (ROS.replace("0., 0., 1.]", "0., 0., 2.]"), r"camera_matrix is not \[\[fx, 0, cx\]"),
        (ROS.replace("520.", ".nan"), "camera_matrix: holds a number that is not finite"),
        (ROS.replace("cols: 5", "cols: 6").replace("-0.28,", "-0.28, 1,"), "6 distortion_coefficients; OpenCV's model"),
        (ROS.replace("640", "640.5"), "image_width and image_height are not a size"),
        (ROS.replace("480", "0"), "image_width and image_height are not a size"),
    ],
)
def test_a_broken_file_is_reported_in_one_line(tmp_path, text, message):
    path = tmp_path / "camera.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_lens(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read \(No .*; give a file that `edgepose calibrate` wrote"):
        read_lens(tmp_path / "none.yaml")
    (tmp_path / "camera.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        read_lens(tmp_path / "camera.yaml")
