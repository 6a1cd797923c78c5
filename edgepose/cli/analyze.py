"""`edgepose analyze`: finds the keypoints in video files, with the estimator that the daemon runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

from edgepose.analysis.analyze_video import analyze_video
from edgepose.analysis.motion import MotionOptions
from edgepose.analysis.output_files import TABLES, OutputFiles, check_output_files, output_files
from edgepose.analysis.plots import need_matplotlib
from edgepose.config.geometry_files import read_zones
from edgepose.config.loading import read_config
from edgepose.config.schema import Config, ViewConfig
from edgepose.errors import EdgeposeError, UsageError
from edgepose.inference.estimator import Estimator
from edgepose.inference.viewer import Viewer
from edgepose.pose.smoothing import Method
from edgepose.system.arguments import above_zero, add_output_argument, model_path, number_within
from edgepose.system.wording import count, did_you_mean, listing
from edgepose.tables.pose_table import DEEPLABCUT_FORMATS, check_format, format_of
from edgepose.video.frame_times import times_table
from edgepose.video.h264 import load_av

P_CUTOFF, MAX_GAP_S = 0.6, 0.5
_NEEDS = {
    "p_cutoff": ("smooth", "trails", "kinematics", "zones", "plots"),
    "max_gap": ("smooth",),
    "trails": ("overlay",),
    "centre": ("kinematics", "zones", "plots"),
    "px_per_cm": ("kinematics", "plots"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `edgepose analyze`."""
    parser.description = (
        "Finds the keypoints in every frame of video files, with the code and the model that run on the device. "
        "Files that end in .csv or .h5 have DeepLabCut's layout: one row per frame; x, y and likelihood of each body "
        "part. Files that end in .parquet or .tidy.csv have the layout of `edgepose collect`: one row per animal and "
        "frame; columns such as snout_x, and millimetres where the scale is known."
    )
    parser.epilog = (
        "With several videos each gets files of its own, named after OUT and the video: poses_cage1.csv, "
        "poses_cage2.csv.\n\nexamples:\n"
        "  edgepose analyze model.tflite mouse.mp4 -o poses.csv --overlay mouse-poses.mp4\n"
        "  edgepose analyze model.tflite cage1.mp4 cage2.mp4 -o poses.h5\n"
        "  edgepose analyze model.tflite mouse.mp4 -o poses.csv --smooth kalman --kinematics --plots pictures \\\n"
        "      --overlay mouse-poses.mp4 --trails 1"
    )
    parser.add_argument("model", type=model_path, metavar="MODEL", help="a .tflite file, the folder of a fit, or demo")
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="any file that OpenCV reads")
    add_output_argument(parser, "OUT", "the table of poses; the name ends in .csv, .h5, .parquet or .tidy.csv")
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help="the daemon's configuration: use its view of the frame, and its geometry for millimetres",
    )
    parser.add_argument(
        "--fps",
        type=above_zero,
        metavar="F",
        help="the true frames a second of videos that have no times, such as .h264, or that play slower than they were "
        "taken. Without it each frame has the time in the file, or in the table beside a recording of a device",
    )
    parser.add_argument(
        "--overlay", type=Path, metavar="OUT.mp4", help="also write the video with the poses drawn into it"
    )
    _add_motion_arguments(parser)


def _add_motion_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is made of the poses", "OUT itself holds the poses as the model gave them.")
    group.add_argument(
        "--smooth",
        choices=get_args(Method),
        help="also write OUT_smoothed, without jumps, with short gaps bridged and less noise; the overlay, the "
        "measures and the plots use it. median and kalman also use later frames; one-euro, like "
        "a live filter, does not",
    )
    group.add_argument(
        "--p-cutoff",
        type=_share,
        metavar="P",
        help="a keypoint with a lower likelihood counts as not seen in smoothing, trails, measures, zones and plots "
        f"(default: {P_CUTOFF}, as DeepLabCut's)",
    )
    group.add_argument(
        "--max-gap",
        type=_seconds,
        metavar="SECONDS",
        help=f"--smooth bridges gaps in which a keypoint is not seen, up to this length (default: {MAX_GAP_S})",
    )
    group.add_argument(
        "--trails",
        type=above_zero,
        metavar="SECONDS",
        help="the overlay also shows the way of each keypoint: before the frame, and fainter after it",
    )
    group.add_argument(
        "--kinematics",
        action="store_true",
        help="also write OUT_kinematics: distances, angles and speeds in each frame",
    )
    group.add_argument(
        "--px-per-cm", type=above_zero, metavar="X", help="scale of the picture: tables and plots get millimetres then"
    )
    group.add_argument(
        "--centre",
        metavar="KEYPOINT",
        help="the keypoint whose path, speed and zones are those of the animal (default: the middle of its outline)",
    )
    group.add_argument(
        "--zones",
        type=Path,
        metavar="FILE.yaml",
        help="also write OUT_zones: how long and how often the animal was in each zone",
    )
    group.add_argument(
        "--plots",
        type=Path,
        metavar="FOLDER",
        help="also draw the trajectory, the occupancy and the speed over time, as SVG and PNG",
    )


