"""What `edgepose analyze` makes of the poses of a whole video: smooth, measured, in zones, as pictures, as trails."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from edgepose.analysis.motion_plots import plot_occupancy, plot_speed, plot_trajectory, write_plot
from edgepose.analysis.overlay_video import draw_overlay
from edgepose.config.schema import GeometryConfig
from edgepose.errors import UsageError
from edgepose.geometry.coordinates import animal_px
from edgepose.geometry.ground import Ground
from edgepose.pose.smoothing import Method, smooth
from edgepose.system.table_files import PoseTable, write_columns, write_table
from edgepose.types import F64, U8

P_CUTOFF, MAX_GAP_S = 0.6, 0.5
PLOTS = ("trajectory", "occupancy", "speed")
_ANIMAL = 0.1  # of the frame's longer side, where no frame shows two keypoints to tell the animal's length by
_NEEDS = {
    "p_cutoff": ("smooth", "trails", "kinematics", "zones", "plots"),
    "max_gap": ("smooth",),
    "trails": ("overlay",),
    "px_per_cm": ("kinematics", "plots"),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted of every video. zones: polygons (P, 2) in frame pixels by name. geometry: instead of px_per_cm."""

    p_cutoff: float
    method: Method | None
    max_gap_s: float
    trails_s: float | None
    px_per_cm: float | None
    zones: dict[str, F64]
    geometry: GeometryConfig | None

    @property
    def two_passes(self) -> bool:
        """Is the overlay drawn when all poses are known?"""
        return self.method is not None or self.trails_s is not None


@dataclass(frozen=True, slots=True)
class Files:
    """Where one video's results go; None is not wanted. plots: as named in PLOTS."""

    table: Path
    overlay: Path | None
    smoothed: Path | None
    kinematics: Path | None
    zones: Path | None
    plots: tuple[Path, ...]

    def wanted(self) -> list[Path]:
        paths = (self.table, self.smoothed, self.kinematics, self.zones, *self.plots, self.overlay)
        return [path for path in paths if path is not None]


@dataclass(frozen=True, slots=True)
class Analyzed:
    """A video with its poses. picture: its first frame, BGR. ground: where its pixels are, if anybody has said that."""

    video: Path
    fps: float
    picture: U8
    poses: PoseTable
    ground: Ground | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is made of the poses", "OUT itself holds them as the model gave them.")
    group.add_argument(
        "--smooth",
        choices=get_args(Method),
        help="also OUT_smoothed: without jumps, short gaps bridged, less noise; the overlay, the measures and "
        "the plots use it. median and kalman also look at later frames, one-euro, as if live, does not",
    )
    group.add_argument(
        "--p-cutoff",
        type=_share,
        metavar="P",
        help="a keypoint with a lower likelihood counts as not seen, before smoothing, in trails, measures, zones and "
        f"plots (default {P_CUTOFF}, as DeepLabCut's)",
    )
    group.add_argument(
        "--max-gap",
        type=_seconds,
        metavar="SECONDS",
        help=f"--smooth bridges a keypoint that is not seen for at most so long (default {MAX_GAP_S})",
    )
    group.add_argument(
        "--trails",
        type=_positive,
        metavar="SECONDS",
        help="the overlay shows where each keypoint was, and fainter where it will be; reads the video twice",
    )
    group.add_argument(
        "--kinematics", action="store_true", help="also OUT_kinematics: distances, angles and speeds, frame by frame"
    )
    group.add_argument("--px-per-cm", type=_positive, metavar="X", help="measures and speeds in cm instead of pixels")
    group.add_argument(
        "--zones", type=Path, metavar="FILE.yaml", help="also OUT_zones: how long and how often in each zone"
    )
    group.add_argument("--plots", type=Path, metavar="FOLDER", help="pictures: trajectory, occupancy, speed over time")


def read_options(args: argparse.Namespace, geometry: GeometryConfig | None) -> Options:
    """Raises UsageError where an option would do nothing, and what `read_zones` raises."""
    if args.zones:
        from edgepose.config.geometry_files import read_zones
    for name, needs in _NEEDS.items():
        if getattr(args, name) is not None and not any(getattr(args, need) for need in needs):
            told = " or ".join(f"--{need}" for need in needs)
            raise UsageError(f"--{name.replace('_', '-')} changes nothing without {told}; add one or leave it out")
    if args.px_per_cm is not None and geometry is not None:
        raise UsageError(f"--px-per-cm: {args.config} has a geometry, which says it better; leave out one of the two")
    return Options(
        P_CUTOFF if args.p_cutoff is None else args.p_cutoff,
        args.smooth,
        MAX_GAP_S if args.max_gap is None else args.max_gap,
        args.trails,
        args.px_per_cm,
        read_zones(args.zones) if args.zones else {},
        geometry,
    )


def write_motion(done: Analyzed, files: Files, options: Options) -> None:
    """Writes all that is wanted besides the table. Each file appears when it is complete. Raises EdgeposeError."""
    poses = done.poses
    time_s = np.asarray(poses.frames, np.float64) / done.fps
    xy = np.where(poses.values[..., 2:] >= options.p_cutoff, poses.values[..., :2], np.nan)
    if options.method is not None:
        length_px = animal_px(xy)
        if not length_px > 1:
            length_px = _ANIMAL * max(done.picture.shape[:2])
        xy = smooth(xy, time_s, options.method, options.max_gap_s, length_px)
        poses = replace(poses, values=np.concatenate([xy, poses.values[..., 2:]], axis=2))
    if files.smoothed is not None:
        write_table(files.smoothed, poses)
    if files.kinematics is not None or files.zones is not None or files.plots:
        _write_measures(done, xy, time_s, files, options)
    if files.overlay is not None and options.two_passes:
        reach = round((options.trails_s or 0) * done.fps)
        draw_overlay(done.video, files.overlay, poses, xy if options.trails_s is not None else None, reach)


def _share(text: str) -> float:
    return _number(text, 0, 1, "give a number from 0 to 1")


def _seconds(text: str) -> float:
    return _number(text, 0, float("inf"), "give a number of seconds, 0 or more")


def _positive(text: str) -> float:
    return _number(text, 1e-9, float("inf"), "give a number above 0")


def _number(text: str, low: float, high: float, told: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high or value == float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: {told}")
    return value


def _write_measures(done: Analyzed, xy: F64, time_s: F64, files: Files, options: Options) -> None:
    from edgepose.pose.kinematics import centre, measures, speed, zone_times

    centre_xy = centre(xy)
    measured, per_cm = (xy, options.px_per_cm) if done.ground is None else (done.ground.to_mm(xy), 10.0)
    found = measures(measured, time_s, done.poses.skeleton, per_cm)
    if files.kinematics is not None:
        frames = np.asarray(done.poses.frames, np.int64)
        write_columns(files.kinematics, {"frame": frames, "time_s": time_s, **found})
    if files.zones is not None:
        write_columns(files.zones, zone_times(centre_xy, time_s, options.zones))
    if files.plots:
        trajectory, occupancy, over_time = files.plots
        name, unit = done.video.name, "px/s" if per_cm is None else "cm/s"
        write_plot(trajectory, plot_trajectory(name, done.picture, centre_xy, time_s))
        write_plot(occupancy, plot_occupancy(name, done.picture, centre_xy, 1 / done.fps))
        write_plot(over_time, plot_speed(name, time_s, speed(centre(measured), time_s) / (per_cm or 1), unit))
