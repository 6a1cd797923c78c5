"""The lens is found by boards in rendered pictures, and what boards do not show is reported."""

from __future__ import annotations

import numpy as np
import pytest
from board_pictures import BOARD_WH, LENS, SQUARE_MM, corners_mm, corners_px, floor_picture, poses, rendered

from edgepose.config.geometry_files import read_ground, write_lens
from edgepose.config.schema import GeometryConfig, PlaceConfig
from edgepose.errors import EdgeposeError
from edgepose.geometry.calibration_board import (
    MOST_BOARDS,
    CalibrationBoard,
    calibrate,
    check_count,
    find_board,
    select_boards,
)
from edgepose.geometry.lens import Lens

SIZE_WH = LENS.size_wh
POSES = poses(12)


@pytest.fixture(scope="module")
def boards() -> list[CalibrationBoard]:
    found = [find_board(picture, BOARD_WH) for picture in rendered(12)]
    assert None not in found
    return found


def exact(pose, lens=LENS, noise=0.05, edge_px=2.5, seed=0) -> CalibrationBoard:
    """A board whose corners were found with a small error."""
    scatter = np.random.default_rng(seed).normal(0, noise, (len(corners_mm()), 2))
    return CalibrationBoard((corners_px(pose, lens) + scatter).astype(np.float32), edge_px)


@pytest.mark.slow
def test_corners_are_found_to_a_tenth_of_a_pixel(boards):
    for board, pose in zip(boards, POSES, strict=True):
        true = corners_px(pose)
        off = min((np.linalg.norm(board.corners - each, axis=1) for each in (true, true[::-1])), key=np.mean)
        assert off.mean() < 0.12
        assert 1 < board.edge_px < 4


@pytest.mark.slow
def test_no_board_and_half_a_board_are_none():
    assert find_board(np.full((480, 640), 120, np.uint8), BOARD_WH) is None
    half = rendered(12)[0].copy()
    middle = int(corners_px(POSES[0])[:, 0].mean())
    half[:, :middle] = 120
    assert find_board(half, BOARD_WH) is None
    assert find_board(rendered(12)[0], (7, 7)) is None


def test_a_rendered_board_is_measured_to_a_thousandth(boards, tmp_path):
    """From pictures to the lens and its file, and by four corners of a board on the floor to millimetres."""
    found = calibrate(boards, BOARD_WH, SIZE_WH)
    assert found.rms_px < 0.15
    np.testing.assert_allclose(found.lens.matrix, LENS.matrix, atol=3)
    write_lens(tmp_path / "camera.yaml", found.lens, found.rms_px)
    floor = find_board(floor_picture(), BOARD_WH)
    w, h = BOARD_WH
    mm, outer = corners_mm(), [0, w - 1, w * h - 1, w * (h - 1)]
    places = [PlaceConfig(px=tuple(floor.corners[i].tolist()), mm=tuple(mm[i].tolist())) for i in outer]
    ground = read_ground(GeometryConfig(calibration=str(tmp_path / "camera.yaml"), points=tuple(places)), SIZE_WH)
    grid = ground.to_mm(floor.corners).reshape(h, w, 2)
    rows, columns = np.linalg.norm(grid[:, 0] - grid[:, -1], axis=1), np.linalg.norm(grid[0] - grid[-1], axis=1)
    np.testing.assert_allclose(rows, SQUARE_MM * (w - 1), rtol=1e-3)
    np.testing.assert_allclose(columns, SQUARE_MM * (h - 1), rtol=1e-3)


def test_a_third_coefficient_is_used_where_the_lens_has_one():
    wide = Lens(np.array([[330.0, 0, 319], [0, 331, 241], [0, 0, 1]]), np.array([-0.25, 0.08, 0, 0, -0.02]), SIZE_WH)
    for lens, needed in ((wide, True), (LENS, False)):
        boards = [exact(pose, lens, seed=i) for i, pose in enumerate(poses(30, lens=lens))]
        assert (calibrate(boards, BOARD_WH, SIZE_WH).lens.distortion[4] != 0) == needed


def test_boards_that_all_look_one_way_are_refused():
    one_way = [exact(pose, seed=i) for i, pose in enumerate(poses(12, most_tilt_deg=3))]
    with pytest.raises(EdgeposeError, match=r"all boards are seen from one angle, within \d degrees"):
        calibrate(one_way, BOARD_WH, SIZE_WH)


def test_a_board_whose_corners_are_wrong_is_left_out():
    found = [exact(pose, seed=i) for i, pose in enumerate(poses(14))]
    found[5] = exact(POSES[5], noise=2.0, seed=5)
    calibrated = calibrate(found, BOARD_WH, SIZE_WH)
    assert calibrated.used == [i for i in range(14) if i != 5]
    assert calibrated.rms_px < 0.2


def test_corners_that_no_lens_explains_are_refused():
    bent = [exact(pose, noise=6.0, seed=i) for i, pose in enumerate(poses(12))]
    with pytest.raises(EdgeposeError, match=r"px from where any lens could put them; is the board flat"):
        calibrate(bent, BOARD_WH, SIZE_WH)


def test_too_few_are_refused():
    with pytest.raises(EdgeposeError, match=r"^7 boards in 30 pictures are too few; 8 or more are needed"):
        check_count(7, "boards in 30 pictures")
    with pytest.raises(EdgeposeError, match=r"^7 sharp boards are too few"):
        calibrate([exact(pose) for pose in POSES[:7]], BOARD_WH, SIZE_WH)


def test_blurred_boards_are_left_out_and_unlike_ones_chosen():
    alike = [exact(POSES[0], seed=i) for i in range(60)]
    unlike = [exact(pose) for pose in POSES[1:]]
    blurred = [exact(POSES[1], edge_px=9.0)]
    chosen = select_boards([*alike, *unlike, *blurred], BOARD_WH, SIZE_WH)
    assert len(chosen) == MOST_BOARDS
    assert set(range(60, 60 + len(unlike))) <= set(chosen)  # each of them
    assert 60 + len(unlike) not in chosen


def test_what_the_boards_do_not_cover_is_reported():
    narrow = [exact(pose, seed=i) for i, pose in enumerate(poses(12))]
    assert 0 <= calibrate(narrow, BOARD_WH, SIZE_WH).uncovered < 0.3
    left = [pose for pose in poses(200) if corners_px(pose)[:, 0].max() < 320][:12]
    found = calibrate([exact(pose, seed=i) for i, pose in enumerate(left)], BOARD_WH, SIZE_WH)
    assert found.uncovered >= 0.5