def run(args: argparse.Namespace) -> int:
    """Analyzes each video. A video that fails does not keep the others from being analyzed.

    Returns the exit status of the last failure, or 0.
    """
    check_format(args.output)
    if args.overlay and args.overlay.suffix.lower() != ".mp4":
        raise UsageError(f"{args.overlay}: the overlay is an .mp4")
    if args.plots:
        need_matplotlib()
    if args.overlay:
        load_av()
    _check_combinations(args)
    tables = [table for table in TABLES if getattr(args, "smooth" if table == "smoothed" else table)]
    several = len(args.videos) > 1
    files = [
        output_files(args.output, args.overlay, args.plots, tables, video.stem if several else "")
        for video in args.videos
    ]
    _check_files(args, files)
    config = read_config(args.config) if args.config else None
    options = _motion_options(args, config)
    estimator, view = Estimator(args.model), config.view if config else ViewConfig()
    if args.centre is not None and args.centre not in (known := estimator.card.skeleton.keypoints):
        raise UsageError(f"--centre {args.centre}: the model has no such keypoint{did_you_mean(args.centre, known)}")
    status = 0
    for video, wanted in zip(args.videos, files, strict=True):
        try:
            report = analyze_video(Viewer(estimator, view), video, wanted, options)
        except EdgeposeError as exc:
            failures = [exc]
        else:
            failures = report.failures
            speed = f"{count(report.frames, 'frame')} in {report.seconds:.1f} s"
            written = ", ".join(map(str, report.written))
            print(f"{video.name}: {speed} ({report.frames / report.seconds:.0f} fps), wrote {written}")
            if report.unseen:
                whole = len(report.unseen) == len(estimator.card.skeleton.keypoints)
                names = "no keypoint ever" if whole else f"{listing(report.unseen)} never"
                print(
                    f"edgepose: {video}: {names} reached a likelihood of {options.p_cutoff:g}, which "
                    "smoothing, measures and plots need; label and train more, or give a lower --p-cutoff",
                    file=sys.stderr,
                )
        for failure in failures:
            print(f"edgepose: {failure}", file=sys.stderr)
            status = failure.exit_code
    return status


def _check_files(args: argparse.Namespace, files: list[OutputFiles]) -> None:
    also = [path for path in (args.zones, args.config, *map(times_table, args.videos)) if path]
    inputs = [*args.videos, *also, args.model, args.model.with_suffix(".json")]
    check_output_files(files, inputs, force=args.force)


def _check_combinations(args: argparse.Namespace) -> None:
    """Raises UsageError where an option would change nothing."""
    has_mm = format_of(args.output) not in DEEPLABCUT_FORMATS
    for name, needs in _NEEDS.items():
        if name == "px_per_cm" and has_mm:
            continue
        if getattr(args, name) is not None and not any(getattr(args, need) for need in needs):
            useful = " or ".join(f"--{need}" for need in needs)
            raise UsageError(f"--{name.replace('_', '-')} changes nothing without {useful}; add one or leave it out")


def _motion_options(args: argparse.Namespace, config: Config | None) -> MotionOptions:
    geometry = config.geometry if config else None
    if args.px_per_cm is not None and geometry is not None:
        raise UsageError(f"--px-per-cm: {args.config} has a geometry already; leave out one of the two")
    return MotionOptions(
        P_CUTOFF if args.p_cutoff is None else args.p_cutoff,
        args.smooth,
        MAX_GAP_S if args.max_gap is None else args.max_gap,
        args.trails,
        args.px_per_cm,
        read_zones(args.zones) if args.zones else {},
        geometry,
        args.fps,
        args.centre,
    )


def _share(text: str) -> float:
    return number_within(text, 0, 1, "give a number from 0 to 1")


def _seconds(text: str) -> float:
    return number_within(text, 0, 1e6, "give a number of seconds from 0 to a million")
