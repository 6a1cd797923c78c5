"""Rendered pictures of a checkerboard, seen through a known lens."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from edgepose.geometry.lens import Lens, undistorted

BOARD_WH = (9, 6)  # inner corners
SQUARE_MM = 20.0
LENS = Lens(
    np.array([[520.0, 0, 322.5], [0, 518.0, 236.0], [0, 0, 1]]),
    np.array([-0.28, 0.09, 0.0008, -0.0005, 0.0]),
    (640, 480),
)
FLOOR = np.radians([25.0, -15, 20]), np.array([-60.0, -40, 330])  # rotation vector and position of a board on the floor
_FINE = 3  # samples across and down each pixel


def corners_mm() -> np.ndarray:
    """Returns the corners of the board in mm, (54, 2), row by row; the first one is (0, 0)."""
    return np.mgrid[: BOARD_WH[0], : BOARD_WH[1]].T.reshape(-1, 2) * SQUARE_MM


def corners_px(pose: tuple[np.ndarray, np.ndarray], lens: Lens = LENS) -> np.ndarray:
    """Returns the corners in the picture, (54, 2), of a board with that rotation vector and position in mm."""
    points = np.column_stack([corners_mm(), np.zeros(len(corners_mm()))])
    return cv2.projectPoints(points, *pose, lens.matrix, lens.distortion)[0].reshape(-1, 2)


def poses(count: int, seed: int = 0, most_tilt_deg: float = 40, lens: Lens = LENS) -> list:
    """Returns poses in which all of the board, with the white border round it, is in the picture."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        turn = np.radians([*rng.uniform(-most_tilt_deg, most_tilt_deg, 2), rng.uniform(-25, 25)])
        place = np.array([rng.uniform(-250, 120), rng.uniform(-180, 90), rng.uniform(220, 480)])
        pose = turn, place
        outer = np.array([[-30, -30, 0], [190, -30, 0], [190, 130, 0], [-30, 130, 0]], float)
        px = cv2.projectPoints(outer, *pose, lens.matrix, lens.distortion)[0].reshape(-1, 2)
        if (px > 2).all() and (px < np.array(lens.size_wh) - 2).all():
            found.append(pose)
    return found


@lru_cache(maxsize=1)
def rendered(count: int) -> tuple[np.ndarray, ...]:
    """Returns pictures of the first `count` poses, which must not be changed."""
    return tuple(render(pose) for pose in poses(count))


def floor_picture() -> np.ndarray:
    """Returns a picture of a board that lies on the floor, seen from one side."""
    return render(FLOOR)


def render(pose: tuple[np.ndarray, np.ndarray], lens: Lens = LENS) -> np.ndarray:
    """Renders a grey picture: the ray of each sample goes through the lens to the plane of the board."""
    w, h = lens.size_wh
    turn, place = cv2.Rodrigues(pose[0])[0], pose[1]
    to_board = np.linalg.inv(np.column_stack([turn[:, 0], turn[:, 1], place]))
    rays = _rays(w, h, *lens.matrix.ravel().tolist(), *lens.distortion.tolist()) @ to_board.T
    board = rays[..., :2] / rays[..., 2:] / SQUARE_MM + 1  # in squares from the outer corner
    last = np.array(BOARD_WH) + 1
    dark = ((board >= 0) & (board < last)).all(axis=-1) & (np.floor(board).sum(axis=-1) % 2 == 0)
    white = ((board > -1) & (board < last + 1)).all(axis=-1)
    grey = np.where(dark, 40.0, np.where(white, 215.0, 120.0)).reshape(h, _FINE, w, _FINE).mean(axis=(1, 3))
    noise = np.random.default_rng(0).normal(0, 2, grey.shape)
    return np.clip(cv2.GaussianBlur(grey, (0, 0), 0.7) + noise, 0, 255).astype(np.uint8)


@lru_cache(maxsize=2)
def _rays(w: int, h: int, *numbers: float) -> np.ndarray:
    """Returns the directions of all samples, (h * _FINE, w * _FINE, 3), interpolated over two pixels each."""
    lens = Lens(np.array(numbers[:9]).reshape(3, 3), np.array(numbers[9:]), (w, h))
    coarse = np.stack(np.meshgrid(np.arange(-2.5, w + 3, 2), np.arange(-2.5, h + 3, 2)), axis=-1)
    known = (undistorted(lens, coarse) - lens.matrix[:2, 2]) / lens.matrix[[0, 1], [0, 1]]
    found = cv2.resize(known, None, fx=2 * _FINE, fy=2 * _FINE, interpolation=cv2.INTER_LINEAR)
    first = 3 * _FINE  # index of the picture's first sample
    found = found[first : first + h * _FINE, first : first + w * _FINE]
    return np.concatenate([found, np.ones((*found.shape[:2], 1))], axis=-1)
