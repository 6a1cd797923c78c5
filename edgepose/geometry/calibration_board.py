"""Finds checkerboards in pictures, and by them the lens with which the pictures were taken.

The method is Zhang's (IEEE TPAMI 22(11), 2000), as OpenCV implements it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edgepose.errors import EdgeposeError
from edgepose.geometry.lens import Lens, undistorted
from edgepose.types import F32, F64, U8

LEAST_BOARDS, MOST_BOARDS = 8, 40
LEAST_TILT_DEG = 10.0  # between two boards; the focal length cannot be found by boards that all face the same way
_BLURRED = 1.5  # a board with edges wider than the median by this factor moved
_MISFIT = 3.0  # a board with an error larger than the median by this factor has wrong corners
_WORST_PX = 2.0  # largest error of a usable calibration, for pictures 1000 pixels wide
_K3_GAIN = 0.9  # a third radial coefficient is used where it reduces the error to less than this share
_SUBPIXEL = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 1e-3)
_CELLS = 4  # of the frame, across and down; a cell with a corner in it is covered


@dataclass(frozen=True, slots=True)
class CalibrationBoard:
    """A board in a picture.

    Attributes:
        corners: (rows * columns, 2) pixels where four squares meet, row by row.
        edge_px: width of the edges between squares, a measure of blur.
    """

    corners: F32
    edge_px: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A lens, and how well it is known.

    Attributes:
        lens: the lens.
        rms_px: distance of the corners from where the lens puts them (RMS).
        used: indices of the boards that were used.
        uncovered: share of the frame in which there was no board.
        unknown: share of the frame for which the lens has no inverse.
        tilt_deg: largest angle between two boards.
    """

    lens: Lens
    rms_px: float
    used: list[int]
    uncovered: float
    unknown: float
    tilt_deg: float


def find_board(grey: U8, board_wh: tuple[int, int]) -> CalibrationBoard | None:
    """Returns the board in a grey picture, or None where the whole board is not visible.

    board_wh: its inner corners, where four squares meet, across and down.
    """
    flags = cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
    found, corners = cv2.findChessboardCornersSB(grey, board_wh, flags=flags)
    if not found:
        return None
    sharpness, _ = cv2.estimateChessboardSharpness(grey, board_wh, corners)
    # These corners are off by up to 0.1 px, all in one direction. cornerSubPix starts from them and has no such error.
    steps = np.linalg.norm(np.diff(corners.reshape(board_wh[1], board_wh[0], 2), axis=1), axis=2)
    reach = int(np.clip(steps.min() / 4, 2, 11))
    cv2.cornerSubPix(grey, corners, (reach, reach), (-1, -1), _SUBPIXEL)
    return CalibrationBoard(np.asarray(corners, np.float32).reshape(-1, 2), float(sharpness[0]))  # type: ignore[index]


def calibrate(boards: Sequence[CalibrationBoard], board_wh: tuple[int, int], size_wh: tuple[int, int]) -> Calibration:
    """Finds the lens.

    Args:
        boards: the boards that were found in the pictures.
        board_wh: inner corners of the board, across and down.
        size_wh: size of the pictures.

    Raises:
        EdgeposeError: the boards do not determine the lens.
    """
    used = select_boards(boards, board_wh, size_wh)
    check_count(len(used), "sharp boards")
    rms, matrix, distortion, turns, errors = _solve([boards[i] for i in used], board_wh, size_wh)
    fits = errors <= _MISFIT * np.median(errors)
    if not fits.all():
        used = [i for i, good in zip(used, fits, strict=True) if good]
        check_count(len(used), "boards that fit together")
        rms, matrix, distortion, turns, errors = _solve([boards[i] for i in used], board_wh, size_wh)
    tilt = _widest_deg(turns)
    if tilt < LEAST_TILT_DEG:
        raise EdgeposeError(
            f"all boards are seen from one angle, within {tilt:.0f} degrees, so that the focal length is not known; "
            "take some pictures with the board tilted by 20 to 40 degrees, to each side and up and down"
        )
    if rms > _WORST_PX * max(1.0, size_wh[0] / 1000):
        raise EdgeposeError(
            f"the corners lie {rms:.1f} px from where any lens could put them; is the board flat, are the pictures "
            "sharp, and all from the same camera at the same zoom and focus?"
        )
    lens = Lens(matrix, distortion, size_wh)
    corners = np.concatenate([boards[i].corners for i in used])
    return Calibration(lens, rms, used, _uncovered(corners, size_wh), _unknown(lens), tilt)


