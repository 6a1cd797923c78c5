"""Has the steps that `extract` and `suggest` share: they read videos, and write frames into a project."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from edgepose.errors import CameraError, UsageError
from edgepose.system.progress import progress_bar
from edgepose.types import Skeleton
from edgepose.video.frames import Video, open_video
from edgepose_train.labels.deeplabcut_writer import add_videos, create_project
from edgepose_train.labels.project_files import CONFIG

NOTHING_TO_LABEL = "no frame of the videos is worth labelling: all are dark, blurred, or in the project already"
T = TypeVar("T")


def positive(text: str) -> int:
    """Reads a number of frames. Use it as the `type` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1 up")
    return int(text)


def add_video_arguments(parser: argparse.ArgumentParser, output: str, frames: int) -> None:
    """Adds the videos, `-o, --output` and `-n, --frames`. output: help for the project. frames: the default number."""
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="a video file that OpenCV can read")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PROJECT", help=output)
    text = "number of frames, from all videos together (default: %(default)s)"
    parser.add_argument("-n", "--frames", type=positive, default=frames, metavar="N", help=text)


def is_project(folder: Path) -> bool:
    """Returns False for a folder that does not exist yet, or is empty.

    Raises:
        UsageError: the folder holds something else, or cannot be written to.
    """
    try:
        if (folder / CONFIG).is_file():
            return True
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"-o {folder}: is neither a DeepLabCut project nor an empty folder; give another one")
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as exc:
        raise UsageError(f"-o {folder}: cannot use this folder ({exc.strerror}); give another one") from None
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise UsageError(f"-o {folder}: cannot use this folder (nothing can be written to {nearest}); give another one")
    return False


def open_videos(paths: Sequence[Path]) -> tuple[list[Video], int]:
    """Opens the videos that can be read. Each of the others is reported on stderr.

    Returns:
        The videos, and the exit status of the command: 0 when all can be read.

    Raises:
        UsageError: two videos have one name, so that their frames would share a folder.
        CameraError: none of the videos can be read.
    """
    stems = [path.stem for path in paths]
    if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise UsageError(f"two videos are called {twice}, and their frames would share a folder; rename one of them")
    videos, status = [], 0
    for path in paths:
        try:
            videos.append(open_video(path))
        except CameraError as exc:
            if len(paths) == 1:
                raise
            print(f"edgepose-train: {exc}", file=sys.stderr)
            status = exc.exit_code
    if not videos:
        raise CameraError("none of the videos can be read")
    return videos, status


def read_videos(
    videos: Sequence[Video], frames: Callable[[int], Sequence[int]], read: Callable[[Video, Callable[[], None]], T]
) -> list[T]:
    """Reads the videos one by one, and shows the progress of all.

    Args:
        videos: the videos.
        frames: returns the numbers of the frames that are read of a video with this many frames.
        read: reads a video, and calls its second argument after each frame.

    Returns:
        What `read` returns for each video.
    """
    with progress_bar() as progress:
        tasks = [progress.add_task(video.path.name, total=len(frames(video.count))) for video in videos]
        return [read(video, partial(progress.advance, task)) for video, task in zip(videos, tasks, strict=True)]


def make_or_extend(folder: Path, skeleton: Skeleton, scorer: str | None, videos: Sequence[Video]) -> None:
    """Makes a new project, or adds the videos to the project that exists."""
    sizes_wh = {str(video.path.resolve()): video.size_wh for video in videos}
    if is_project(folder):
        add_videos(folder, sizes_wh)
    else:
        create_project(folder, folder.resolve().name, scorer or _user_name(), skeleton, sizes_wh)


def _user_name() -> str:
    """Returns the user's name without the characters that a file name should not have."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may run as a user without a name
        name = ""
    return re.sub(r"[^\w-]", "", name) or "labeller"
