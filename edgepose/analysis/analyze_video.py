"""Finds the poses in all frames of a video file, and writes them and what is made of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgepose.analysis.background import Background
from edgepose.analysis.motion import AnalyzedVideo, MotionOptions, ground_of, motion_writers
from edgepose.analysis.output_files import OutputFiles
from edgepose.camera.video_file import VideoFileSource
from edgepose.errors import EdgeposeError
from edgepose.inference.viewer import Viewer
from edgepose.system.progress import progress_bar
from edgepose.tables.pose_table import PoseTable, write_table
from edgepose.types import F64


@dataclass(slots=True)
class AnalysisReport:
    """The outcome for one video.

    Attributes:
        frames: the number of its frames.
        seconds: how long the analysis took.
        written: the results that could be written.
        unseen: the keypoints whose likelihood stayed below `MotionOptions.p_cutoff` in every frame.
        failures: why other results could not be written.
    """

    frames: int
    seconds: float
    written: list[Path]
    unseen: list[str]
    failures: list[EdgeposeError] = field(default_factory=list)


def analyze_video(viewer: Viewer, path: Path, files: OutputFiles, options: MotionOptions) -> AnalysisReport:
    """Writes the table of poses, then whatever else is wanted; each file appears when it is complete.

    A plot or overlay that cannot be written costs no other result: it is in the report. Raises EdgeposeError where
    there is no table.
    """
    start = time.monotonic()
    video = _find_poses(viewer, path, options)
    write_table(files.table, video.poses)
    names, likelihood = viewer.card.skeleton.keypoints, video.poses.values[..., 2]
    unseen = [name for k, name in enumerate(names) if not (likelihood[:, k] >= options.p_cutoff).any()]
    report = AnalysisReport(len(video.poses.frames), 0.0, [files.table], unseen)
    for paths, write in motion_writers(video, files, options):
        try:
            write()
            report.written += paths
        except EdgeposeError as exc:
            report.failures.append(exc)
        except OSError as exc:
            report.failures.append(EdgeposeError(f"{paths[0]}: cannot write ({exc.strerror or exc})"))
    report.seconds = time.monotonic() - start
    return report


def _find_poses(viewer: Viewer, path: Path, options: MotionOptions) -> AnalyzedVideo:
    rows: list[F64] = []
    times_s: list[float] = []
    frames: list[int] = []
    background = Background()
    video = VideoFileSource(path, rate_hz=options.rate_hz)
    try:
        ground = ground_of(options, video.size_wh)
        with progress_bar() as progress:
            task = progress.add_task(path.name, total=video.frame_count or None)
            for frame in video:
                pose = viewer.estimate(frame)
                background.add(len(rows), frame.image)
                frames.append(frame.index)
                times_s.append(video.time_s)
                rows.append(np.column_stack([pose.xy_px, pose.score]))
                progress.advance(task)
    finally:
        video.close()
    values = np.stack(rows).astype(np.float64)
    poses = PoseTable(
        values,
        tuple(frames),
        viewer.card.skeleton,
        viewer.model_id,
        path.name,
        video.size_wh,
        np.array(times_s),
        ground.to_mm(values[..., :2]) if ground else None,
    )
    return AnalyzedVideo(path, background, poses, ground)
