"""Calibrates a lens by pictures of a checkerboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edgepose.errors import EdgeposeError
from edgepose.geometry.lens import Lens, undistorted
from edgepose.types import F32, F64, U8

FEWEST, MOST = 8, 40  # boards that a calibration uses
LEAST_TILT_DEG = 10.0  # between two boards: if all have the same tilt, the focal length cannot be found
_BLURRED = 1.5  # a board has moved when its edges are so many times as wide as usual
_MISFIT = 3.0  # the corners of a board were found wrongly when its error is so many times the usual one
_WORST_PX = 2.0  # the error of a usable calibration, for pictures that are 1000 pixels wide
_WORTH_IT = 0.9  # a third radial coefficient is used when it reduces the error to this share
_SUBPIXEL = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 1e-3)
_CELLS = 4  # the frame is divided into so many cells across and down; a cell with a corner in it is covered


@dataclass(frozen=True, slots=True)
class CalibrationBoard:
    """A checkerboard in a picture.

    Attributes:
        corners: (rows * columns, 2) pixels, the points where four squares meet, row by row.
        edge_px: how wide the edges between squares are.
    """

    corners: F32
    edge_px: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A lens and how well it is known.

    Attributes:
        rms_px: how far the corners lie from where the lens puts them.
        used: the indices of the boards that were used.
        uncovered: the share of the frame that no board was in.
        unknown: the share of the frame that has no undistorted point.
        tilt_deg: the largest angle between two boards.
    """

    lens: Lens
    rms_px: float
    used: list[int]
    uncovered: float
    unknown: float
    tilt_deg: float


def find_board(grey: U8, board_wh: tuple[int, int]) -> CalibrationBoard | None:
    """Finds a board in a grey picture; None where not all of it is visible.

    board_wh: how many inner corners, where four squares meet, it has across and down.
    """
    flags = cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
    found, corners = cv2.findChessboardCornersSB(grey, board_wh, flags=flags)
    if not found:
        return None
    sharpness, _ = cv2.estimateChessboardSharpness(grey, board_wh, corners)
    # These corners are wrong by up to 0.1 px, all in one direction. cornerSubPix needs them and finds better ones.
    steps = np.linalg.norm(np.diff(corners.reshape(board_wh[1], board_wh[0], 2), axis=1), axis=2)
    reach = int(np.clip(steps.min() / 4, 2, 11))
    cv2.cornerSubPix(grey, corners, (reach, reach), (-1, -1), _SUBPIXEL)
    return CalibrationBoard(np.asarray(corners, np.float32).reshape(-1, 2), float(sharpness[0]))  # type: ignore[index]


def calibrate(boards: Sequence[CalibrationBoard], board_wh: tuple[int, int], size_wh: tuple[int, int]) -> Calibration:
    """Finds the lens by boards in pictures of `size_wh`. Raises EdgeposeError where they do not determine it."""
    used = choose(boards, board_wh, size_wh)
    enough(len(used), "sharp boards")
    rms, matrix, distortion, turns, errors = _solve([boards[i] for i in used], board_wh, size_wh)
    fits = errors <= _MISFIT * np.median(errors)
    if not fits.all():
        used = [i for i, good in zip(used, fits, strict=True) if good]
        enough(len(used), "boards that fit together")
        rms, matrix, distortion, turns, errors = _solve([boards[i] for i in used], board_wh, size_wh)
    tilt = _widest_deg(turns)
    if tilt < LEAST_TILT_DEG:
        raise EdgeposeError(
            f"all boards are seen from one angle, within {tilt:.0f} degrees, so the focal length cannot be found; "
            "take some with the board tilted by 20 to 40 degrees, to each side and up and down"
        )
    if rms > _WORST_PX * max(1.0, size_wh[0] / 1000):
        raise EdgeposeError(
            f"the corners lie {rms:.1f} px from where any lens could put them; is the board flat, are the pictures "
            "sharp, and all from the same camera at the same zoom and focus?"
        )
    lens = Lens(matrix, distortion, size_wh)
    corners = np.concatenate([boards[i].corners for i in used])
    return Calibration(lens, rms, used, _uncovered(corners, size_wh), _unknown(lens), tilt)


def enough(count: int, what: str) -> None:
    """Raises EdgeposeError where there are too few boards. what: which boards were counted."""
    if count < FEWEST:
        raise EdgeposeError(
            f"{count} {what} are too few; {FEWEST} or more are needed, better 20, in all parts of the picture, "
            "near and far, and tilted to all sides"
        )


def choose(boards: Sequence[CalibrationBoard], board_wh: tuple[int, int], size_wh: tuple[int, int]) -> list[int]:
    """Chooses at most `MOST` sharp boards; each is as different from those before as possible."""
    edges = np.array([board.edge_px for board in boards])
    sharp = np.flatnonzero(edges <= _BLURRED * np.median(edges)).tolist() if len(boards) else []
    views = {i: _view(boards[i], board_wh, size_wh) for i in sharp}
    chosen = sharp[:1]
    while len(chosen) < min(MOST, len(sharp)):
        rest = [i for i in sharp if i not in chosen]
        apart = [min(float(np.linalg.norm(views[i] - views[j])) for j in chosen) for i in rest]
        chosen.append(rest[int(np.argmax(apart))])
    return sorted(chosen)


def _view(board: CalibrationBoard, board_wh: tuple[int, int], size_wh: tuple[int, int]) -> F64:
    """Returns where a board is, how large and how tilted, as numbers of similar weight."""
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
    place = board.corners.mean(axis=0) / size_wh
    size = np.log(max(top + bottom + left + right, 1.0))
    return np.array(
        [*place, size / 2, 2 * np.log(top / bottom), 2 * np.log(left / right), np.log((top + bottom) / (left + right))]
    )


def _solve(
    boards: Sequence[CalibrationBoard], board_wh: tuple[int, int], size_wh: tuple[int, int]
) -> tuple[float, F64, F64, list[F64], F64]:
    """Returns the RMS error, camera matrix, distortion, and each board's rotation vector and error."""
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
    # One more coefficient always fits better, but distorts the picture where no board was; it must reduce the error.
    return more if more[0] < _WORTH_IT * few[0] else few


def _widest_deg(turns: Sequence[F64]) -> float:
    """Returns the largest angle between the normals of two boards."""
    normals = np.stack([cv2.Rodrigues(turn)[0][:, 2] for turn in turns])
    return float(np.degrees(np.arccos(np.clip(np.abs(normals @ normals.T).min(), -1, 1))))


def _uncovered(corners: F32, size_wh: tuple[int, int]) -> float:
    cells = np.clip(corners / size_wh * _CELLS, 0, _CELLS - 1).astype(int)
    return 1 - len(np.unique(cells, axis=0)) / _CELLS**2


def _unknown(lens: Lens) -> float:
    w, h = lens.size_wh
    grid = np.stack(np.meshgrid(np.linspace(0, w - 1, 40), np.linspace(0, h - 1, 40)), axis=-1)
    return float(np.isnan(undistorted(lens, grid)[..., 0]).mean())
