"""Calibrates a camera with pictures or a video of a checkerboard, and reports how good the calibration is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edgepose.camera.video_file import VideoFileSource
from edgepose.config.geometry_files import read_ground, write_lens
from edgepose.config.schema import GeometryConfig, PlaceConfig
from edgepose.errors import CameraError, EdgeposeError, UsageError
from edgepose.geometry.calibration_board import Calibration, CalibrationBoard, calibrate, check_count, find_board
from edgepose.geometry.lens import Lens, undistorted
from edgepose.system.atomic_files import write_whole
from edgepose.system.progress import progress_bar
from edgepose.system.wording import count
from edgepose.types import U8

_VIDEO_FRAMES = 120  # frames of a video in which a board is searched
_UNCOVERED = 0.3  # share of the picture without a board; a larger one is reported
_KEPT_PICTURES = 5  # pictures in which a smaller board is searched where none has the given size


@dataclass
class BoardPictures:
    """Holds what was found in the pictures.

    Attributes:
        boards: the boards, at most one in a picture.
        count: number of pictures.
        size_wh: their size.
        largest: the largest board, and the grey picture that holds it.
        first: the first few pictures, grey.
    """

    boards: list[CalibrationBoard] = field(default_factory=list)
    count: int = 0
    size_wh: tuple[int, int] = (0, 0)
    largest: tuple[CalibrationBoard, U8] | None = None
    first: list[U8] = field(default_factory=list)

    def add(self, name: str, grey: U8, board: CalibrationBoard | None) -> None:
        """Adds a picture. name: for messages. Raises UsageError where its size is another than that of the others."""
        size_wh = (grey.shape[1], grey.shape[0])
        if self.count and size_wh != self.size_wh:
            sizes = "{}x{}, but the pictures before it are {}x{}".format(*size_wh, *self.size_wh)
            raise UsageError(f"{name}: is {sizes}; give pictures of one camera mode")
        self.size_wh, self.count = size_wh, self.count + 1
        if len(self.first) < _KEPT_PICTURES:
            self.first.append(grey)
        if board is not None:
            self.boards.append(board)
            if self.largest is None or _area(board) > _area(self.largest[0]):
                self.largest = board, grey


def find_boards(sources: list[Path], board_wh: tuple[int, int]) -> BoardPictures:
    """Searches the board in picture files and in frames of videos. board_wh: its inner corners, across and down.

    Raises EdgeposeError where too few pictures show the board.
    """
    found = BoardPictures()
    with progress_bar() as progress:
        task = progress.add_task("searching for boards", total=None)
        for name, grey in _pictures(sources):
            found.add(name, grey, find_board(grey, board_wh))
            progress.advance(task)
    if not found.boards:
        raise EdgeposeError(_no_board(found, board_wh))
    check_count(len(found.boards), f"boards in {count(found.count, 'picture')}")
    return found


def calibrate_camera(pictures: BoardPictures, board_wh: tuple[int, int], lens_file: Path, picture_file: Path) -> str:
    """Writes the calibration, and a picture in which one can see whether it is right; returns a report of some lines.

    Raises EdgeposeError.
    """
    found = calibrate(pictures.boards, board_wh, pictures.size_wh)
    assert pictures.largest is not None  # there is at least one board
    picture = cv2.imencode(".png", _straightened(*pictures.largest, found.lens, board_wh))[1].tobytes()
    write_whole(lens_file, lambda path: write_lens(path, found.lens, found.rms_px))
    write_whole(picture_file, lambda path: path.write_bytes(picture))
    return "\n".join(_report(found, pictures))


def geometry_section(floor: Path, board_wh: tuple[int, int], square_mm: float, lens_file: Path) -> str:
    """Returns the configuration's `geometry` section, as YAML, by a picture of the board lying on the floor.

    square_mm: side of a square. Raises UsageError where the picture does not show the board.
    """
    grey = cv2.imread(str(floor), cv2.IMREAD_GRAYSCALE) if floor.is_file() else None
    if grey is None:
        raise UsageError(f"--floor {floor}: is not a picture that OpenCV reads; give another file")
    board = find_board(np.asarray(grey, np.uint8), board_wh)
    if board is None:
        raise UsageError(f"--floor {floor}: does not show the whole board; give another picture")
    w, h = board_wh
    xy_mm = np.mgrid[:w, :h].T.reshape(-1, 2) * square_mm
    outer = [0, w - 1, w * h - 1, w * (h - 1)]
    outer_px = board.corners[outer].astype(np.float64).round(2)
    pairs = zip(outer_px.tolist(), xy_mm[outer].tolist(), strict=True)
    places = tuple(PlaceConfig(px=tuple(px), mm=tuple(mm)) for px, mm in pairs)
    ground = read_ground(GeometryConfig(calibration=str(lens_file), points=places), (grey.shape[1], grey.shape[0]))
    worst_mm = float(np.linalg.norm(ground.to_mm(board.corners) - xy_mm, axis=1).max())
    lines = [f"    - {{px: {list(place.px)}, mm: {list(place.mm)}}}" for place in places]
    intro = f"for the configuration; it gives each corner of the board on the floor within {worst_mm:.2g} mm:"
    return "\n".join([intro, "geometry:", f"  calibration: {lens_file.name}", "  points:", *lines, ""])


def _area(board: CalibrationBoard) -> float:
    return float(np.ptp(board.corners, axis=0).prod())


def _pictures(sources: list[Path]) -> Iterator[tuple[str, U8]]:
    """Grey pictures, with names for messages. Of a video come frames that are spread over it."""
    for path in sources:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
        if grey is not None:
            yield str(path), np.asarray(grey, np.uint8)
            continue
        try:
            video = VideoFileSource(path)
        except CameraError:
            raise UsageError(f"{path}: neither a picture nor a video that OpenCV reads; check the path") from None
        step = max(1, video.frame_count // _VIDEO_FRAMES)
        for frame in video:
            if frame.index % step == 0:
                yield f"{path}, frame {frame.index}", cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY).astype(np.uint8)


def _no_board(found: BoardPictures, board_wh: tuple[int, int]) -> str:
    (w, h), pictures = board_wh, count(found.count, "picture")
    smaller = f"{w - 1}x{h - 1}"  # people count the squares more often than the corners
    if min(board_wh) > 3 and any(find_board(grey, (w - 1, h - 1)) for grey in found.first):
        return f"no board of {w}x{h} inner corners in {pictures}, but one of {smaller}: give --board {smaller}"
    return (
        f"no board of {w}x{h} in {pictures}: --board counts the inner corners, where four squares meet ({w}x{h} of "
        f"{w + 1}x{h + 1} squares); the whole board must be visible, with white around it, sharp and without glare"
    )


def _report(found: Calibration, pictures: BoardPictures) -> Iterator[str]:
    rms_of_1000 = found.rms_px * 1000 / max(1000, pictures.size_wh[0])
    grade = "very good" if rms_of_1000 < 0.3 else "good" if rms_of_1000 < 0.7 else "usable, sharper pictures are better"
    used = f"{len(found.used)} of them used, tilted by up to {found.tilt_deg:.0f} degrees"
    yield f"board in {len(pictures.boards)} of {count(pictures.count, 'picture')}, {used}"
    yield f"its corners lie {found.rms_px:.2f} px (RMS) from where this lens puts them: {grade}"
    advice = "add pictures with the board at the edges and in the corners"
    if found.uncovered > _UNCOVERED:
        yield f"no board was in {100 * found.uncovered:.0f} % of the picture, where the lens is a guess: {advice}"
    if found.unknown > 0:
        yield f"in {100 * found.unknown:.0f} % of the picture, at its edges, millimetres are not known: {advice}"


def _straightened(board: CalibrationBoard, grey: U8, lens: Lens, board_wh: tuple[int, int]) -> U8:
    """The picture without distortion, BGR, with a green line through each row and column of corners."""
    picture = cv2.cvtColor(cv2.undistort(grey, lens.matrix, lens.distortion), cv2.COLOR_GRAY2BGR)
    grid = undistorted(lens, board.corners).reshape(board_wh[1], board_wh[0], 2)
    for lines in (grid, grid.transpose(1, 0, 2)):
        ends = np.nan_to_num(lines[:, [0, -1]] * 16).round().astype(np.int32)
        cv2.polylines(picture, list(np.ascontiguousarray(ends)), False, (0, 255, 0), 1, cv2.LINE_AA, 4)
    return np.asarray(picture, np.uint8)
