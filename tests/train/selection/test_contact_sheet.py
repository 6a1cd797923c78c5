"""The sheet shows each frame where its pose is, with the keypoints where they were predicted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgepose.pose.drawing import bgr_colours
from edgepose.types import Pose, Skeleton
from edgepose_train.selection.contact_sheet import make_picture, write_sheet

SKELETON = Skeleton(("snout", "tail"))


def pose(*points) -> Pose:
    return Pose(np.array(points, np.float32), np.full(len(points), 0.9, np.float32))


def centre_of(image, colour) -> np.ndarray:
    ys, xs = np.nonzero((image == colour).all(axis=2))
    return np.array([xs.mean(), ys.mean()])


@pytest.mark.parametrize("size_wh", [(640, 480), (100, 80), (300, 900)])
@pytest.mark.parametrize("points", [((20.0, 30), (60.0, 50)), ((1.0, 1), (98.0, 78)), ((50.0, 40), (51.0, 40))])
def test_keypoints_lie_on_what_they_mark(size_wh, points):
    """A white disc is painted at the last keypoint. In the picture, it must surround the dot of the keypoint."""
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    cv2.circle(image, (int(points[1][0]), int(points[1][1])), 12, (255, 255, 255), cv2.FILLED)
    before = image.copy()
    picture = make_picture(image, pose(*points), SKELETON, "why").image
    np.testing.assert_array_equal(image, before)
    assert picture.shape[1] == 400
    x, y = centre_of(picture, bgr_colours(2)[1])
    ring = picture[max(0, int(y) - 8) : int(y) + 9, max(0, int(x) - 8) : int(x) + 9]
    assert (ring == 255).all(axis=2).any()


def test_every_frame_has_its_place(tmp_path):
    pictures = [
        make_picture(np.full((48, 64, 3), 10 * i, np.uint8), pose((5, 5), (40, 30)), SKELETON, f"cage1 frame {i}: " * 9)
        for i in range(7)
    ]
    write_sheet(tmp_path / "sheet.png", pictures, SKELETON)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] == 5 * 408 + 8
    assert sheet.shape[0] > 2 * pictures[0].image.shape[0]
    for i in range(7):
        assert (sheet == 10 * i).all(axis=2).sum() > 0.8 * pictures[0].image.shape[0] * 400
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_many_long_names_take_more_lines(tmp_path):
    names = tuple(f"a_rather_long_body_part_{i}" for i in range(20))
    picture = make_picture(np.zeros((48, 64, 3), np.uint8), pose(*[(i, i) for i in range(20)]), Skeleton(names), "")
    write_sheet(tmp_path / "sheet.png", [picture], Skeleton(names))
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    for colour in bgr_colours(20):
        legend = sheet[: sheet.shape[0] - picture.image.shape[0]]
        assert (legend == colour).all(axis=2).any()