def check_count(count: int, what: str) -> None:
    """Raises EdgeposeError where `count` boards are too few. what: names them, for the message."""
    if count < LEAST_BOARDS:
        raise EdgeposeError(
            f"{count} {what} are too few; {LEAST_BOARDS} or more are needed, better 20, in all parts of the picture, "
            "near and far, and tilted to all sides"
        )


def select_boards(boards: Sequence[CalibrationBoard], board_wh: tuple[int, int], size_wh: tuple[int, int]) -> list[int]:
    """Returns the indices of at most MOST_BOARDS sharp boards; each one differs as much as possible from the others."""
    edges = np.array([board.edge_px for board in boards])
    sharp = np.flatnonzero(edges <= _BLURRED * np.median(edges)).tolist() if len(boards) else []
    features = {i: _features(boards[i], board_wh, size_wh) for i in sharp}
    selected = sharp[:1]
    while len(selected) < min(MOST_BOARDS, len(sharp)):
        rest = [i for i in sharp if i not in selected]
        distances = [min(float(np.linalg.norm(features[i] - features[j])) for j in selected) for i in rest]
        selected.append(rest[int(np.argmax(distances))])
    return sorted(selected)


def _features(board: CalibrationBoard, board_wh: tuple[int, int], size_wh: tuple[int, int]) -> F64:
    """Returns (6,): where a board is, how large it is and how it is tilted, as numbers of similar weight."""
    grid = board.corners.reshape(board_wh[1], board_wh[0], 2).astype(np.float64)
    top, bottom, left, right = (
        float(np.linalg.norm(a - b))
        for a, b in (
            (grid[0, 0], grid[0, -1]),
            (grid[-1, 0], grid[-1, -1]),
            (grid[0, 0], grid[-1, 0]),
            (grid[0, -1], grid[-1, -1]),
        )
    )
    middle = board.corners.mean(axis=0) / size_wh
    size = np.log(max(top + bottom + left + right, 1.0))
    return np.array(
        [*middle, size / 2, 2 * np.log(top / bottom), 2 * np.log(left / right), np.log((top + bottom) / (left + right))]
    )


def _solve(
    boards: Sequence[CalibrationBoard], board_wh: tuple[int, int], size_wh: tuple[int, int]
) -> tuple[float, F64, F64, list[F64], F64]:
    """Returns the RMS error, the camera matrix, the distortion, and each board's rotation vector and error."""
    flat = np.zeros((board_wh[0] * board_wh[1], 3), np.float32)
    flat[:, :2] = np.mgrid[: board_wh[0], : board_wh[1]].T.reshape(-1, 2)
    corners = [board.corners for board in boards]

    def solved(flags: int) -> tuple[float, F64, F64, list[F64], F64]:
        rms, matrix, distortion, turns, _, _, _, errors = cv2.calibrateCameraExtended(
            [flat] * len(boards), corners, size_wh, np.eye(3), np.zeros(5), flags=flags
        )
        rest = [np.asarray(turn, np.float64) for turn in turns], np.asarray(errors, np.float64).ravel()
        return float(rms), np.asarray(matrix, np.float64), np.asarray(distortion, np.float64).ravel(), *rest

    try:
        few, more = solved(cv2.CALIB_FIX_K3), solved(0)
    except cv2.error:
        raise EdgeposeError("no lens fits these boards; take pictures from more sides") from None
    # One coefficient more always fits better, but may bend the picture outside the boards.
    return more if more[0] < _K3_GAIN * few[0] else few


def _widest_deg(turns: Sequence[F64]) -> float:
    """Returns the largest angle between the normals of two boards, by their rotation vectors (3,)."""
    normals = np.stack([cv2.Rodrigues(turn)[0][:, 2] for turn in turns])
    return float(np.degrees(np.arccos(np.clip(np.abs(normals @ normals.T).min(), -1, 1))))


def _uncovered(corners: F32, size_wh: tuple[int, int]) -> float:
    cells = np.clip(corners / size_wh * _CELLS, 0, _CELLS - 1).astype(int)
    return 1 - len(np.unique(cells, axis=0)) / _CELLS**2


def _unknown(lens: Lens) -> float:
    w, h = lens.size_wh
    grid = np.stack(np.meshgrid(np.linspace(0, w - 1, 40), np.linspace(0, h - 1, 40)), axis=-1)
    return float(np.isnan(undistorted(lens, grid)[..., 0]).mean())
