"""`edgepose calibrate`: turns pictures of a checkerboard into the file that describes the camera's lens."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgepose.analysis.calibration import calibrate_camera, find_boards, geometry_section
from edgepose.errors import UsageError
from edgepose.system.arguments import above_zero, add_output_argument, check_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `edgepose calibrate`."""
    parser.description = (
        "Measures how the camera's lens bends straight lines, so that `geometry` in the configuration can undo it. "
        "Print a checkerboard, glue it onto something flat, and take 20 pictures of it, or a slow video, with the "
        "camera as it will be used: same mode, zoom and focus. Each picture shows the whole board; together they show "
        "it everywhere in the picture, tilted by 20 to 40 degrees to all sides. Writes CAMERA.yaml, which OpenCV "
        "reads, and CAMERA.png, in which you can see whether the calibration is right."
    )
    parser.epilog = (
        "examples:\n"
        "  edgepose calibrate pictures/*.jpg --board 9x6 --square-mm 20 -o camera.yaml\n"
        "  edgepose calibrate board.mp4 --board 9x6 --square-mm 20 -o camera.yaml --floor on-the-floor.jpg"
    )
    parser.add_argument(
        "sources", type=Path, nargs="+", metavar="IMAGES_OR_VIDEO", help="pictures or videos of the checkerboard"
    )
    parser.add_argument(
        "--board",
        type=_board,
        required=True,
        metavar="9x6",
        help="inner corners across and down: 9x6 for a board of 10x7 squares",
    )
    parser.add_argument("--square-mm", type=above_zero, required=True, metavar="MM", help="side of a square")
    add_output_argument(parser, "CAMERA.yaml", "the calibration")
    parser.add_argument(
        "--floor",
        type=Path,
        metavar="IMAGE",
        help="a picture of the board lying where the animal walks: prints the `geometry` that measures it in mm",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the calibration and prints how good it is."""
    if args.output.suffix.lower() not in {".yaml", ".yml"}:
        raise UsageError(f"{args.output}: the calibration is a .yaml")
    picture = args.output.with_suffix(".png")
    for path in (args.output, picture):
        check_output(path, force=args.force)
    found = find_boards(args.sources, args.board)
    print(calibrate_camera(found, args.board, args.output, picture))
    print(f"wrote {args.output} and {picture}, in which the green lines must lie along the squares")
    if args.floor:
        print(geometry_section(args.floor, args.board, args.square_mm, args.output), end="")
    return 0


def _board(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 3 <= int(part) <= 50 for part in parts):
        raise argparse.ArgumentTypeError(f"{text}: give inner corners across and down, each from 3 to 50, such as 9x6")
    return int(parts[0]), int(parts[1])
