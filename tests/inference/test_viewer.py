"""Which part of the frame the model gets: poses are in the frame's pixels, and a window does not lose the animal."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from fakes import card

from edgepose.config.schema import ViewConfig
from edgepose.errors import ConfigError
from edgepose.inference.viewer import Viewer, estimate_in, field_of, zoom_of
from edgepose.types import Frame, Pose, image_size_wh

FRAME_WH = (320, 240)
BODY = np.array([[0, 0], [14, 2], [30, -4]])  # keypoints of the painted animal
CARD = msgspec.structs.replace(card(), input=msgspec.structs.replace(card().input, size_wh=(96, 80), zoom=2.0))


class Finder:
    """An estimator that finds the painted keypoints in the frames it gets, and notes their sizes in `shown`."""

    def __init__(self) -> None:
        self.card, self.model = CARD, SimpleNamespace(id="fake@000000")
        self.shown: list[tuple[int, int]] = []

    def estimate(self, frame: Frame) -> Pose:
        self.shown.append(frame.size_wh)
        h = image_size_wh(frame.image, frame.order)[1]
        grey = frame.image[:h] if frame.image.ndim == 2 else frame.image[..., 0]
        scale = np.array(frame.size_wh) / grey.shape[::-1]
        xy, score = np.zeros((len(BODY), 2)), np.full(len(BODY), 0.05)
        for k in range(len(BODY)):
            there = np.argwhere(grey == value(k))
            if len(there):
                xy[k], score[k] = (there.mean(axis=0)[::-1] + 0.5) * scale - 0.5, 0.9
        return Pose(xy.astype(np.float32), score.astype(np.float32))


def value(keypoint: int) -> int:
    return 100 + 50 * keypoint


def painted(at, size_wh=FRAME_WH, index=0) -> Frame:
    """A frame with an animal whose first keypoint is at `at`, 3x3 pixels a keypoint; with None there is no animal."""
    grey = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    for k, (x, y) in enumerate(np.rint(BODY + at).astype(int) if at is not None else []):
        if 1 <= x < size_wh[0] - 1 and 1 <= y < size_wh[1] - 1:
            grey[y - 1 : y + 2, x - 1 : x + 2] = value(k)
    return Frame(np.repeat(grey[..., None], 3, axis=2), "bgr", index, 0, 0)


# --- parts of frames ---------------------------------------------------------------------------------------


def asked(image, order, **more) -> Frame:
    return Frame(np.ascontiguousarray(image), order, 7, 1, 2, **more)


@pytest.mark.parametrize("kind", ["bgr", "gray", "i420", "small bgr", "small i420", "full beside small"])
@pytest.mark.parametrize("region", [(0, 0, 320, 240), (40, 30, 120, 100), (41, 33, 119, 101), (200, 140, 120, 100)])
def test_what_is_seen_in_a_part_is_where_it_is_in_the_frame(kind, region):
    at = np.array([region[0] + 40.0, region[1] + 50.0])
    image = painted(at).image
    planes = np.concatenate([image[..., 0], np.full((120, 320), 128, np.uint8)])
    frame = {
        "bgr": asked(image, "bgr"),
        "gray": asked(image[..., 0], "gray"),
        "i420": asked(planes, "i420"),
        "small bgr": asked(image.repeat(2, axis=0).repeat(2, axis=1)[::2, ::2], "bgr", field_wh=(640, 480)),
        "small i420": asked(planes, "i420", field_wh=(640, 480)),
        "full beside small": asked(planes[:180, :160].copy(), "i420", field_wh=FRAME_WH, full=image),
    }[kind]
    large = 2 if kind.startswith("small") else 1
    finder = Finder()
    pose = estimate_in(finder, frame, tuple(side * large for side in region))
    if kind == "full beside small" and region == (0, 0, *FRAME_WH):
        return  # for the whole frame the small image is used
    assert pose.score.min() > 0.5
    np.testing.assert_allclose(pose.xy_px, (at + BODY + 0.5) * large - 0.5, atol=0.01)


# --- windows -----------------------------------------------------------------------------------------------


def follow_path(path, indices=None, view=None) -> tuple[Viewer, Finder, list[Pose]]:
    finder = Finder()
    viewer = Viewer(finder, view or ViewConfig(follow=True))
    indices = indices or range(len(path))
    poses = [viewer.estimate(painted(at, index=index)) for at, index in zip(path, indices, strict=True)]
    return viewer, finder, poses


WINDOW_WH = (160, 133)  # half of the frame, in the input's shape


def test_the_animal_is_followed_through_a_window_of_one_size():
    turn = np.linspace(0, 4 * np.pi, 150)[:, None]
    path = np.array([150.0, 120]) + np.hstack([np.cos(turn) * 110, np.sin(turn) * 80])
    viewer, finder, poses = follow_path(path)
    assert finder.shown == [FRAME_WH] + [WINDOW_WH] * 149
    assert viewer.lost == 0
    for at, pose in zip(path, poses, strict=True):
        np.testing.assert_allclose(pose.xy_px, np.rint(BODY + at), atol=0.01)


def test_a_fast_animal_is_searched_where_it_will_be():
    """It accelerates to three quarters of a window between two frames that are used, which are every second one."""
    there = np.cumsum([30, 0, 30, 60, 90, 120, 120, 120])
    finder = Finder()
    viewer = Viewer(finder, ViewConfig(follow=True, zoom=4.0))
    for number, x in enumerate(there):
        pose = viewer.estimate(painted((x, 240.0), (640, 480), index=2 * number))
        np.testing.assert_allclose(pose.xy_px, BODY + np.array([x, 240]), atol=0.01)
    assert finder.shown == [(640, 480)] + [WINDOW_WH] * 7
    assert viewer.lost == 0


def test_a_lost_animal_is_searched_everywhere_and_then_followed_again():
    path = [np.array([60.0, 60.0])] * 3 + [np.array([240.0, 180.0])] * 3 + [None] * 3 + [np.array([60.0, 200.0])] * 2
    viewer, finder, poses = follow_path(path)
    whole = [shown == FRAME_WH for shown in finder.shown]
    #       followed              jumped              absent            back
    assert whole == [True, False, False, False, True, False, False, True, True, True, False]
    assert viewer.lost == 2
    assert [bool(pose.score.max() > 0.5) for pose in poses] == [True] * 3 + [False, True, True] + [False] * 3 + [
        True
    ] * 2


def test_a_keypoint_that_is_not_sure_does_not_move_the_window():
    finder = Finder()
    viewer = Viewer(finder, ViewConfig(follow=True))
    viewer.estimate(painted((150.0, 100.0)))
    window = viewer.window
    seen = finder.estimate

    def with_a_ghost(frame: Frame) -> Pose:
        pose = seen(frame)
        pose.xy_px[1], pose.score[1] = (0, 0), 0.4
        return pose

    finder.estimate = with_a_ghost
    viewer.estimate(painted((150.0, 100.0), index=1))
    assert viewer.window == window


def test_frames_of_another_size_begin_anew():
    finder = Finder()
    viewer = Viewer(finder, ViewConfig(follow=True))
    for index, size_wh in enumerate([FRAME_WH, FRAME_WH, (640, 480), (640, 480)]):
        viewer.estimate(painted((150.0, 100.0), size_wh, index))
    assert finder.shown == [FRAME_WH, WINDOW_WH, (640, 480), (320, 267)]


# --- regions -----------------------------------------------------------------------------------------------


def test_only_the_region_is_searched():
    view = ViewConfig(region=(100, 50, 180, 150))
    _, finder, poses = follow_path([np.array([150.0, 100.0]), np.array([20.0, 20.0])], view=view)
    assert finder.shown == [(180, 150)] * 2
    np.testing.assert_allclose(poses[0].xy_px, BODY + np.array([150, 100]), atol=0.01)
    assert poses[1].score.max() < 0.5


def test_the_window_stays_in_the_region():
    view = ViewConfig(region=(100, 50, 180, 150), follow=True)
    viewer, finder, poses = follow_path([np.array([230.0, 180.0])] * 3, view=view)
    assert finder.shown == [(180, 150), WINDOW_WH, WINDOW_WH]
    assert viewer.window == (120, 67, *WINDOW_WH)
    np.testing.assert_allclose(poses[2].xy_px, BODY + np.array([230, 180]), atol=0.01)


def test_a_command_sets_another_region():
    finder = Finder()
    viewer = Viewer(finder, ViewConfig(region=(0, 0, 50, 50)))
    pose = viewer.estimate(painted((250.0, 200.0)), (200, 150, 120, 90))
    assert finder.shown == [(120, 90)]
    np.testing.assert_allclose(pose.xy_px, BODY + np.array([250, 200]), atol=0.01)


def test_a_region_outside_the_frame_is_refused():
    with pytest.raises(ConfigError, match=r"^view\.region \[300, 0, 50, 50\] .* frame, which is 320x240$"):
        Viewer(Finder(), ViewConfig(region=(300, 0, 50, 50))).estimate(painted((9.0, 9.0)))
    assert field_of(ViewConfig(region=(270, 190, 50, 50)), FRAME_WH) == (270, 190, 50, 50)
    assert field_of(ViewConfig(), FRAME_WH) == (0, 0, *FRAME_WH)


def test_a_model_that_was_not_trained_for_it_does_not_follow():
    with pytest.raises(ConfigError, match=r"fake was trained on whole frames alone; train it with `edgepose-train"):
        zoom_of(ViewConfig(follow=True), card())
    assert zoom_of(ViewConfig(follow=True, zoom=1.5), card()) == 1.5
    assert zoom_of(ViewConfig(follow=True), CARD) == 2.0
    assert zoom_of(ViewConfig(), card()) == 1.0


def test_a_frame_is_left_alone():
    frame = painted((100.0, 100.0))
    before = frame.image.copy()
    follow_path([np.array([100.0, 100.0])] * 3)
    estimate_in(Finder(), replace(frame, full=None), (3, 5, 50, 60))
    np.testing.assert_array_equal(frame.image, before)
