"""Writes the video with the poses drawn in: while they are found, or afterwards, when also the trails are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from edgepose.camera.video_file import VideoFileSource
from edgepose.errors import CameraError, EdgeposeError
from edgepose.pose.drawing import draw_pose, draw_trails, keypoint_colours
from edgepose.system.pose_tables import PoseTable
from edgepose.system.progress import progress_bar
from edgepose.types import F64, U8, Pose


def draw_overlay(video: Path, out: Path, poses: PoseTable, trails: F64 | None, reach: int) -> None:
    """Reads the video once more and draws what is known about each of its frames.

    A keypoint whose place is NaN is left out. trails: (N, K, 2), drawn for `reach` frames either way; None draws none.
    Raises CameraError where the video has less than N frames now.
    """
    source, skeleton, values = VideoFileSource(video), poses.skeleton, poses.values
    colours = keypoint_colours(len(skeleton.keypoints))
    try:
        with progress_bar() as progress, video_writer(out, source.fps, source.size_wh) as write:
            task = progress.add_task(f"{video.name}: overlay", total=len(values))
            drawn = 0
            for here, frame in zip(values.astype(np.float32), source, strict=False):
                if trails is not None:
                    start = max(0, drawn - reach)
                    draw_trails(frame.image, trails[start : drawn + reach + 1], drawn - start, colours)
                draw_pose(frame.image, Pose(here[:, :2], here[:, 2]), skeleton)
                write(frame.image)
                progress.advance(task)
                drawn += 1
            if drawn < len(values):
                raise CameraError(f"{video}: changed while it was analyzed; analyze it again for its overlay")
    finally:
        source.close()


@contextmanager
def video_writer(path: Path, fps: float, size_wh: tuple[int, int]) -> Iterator[Callable[[U8], None]]:
    """A function that takes BGR frames. The file gets its name when all frames are in it."""
    temporary = path.with_name(f".{path.stem}.part.mp4")
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, size_wh)
    count = 0

    def write(image: U8) -> None:
        nonlocal count
        writer.write(image)
        count += 1

    try:
        if not writer.isOpened():
            raise EdgeposeError(f"{path}: this OpenCV cannot write an .mp4 there; leave out --overlay")
        yield write
        writer.release()
        # OpenCV says nothing when the disk is full.
        if cv2.VideoCapture(str(temporary)).get(cv2.CAP_PROP_FRAME_COUNT) != count:
            raise EdgeposeError(f"{path}: not all of its {count} frames could be written; make room on the disk")
        temporary.replace(path)
    finally:
        writer.release()
        temporary.unlink(missing_ok=True)
