"""Writes a video with the poses drawn into it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepose.errors import CameraError, EdgeposeError
from edgepose.pose.drawing import (
    bgr_colours,
    draw_marker,
    draw_names,
    draw_pose,
    draw_text,
    draw_trails,
    text_width,
)
from edgepose.system.atomic_files import replace_files
from edgepose.system.progress import progress_bar
from edgepose.tables.pose_table import PoseTable
from edgepose.types import F64, U8, Pose, Skeleton
from edgepose.video.h264 import FaststartMp4
from edgepose.video.video_reader import VideoReader

_MAX_LEGEND_SHARE = 0.5  # of the frame's height; names that need more are left out


def draw_overlay(video: Path, out: Path, poses: PoseTable, trails_px: F64 | None, trails_s: float) -> None:
    """Reads the video once more and draws what is known about each of its frames.

    Below the picture, where it covers nothing, is a strip with the number and time of the frame, the score, and the
    legend. The frames keep their own times. The file gets its name when it is complete.

    Args:
        video: the video that was analyzed.
        out: the file to write, an .mp4.
        poses: of all N frames; a keypoint whose place is NaN is left out.
        trails_px: (N, K, 2) where the keypoints were; None draws no trails.
        trails_s: the trails reach so many seconds back and ahead.

    Raises:
        CameraError: the video has fewer than N frames now.
        EdgeposeError: the file cannot be written.
    """
    try:
        replace_files({out: lambda temporary: _draw(video, temporary, poses, trails_px, trails_s)})
    except OSError as exc:
        raise EdgeposeError(f"{out}: cannot write ({exc.strerror or exc}); make room, or choose another file") from None


def _draw(video: Path, out: Path, poses: PoseTable, trails_px: F64 | None, trails_s: float) -> None:
    source, skeleton, values = VideoReader(video), poses.skeleton, poses.values.astype(np.float32)
    colours = bgr_colours(len(skeleton.keypoints))
    strip = _Strip(skeleton, source.size_wh)
    time_s, reach_s = poses.time_s, trails_s + 1e-6  # a frame that is just as far away is still shown
    starts, ends = np.searchsorted(time_s, time_s - reach_s), np.searchsorted(time_s, time_s + reach_s)
    written = None
    try:
        written = FaststartMp4(out, (source.size_wh[0], source.size_wh[1] + strip.height))
        with progress_bar() as progress:
            drawn = 0
            for here, image in progress.track(
                zip(values, source, strict=False), len(values), description=f"{video.name}: overlay"
            ):
                pose = Pose(here[:, :2], here[:, 2])
                if trails_px is not None:
                    start = int(starts[drawn])
                    draw_trails(image, trails_px[start : ends[drawn]], drawn - start, colours)
                draw_pose(image, pose, skeleton)
                draw_names(image, pose, skeleton, strip.text_px)
                time_us = round((time_s[drawn] - time_s[0]) * 1e6)
                written.add(np.vstack([image, strip.picture(poses.frames[drawn], time_us, pose)]), time_us)
                drawn += 1
        if drawn < len(values):
            raise CameraError(f"{video}: changed while it was analyzed; analyze it again for its overlay")
    finally:
        source.close()
        if written is not None:
            written.close()


class _Strip:
    """Writes below each frame its number, time and score, and what the colours mean.

    Attributes:
        text_px: height of a capital letter.
        height: of the strip, pixels.
    """

    def __init__(self, skeleton: Skeleton, size_wh: tuple[int, int]) -> None:
        self.text_px = max(9, round(min(size_wh) / 45))
        self._line = 2 * self.text_px
        width, radius = size_wh[0], max(3, self.text_px // 2)
        x, y, margin = self.text_px, self._line, self.text_px
        places = []
        for name in skeleton.keypoints:
            needed = 2 * radius + margin // 2 + text_width(name, self.text_px)
            if x + needed > width and x > margin:
                x, y = margin, y + self._line
            places.append((name, x, y))
            x += needed + 2 * margin
        lines = min(y // self._line, int(_MAX_LEGEND_SHARE * size_wh[1]) // self._line)
        self.height = self._line * (lines + 1) + margin // 2
        self._legend = np.full((self.height, width, 3), 24, np.uint8)
        for k, (name, left, top) in enumerate(places):
            middle = top + self._line // 2
            draw_marker(self._legend, np.array([left + radius, middle], float), k, radius)
            corner = (left + 2 * radius + margin // 2, middle + self.text_px // 2)
            draw_text(self._legend, name, corner, self.text_px)

    def picture(self, frame: int, time_us: int, pose: Pose) -> U8:
        """The strip below one frame, BGR (height, W, 3)."""
        picture = self._legend.copy()
        minutes, seconds = divmod(time_us / 1e6, 60)
        score = float(np.nanmean(pose.score)) if np.isfinite(pose.score).any() else float("nan")
        text = f"frame {frame}   {int(minutes):02}:{seconds:06.3f}   score {score:.2f}"
        draw_text(picture, text, (self.text_px, self._line - self.text_px // 2), self.text_px)
        return picture
