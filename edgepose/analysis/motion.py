"""Turns the poses of a whole video into smoothed poses, measures, times in zones, plots and an overlay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from edgepose.analysis.background import Background
from edgepose.analysis.output_files import OutputFiles
from edgepose.analysis.overlay_video import draw_overlay
from edgepose.analysis.plots import PlotContext, plot_occupancy, plot_speed, plot_style, plot_trajectory, write_plot
from edgepose.config.geometry_files import read_ground
from edgepose.config.schema import GeometryConfig
from edgepose.geometry.ground import Ground
from edgepose.pose.animal_size import animal_side_px
from edgepose.pose.kinematics import MIDDLE, centre, durations, measures, speed, zone_times
from edgepose.pose.smoothing import Method, smooth
from edgepose.tables.layout import metadata
from edgepose.tables.pose_table import PoseTable, frame_columns, write_columns, write_table
from edgepose.types import F64

_ANIMAL_SHARE = 0.1  # of the frame's longer side: the animal's length where no frame shows two keypoints


@dataclass(frozen=True, slots=True)
class MotionOptions:
    """How the poses of every video are treated.

    Attributes:
        p_cutoff: a keypoint with a lower likelihood counts as not seen.
        method: how to smooth; None leaves the poses as they are.
        max_gap_s: longest gap of a keypoint that smoothing bridges.
        trails_s: how far before and after a frame the overlay's trails reach; None draws none.
        px_per_cm: scale of the picture; None where it is not known, or `geometry` says it.
        zones: corners (P, 2) by name, in pixels of the frame.
        geometry: the ground that the animal walks on.
        centre: the keypoint that stands for the animal; None takes its middle.
        rate_hz: frames a second; None takes the video's own times.
    """

    p_cutoff: float
    method: Method | None
    max_gap_s: float
    trails_s: float | None
    px_per_cm: float | None
    zones: dict[str, F64]
    geometry: GeometryConfig | None
    rate_hz: float | None = None
    centre: str | None = None


@dataclass(frozen=True, slots=True)
class AnalyzedVideo:
    """A video with its poses.

    Attributes:
        path: the file.
        background: grey frames, of which the picture of the empty scene is made.
        poses: the poses of all frames, as the model gave them.
        ground: converts pixels to millimetres; None where the scale is not known.
    """

    path: Path
    background: Background
    poses: PoseTable
    ground: Ground | None = None


@dataclass(frozen=True, slots=True)
class _Motion:
    """Attributes:
    xy_px: (N, K, 2), NaN where a keypoint was not seen.
    length_px: of the animal.
    keypoint: index of the keypoint that stands for the animal; None takes its middle.
    """

    xy_px: F64
    length_px: float
    keypoint: int | None


def ground_of(options: MotionOptions, size_wh: tuple[int, int]) -> Ground | None:
    """Returns what converts pixels to millimetres in frames of this size; None where no scale is given."""
    if options.geometry is not None:
        return read_ground(options.geometry, size_wh)
    if options.px_per_cm is None:
        return None
    scale = 10 / options.px_per_cm
    return Ground(None, np.diag([scale, scale, 1.0]), 0.0)


def motion_writers(
    video: AnalyzedVideo, files: OutputFiles, options: MotionOptions
) -> Iterator[tuple[list[Path], Callable[[], None]]]:
    """Yields, for each wanted kind of result, its files and the function that writes them. It raises EdgeposeError.

    The functions do not depend on each other: where one fails, the others can still be called.
    """
    motion = _motion(video, options)
    poses = video.poses
    if options.method is not None:
        values = np.concatenate([motion.xy_px, poses.values[..., 2:]], axis=2)
        poses = replace(poses, values=values, xy_mm=video.ground.to_mm(motion.xy_px) if video.ground else None)
    if (path := files.smoothed) is not None:
        yield [path], partial(write_table, path, poses)
    if (path := files.kinematics) is not None:
        yield [path], partial(_write_kinematics, path, video, motion)
    if (path := files.zones) is not None:
        places_px = centre(motion.xy_px, motion.keypoint)
        times = zone_times(places_px, poses.time_s, options.zones, options.centre or MIDDLE)
        yield [path], partial(write_columns, path, times, _about(video))
    if files.plots:
        paths = [path for plot in files.plots.values() for path in plot]
        yield paths, partial(_write_plots, files.plots, video, motion, options)
    if (path := files.overlay) is not None:
        trails_px = None if options.trails_s is None else motion.xy_px
        yield [path], partial(draw_overlay, video.path, path, poses, trails_px, options.trails_s or 0.0)


def _motion(video: AnalyzedVideo, options: MotionOptions) -> _Motion:
    values = video.poses.values
    xy_px = np.where(values[..., 2:] >= options.p_cutoff, values[..., :2], np.nan)
    length_px = animal_side_px(xy_px)
    if not length_px > 1:
        length_px = _ANIMAL_SHARE * max(video.poses.size_wh)
    if options.method is not None:
        xy_px = smooth(xy_px, video.poses.time_s, options.method, options.max_gap_s, length_px)
    keypoint = None if options.centre is None else video.poses.skeleton.keypoints.index(options.centre)
    return _Motion(xy_px, length_px, keypoint)


def _in_units(video: AnalyzedVideo, xy_px: F64) -> tuple[F64, str]:
    """Returns the points on the ground and `mm`, or in the frame and `px` where the scale is not known."""
    return (xy_px, "px") if video.ground is None else (video.ground.to_mm(xy_px), "mm")


def _about(video: AnalyzedVideo) -> dict[str, str]:
    return metadata([video.poses.scorer], video.poses.skeleton)


def _write_kinematics(path: Path, video: AnalyzedVideo, motion: _Motion) -> None:
    found = measures(*_in_units(video, motion.xy_px), video.poses.time_s, video.poses.skeleton, motion.keypoint)
    write_columns(path, {**frame_columns(video.poses), **found}, _about(video))


def _write_plots(
    paths: dict[str, tuple[Path, ...]], video: AnalyzedVideo, motion: _Motion, options: MotionOptions
) -> None:
    xy, unit = _in_units(video, motion.xy_px)
    size_wh = video.poses.size_wh
    context = PlotContext(
        video.path.name,
        video.poses.scorer,
        video.background.picture(motion.xy_px, size_wh, motion.length_px / 2),
        size_wh,
        options.zones,
        _middle_px_per_mm(video.ground, size_wh) if video.ground else None,
        video.ground is not None and video.ground.is_scale,
        options.centre or "the animal's centre, the middle of its outline",
    )
    centre_px, time_s = centre(motion.xy_px, motion.keypoint), video.poses.time_s
    next(iter(paths.values()))[0].parent.mkdir(exist_ok=True)
    with plot_style():
        figures = {
            "trajectory": plot_trajectory(context, centre_px, time_s),
            "occupancy": plot_occupancy(context, centre_px, durations(time_s)),
            "speed": plot_speed(context, time_s, speed(centre(xy, motion.keypoint), time_s), f"{unit}/s"),
        }
        for plot, figure in figures.items():
            for path in paths[plot]:
                write_plot(path, figure)


def _middle_px_per_mm(ground: Ground, size_wh: tuple[int, int]) -> float | None:
    """Scale along a row, in the middle of the picture."""
    (w, h), half_px = size_wh, size_wh[0] / 20
    ends_mm = ground.to_mm([[w / 2 - half_px, h / 2], [w / 2 + half_px, h / 2]])
    length_mm = float(np.linalg.norm(ends_mm[1] - ends_mm[0]))
    return 2 * half_px / length_mm if length_mm > 0 else None
