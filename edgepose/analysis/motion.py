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
from edgepose.config.schema import GeometryConfig
from edgepose.geometry.ground import Ground
from edgepose.pose.animal_size import animal_side_px
from edgepose.pose.kinematics import centre, measures, speed, zone_times
from edgepose.pose.smoothing import Method, smooth
from edgepose.system.pose_tables import PoseTable, write_table
from edgepose.system.table_files import write_columns
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
    """

    p_cutoff: float
    method: Method | None
    max_gap_s: float
    trails_s: float | None
    px_per_cm: float | None
    zones: dict[str, F64]
    geometry: GeometryConfig | None


@dataclass(frozen=True, slots=True)
class AnalyzedVideo:
    """A video with its poses.

    Attributes:
        path: the file.
        fps: frames a second, as the file says.
        size_wh: size of its frames.
        background: grey frames, of which the picture of the empty scene is made.
        poses: the poses of all frames, as the model gave them.
        ground: converts pixels to millimetres; None where the configuration has no geometry.
    """

    path: Path
    fps: float
    size_wh: tuple[int, int]
    background: Background
    poses: PoseTable
    ground: Ground | None = None


@dataclass(frozen=True, slots=True)
class _Motion:
    """xy_px: (N, K, 2), NaN where a keypoint was not seen. time_s: (N,). length_px: of the animal."""

    xy_px: F64
    time_s: F64
    length_px: float


def motion_writers(
    video: AnalyzedVideo, files: OutputFiles, options: MotionOptions
) -> Iterator[tuple[list[Path], Callable[[], None]]]:
    """Yields, for each wanted kind of result, its files and the function that writes them. It raises EdgeposeError.

    The functions do not depend on each other: where one fails, the others can still be called.
    """
    motion = _motion(video, options)
    poses = video.poses
    if options.method is not None:
        poses = replace(poses, values=np.concatenate([motion.xy_px, poses.values[..., 2:]], axis=2))
    if (path := files.smoothed) is not None:
        yield [path], partial(write_table, path, poses)
    if (path := files.kinematics) is not None:
        yield [path], partial(_write_kinematics, path, video, motion, options)
    if (path := files.zones) is not None:
        yield [path], partial(write_columns, path, zone_times(centre(motion.xy_px), motion.time_s, options.zones))
    if files.plots:
        paths = [path for plot in files.plots.values() for path in plot]
        yield paths, partial(_write_plots, files.plots, video, motion, options)
    if (path := files.overlay) is not None:
        trails_px = None if options.trails_s is None else motion.xy_px
        reach = round((options.trails_s or 0) * video.fps)
        yield [path], partial(draw_overlay, video.path, path, poses, trails_px, reach)


def _motion(video: AnalyzedVideo, options: MotionOptions) -> _Motion:
    values = video.poses.values
    time_s = np.asarray(video.poses.frames, np.float64) / video.fps
    xy_px = np.where(values[..., 2:] >= options.p_cutoff, values[..., :2], np.nan)
    length_px = animal_side_px(xy_px)
    if not length_px > 1:
        length_px = _ANIMAL_SHARE * max(video.size_wh)
    if options.method is not None:
        xy_px = smooth(xy_px, time_s, options.method, options.max_gap_s, length_px)
    return _Motion(xy_px, time_s, length_px)


def _in_units(video: AnalyzedVideo, xy_px: F64, options: MotionOptions) -> tuple[F64, float | None]:
    """The points in pixels or in mm on the ground, and how much of that is a centimetre; None where it is not known."""
    return (xy_px, options.px_per_cm) if video.ground is None else (video.ground.to_mm(xy_px), 10.0)


def _write_kinematics(path: Path, video: AnalyzedVideo, motion: _Motion, options: MotionOptions) -> None:
    xy, per_cm = _in_units(video, motion.xy_px, options)
    found = measures(xy, motion.time_s, video.poses.skeleton, per_cm)
    frames = np.asarray(video.poses.frames, np.int64)
    write_columns(path, {"frame": frames, "time_s": motion.time_s, **found})


def _write_plots(
    paths: dict[str, tuple[Path, ...]], video: AnalyzedVideo, motion: _Motion, options: MotionOptions
) -> None:
    xy, per_cm = _in_units(video, motion.xy_px, options)
    context = PlotContext(
        video.path.name,
        video.poses.scorer,
        video.background.picture(motion.xy_px, video.size_wh, motion.length_px / 2),
        video.size_wh,
        options.zones,
        options.px_per_cm if video.ground is None else _middle_px_per_cm(video.ground, video.size_wh),
    )
    centre_px, time_s = centre(motion.xy_px), motion.time_s
    speeds, unit = speed(centre(xy), time_s) / (per_cm or 1), "px/s" if per_cm is None else "cm/s"
    next(iter(paths.values()))[0].parent.mkdir(exist_ok=True)
    with plot_style():
        figures = {
            "trajectory": plot_trajectory(context, centre_px, time_s),
            "occupancy": plot_occupancy(context, centre_px, 1 / video.fps),
            "speed": plot_speed(context, time_s, speeds, unit),
        }
        for plot, figure in figures.items():
            for path in paths[plot]:
                write_plot(path, figure)


def _middle_px_per_cm(ground: Ground, size_wh: tuple[int, int]) -> float | None:
    """Scale along a row, in the middle of the picture."""
    (w, h), half_px = size_wh, size_wh[0] / 20
    ends_mm = ground.to_mm([[w / 2 - half_px, h / 2], [w / 2 + half_px, h / 2]])
    length_mm = float(np.linalg.norm(ends_mm[1] - ends_mm[0]))
    return 20 * half_px / length_mm if length_mm > 0 else None
