"""What `extract` and `suggest` share: videos that open, and the project that gets their frames."""

from __future__ import annotations

import argparse
import getpass
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from edgepose.errors import CameraError, UsageError
from edgepose.types import Skeleton
from edgepose.video.frames import Video, open_video
from edgepose_train.labels.deeplabcut_writer import add_videos, create_project
from edgepose_train.labels.project_files import CONFIG


def positive(text: str) -> int:
    """For argparse: a number of frames."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1 up")
    return int(text)


def is_project(folder: Path) -> bool:
    """False for a folder that is yet to be made. Raises UsageError for one that holds something else."""
    try:
        if (folder / CONFIG).is_file():
            return True
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"-o {folder}: is neither a DeepLabCut project nor an empty folder; give another one")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"-o {folder}: cannot use this folder ({exc.strerror}); give another one") from None
    return False


def open_videos(paths: Sequence[Path]) -> tuple[list[Video], int]:
    """The videos that can be read, and the exit status: the others are told on stderr.

    Raises UsageError where two would share a folder of frames, CameraError where none can be read.
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


def make_or_extend(folder: Path, skeleton: Skeleton, scorer: str | None, videos: Sequence[Video]) -> None:
    """A new project, or the videos added to the one that is there."""
    sizes = {str(video.path.resolve()): video.size_wh for video in videos}
    if is_project(folder):
        add_videos(folder, sizes)
    else:
        create_project(folder, folder.resolve().name, scorer or _user_name(), skeleton, sizes)


def _user_name() -> str:
    """As part of file names."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may run as a user without a name
        name = ""
    return re.sub(r"[^\w-]", "", name) or "labeller"
