"""`edgepose calibrate`: pictures of a checkerboard to the file that undoes what the lens does."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edgepose.analysis.motion_plots import write_plot
from edgepose.analysis.overlay_video import progress_bar
from edgepose.camera.video_file import VideoFileSource
from edgepose.config.geometry_files import read_ground, write_lens
from edgepose.config.schema import GeometryConfig, PlaceConfig
from edgepose.errors import CameraError, EdgeposeError, UsageError
from edgepose.geometry.calibration_board import Calibration, CalibrationBoard, calibrate, enough, find_board
from edgepose.geometry.lens import Lens, undistorted
from edgepose.system.table_files import write_whole
from edgepose.types import U8

FROM_VIDEO = 120  # frames of a video that are looked at
_UNCOVERED = 0.3  # share of the frame; more is told
_TRIED = 5  # pictures in which a smaller board is looked for, when there is none of the given size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Finds out what the camera's lens does to straight lines, so that `geometry` in the config can undo it.\n"
        "Print a checkerboard, glue it onto something flat, and take 20 pictures of it, or a slow video, with the\n"
        "camera as it will be used: same mode, zoom and focus; all of the board in each, everywhere in the picture,\n"
        "tilted by 20 to 40 degrees to all sides. Leaves CAMERA.yaml, which OpenCV reads, and CAMERA.png to look at."
    )
    parser.epilog = (
        "examples:\n"
        "  edgepose calibrate pictures/*.jpg --board 9x6 --square-mm 20 -o camera.yaml\n"
        "  edgepose calibrate board.mp4 --board 9x6 --square-mm 20 -o camera.yaml --floor on-the-floor.jpg"
    )
    parser.add_argument("sources", type=Path, nargs="+", metavar="IMAGES_OR_VIDEO")
    parser.add_argument(
        "--board",
        type=_board,
        required=True,
        metavar="9x6",
        help="inner corners across and down: a board of 10x7 squares",
    )
    parser.add_argument("--square-mm", type=_positive, required=True, metavar="MM", help="side of a square")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="CAMERA.yaml")
    parser.add_argument(
        "--floor",
        type=Path,
        metavar="IMAGE",
        help="a picture of the board lying where the animal walks: prints the `geometry` that gives millimetres there",
    )


def run(args: argparse.Namespace) -> int:
    if args.out.suffix.lower() not in {".yaml", ".yml"}:
        raise UsageError(f"{args.out}: the calibration is a .yaml")
    if not args.out.absolute().parent.is_dir():
        raise UsageError(f"{args.out}: there is no folder {args.out.parent}; make it first")
    seen = _look(args.sources, args.board)
    found = calibrate(seen.boards, args.board, seen.size_wh)
    write_whole(args.out, lambda path: write_lens(path, found.lens, found.rms_px))
    look_at = args.out.with_suffix(".png")
    assert seen.largest is not None
    write_plot(look_at, _straightened(*seen.largest, found.lens, args.board))
    for line in _told(found, seen):
        print(line)
    print(f"wrote {args.out} and {look_at}, in which the green lines must lie along the squares")
    if args.floor:
        print(_geometry(args.floor, args.board, args.square_mm, args.out), end="")
    return 0


def _board(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 3 <= int(part) <= 50 for part in parts):
        raise argparse.ArgumentTypeError(f"{text}: give inner corners across and down, each from 3 to 50, such as 9x6")
    return int(parts[0]), int(parts[1])


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e5:
        raise argparse.ArgumentTypeError(f"{text}: give a number above 0")
    return value


@dataclass
class _Seen:
    """What the pictures hold. largest: the largest board, and the grey picture of it. first: some pictures."""

    boards: list[CalibrationBoard] = field(default_factory=list)
    count: int = 0
    size_wh: tuple[int, int] = (0, 0)
    largest: tuple[CalibrationBoard, U8] | None = None
    first: list[U8] = field(default_factory=list)

    def add(self, name: str, grey: U8, board: CalibrationBoard | None) -> None:
        size_wh = (grey.shape[1], grey.shape[0])
        if self.count and size_wh != self.size_wh:
            sizes = "{}x{}, but those before it are {}x{}".format(*size_wh, *self.size_wh)
            raise UsageError(f"{name}: is {sizes}; give pictures of one camera mode")
        self.size_wh, self.count = size_wh, self.count + 1
        if len(self.first) < _TRIED:
            self.first.append(grey)
        if board is not None:
            self.boards.append(board)
            if self.largest is None or _extent(board) > _extent(self.largest[0]):
                self.largest = board, grey


def _extent(board: CalibrationBoard) -> float:
    return float(np.ptp(board.corners, axis=0).prod())


def _look(sources: list[Path], board_wh: tuple[int, int]) -> _Seen:
    seen = _Seen()
    with progress_bar() as progress:
        task = progress.add_task("looking for boards", total=None)
        for name, grey in _pictures(sources):
            seen.add(name, grey, find_board(grey, board_wh))
            progress.advance(task)
    if not seen.boards:
        raise EdgeposeError(_no_board(seen, board_wh))
    enough(len(seen.boards), f"boards in {seen.count} pictures")
    return seen


def _pictures(sources: list[Path]) -> Iterator[tuple[str, U8]]:
    """Grey, with names for messages; of a video some, spread over it."""
    for path in sources:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
        if grey is not None:
            yield str(path), np.asarray(grey, np.uint8)
            continue
        try:
            video = VideoFileSource(path)
        except CameraError:
            raise UsageError(f"{path}: neither a picture nor a video that OpenCV reads; check the path") from None
        every = max(1, video.frame_count // FROM_VIDEO)
        for frame in video:
            if frame.index % every == 0:
                yield (
                    f"{path}, frame {frame.index}",
                    np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY), np.uint8),
                )


def _no_board(seen: _Seen, board_wh: tuple[int, int]) -> str:
    (w, h), pictures = board_wh, f"{seen.count} pictures" if seen.count > 1 else "the picture"
    fewer = f"{w - 1}x{h - 1}"  # squares are counted more often than corners
    if min(board_wh) > 3 and any(find_board(grey, (w - 1, h - 1)) for grey in seen.first):
        return f"no board of {w}x{h} inner corners in {pictures}, but one of {fewer}: give --board {fewer}"
    return (
        f"no board of {w}x{h} in {pictures}: --board counts the inner corners, where four squares meet ({w}x{h} of "
        f"{w + 1}x{h + 1} squares); all of it must be to be seen, with white round it, sharp and without glare"
    )


def _told(found: Calibration, seen: _Seen) -> Iterator[str]:
    of_1000 = found.rms_px * 1000 / max(1000, seen.size_wh[0])
    worth = "very good" if of_1000 < 0.3 else "good" if of_1000 < 0.7 else "usable, sharper pictures would do better"
    used = f"{len(found.used)} of them used, tilted by up to {found.tilt_deg:.0f} degrees"
    yield f"board in {len(seen.boards)} of {seen.count} pictures, {used}"
    yield f"its corners lie {found.rms_px:.2f} px (RMS) from where this lens puts them: {worth}"
    add = "add pictures with the board at the edges and in the corners"
    if found.uncovered > _UNCOVERED:
        yield f"no board was in {100 * found.uncovered:.0f} % of the picture, where the lens is a guess: {add}"
    if found.unknown > 0:
        yield f"for {100 * found.unknown:.0f} % of the picture, at its edges, there are no millimetres: {add}"


def _straightened(board: CalibrationBoard, grey: U8, lens: Lens, board_wh: tuple[int, int]) -> U8:
    """The picture without distortion, BGR, a line through each row and column of corners."""
    picture = cv2.cvtColor(cv2.undistort(grey, lens.matrix, lens.distortion), cv2.COLOR_GRAY2BGR)
    grid = undistorted(lens, board.corners).reshape(board_wh[1], board_wh[0], 2)
    for lines in (grid, grid.transpose(1, 0, 2)):
        ends = np.nan_to_num(lines[:, [0, -1]] * 16).round().astype(np.int32)
        cv2.polylines(picture, list(np.ascontiguousarray(ends)), False, (0, 255, 0), 1, cv2.LINE_AA, 4)
    return np.asarray(picture, np.uint8)


def _geometry(floor: Path, board_wh: tuple[int, int], square_mm: float, out: Path) -> str:
    """The section of the config, by the outer corners of the board on the floor."""
    grey = cv2.imread(str(floor), cv2.IMREAD_GRAYSCALE) if floor.is_file() else None
    board = None if grey is None else find_board(np.asarray(grey, np.uint8), board_wh)
    if grey is None or board is None:
        raise UsageError(
            f"--floor {floor}: {'no picture' if grey is None else 'no such board in it'}; give another one"
        )
    w, h = board_wh
    mm = np.mgrid[:w, :h].T.reshape(-1, 2) * square_mm
    outer = [0, w - 1, w * h - 1, w * (h - 1)]
    px = board.corners[outer].astype(np.float64).round(2)
    places = tuple(PlaceConfig(px=tuple(p), mm=tuple(m)) for p, m in zip(px.tolist(), mm[outer].tolist(), strict=True))
    ground = read_ground(GeometryConfig(calibration=str(out), points=places), (grey.shape[1], grey.shape[0]))
    worst = float(np.linalg.norm(ground.to_mm(board.corners) - mm, axis=1).max())
    lines = [f"    - {{px: {list(place.px)}, mm: {list(place.mm)}}}" for place in places]
    told = (
        f"for the config, in which all corners of the board on the floor lie within {worst:.2g} mm of where they are:"
    )
    return "\n".join([told, "geometry:", f"  calibration: {out.name}", "  points:", *lines, ""])
