"""Writes DeepLabCut projects: `config.yaml`, images, and the label files beside the images of each video.

The layout is in `project_files.py`. Files appear only when they are complete.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.system.atomic_files import replace_files, write_durably
from edgepose.types import U8, Skeleton
from edgepose_train.labels.deeplabcut import load_config, parse_config
from edgepose_train.labels.label_cells import new_cells
from edgepose_train.labels.label_table import table_writers
from edgepose_train.labels.project_files import CONFIG, LABELS, staging


def create_project(
    project: Path, task: str, scorer: str, skeleton: Skeleton, videos: Mapping[str, tuple[int, int]]
) -> None:
    """Makes a folder with a `config.yaml` that DeepLabCut and napari-deeplabcut open, and an empty `labeled-data`.

    Args:
        project: the folder.
        task: the name of the project.
        scorer: who labels.
        skeleton: body parts and edges.
        videos: frame size (w, h) by path; DeepLabCut reads the labels in `labeled-data/<stem>` for these only.

    Raises:
        DatasetError: the folder has a `config.yaml` already.
    """
    if (project / CONFIG).exists():
        raise DatasetError(f"{project / CONFIG}: is already there; give another folder")
    (project / LABELS).mkdir(parents=True, exist_ok=True)
    config = _config(project.absolute(), task, scorer, skeleton, videos)
    write_durably(project / CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode("utf-8"))


def _config(
    project: Path, task: str, scorer: str, skeleton: Skeleton, videos: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """Returns the keys and defaults of a new DeepLabCut 3 project (deeplabcut/create_project/new.py)."""
    today = dt.datetime.now(tz=dt.UTC).astimezone()
    return {
        "Task": task,
        "scorer": scorer,
        "date": f"{today:%b}{today.day}",
        "multianimalproject": False,
        "identity": None,
        "project_path": str(project),
        "engine": "pytorch",
        "video_sets": {path: _crop(size_wh) for path, size_wh in videos.items()},
        "bodyparts": list(skeleton.keypoints),
        "start": 0,
        "stop": 1,
        "numframes2pick": 20,
        "skeleton": [list(edge) for edge in skeleton.edges],
        "skeleton_color": "black",
        "pcutoff": 0.6,
        "dotsize": 12,
        "alphavalue": 0.7,
        "colormap": "rainbow",
        "TrainingFraction": [0.95],
        "iteration": 0,
        "default_net_type": "resnet_50",
        "default_augmenter": "default",
        "snapshotindex": -1,
        "detector_snapshotindex": -1,
        "batch_size": 8,
        "detector_batch_size": 1,
        "cropping": False,
        "x1": 0,
        "x2": 640,
        "y1": 277,
        "y2": 624,
        "corner2move2": [50, 50],
        "move2corner": True,
    }


def _crop(size_wh: tuple[int, int]) -> dict[str, str]:
    return {"crop": f"0, {size_wh[0]}, 0, {size_wh[1]}"}


def add_videos(project: Path, videos: Mapping[str, tuple[int, int]]) -> None:
    """Adds the videos that `video_sets` lacks. Every other line of `config.yaml` stays as it is.

    Raises:
        DatasetError: the file is not laid out as DeepLabCut writes it.
    """
    path = project / CONFIG
    before = read_config(project)
    text = path.read_text("utf-8")
    known = before.get("video_sets") or {}
    new = {name: _crop(size) for name, size in videos.items() if name not in known}
    if not new:
        return
    found = re.search(r"^video_sets:[ ]*(\{\}|''|\"\")?[ ]*\n(?P<indent>[ ]+)?", text, re.MULTILINE)
    indent = (found["indent"] if found and known else None) or "  "
    lines = yaml.safe_dump(new, sort_keys=False, allow_unicode=True, width=math.inf).splitlines()
    added = "".join(f"{indent}{line}\n" for line in lines)
    start, end = found.span() if found else (0, 0)
    text = f"{text[:start]}video_sets:\n{added}{found['indent'] or '' if found else ''}{text[end:]}"
    try:
        fine = parse_config(text, path) == before | {"video_sets": known | new}
    except DatasetError:
        fine = False
    if not fine:
        raise DatasetError(f"{path}: cannot add videos to its video_sets; add {', '.join(new)} by hand")
    write_durably(path, text.encode("utf-8"))


def read_config(project: Path) -> dict[str, Any]:
    """Reads the `config.yaml` of a project. Raises DatasetError."""
    path = project / CONFIG
    data = load_config(path)
    if not isinstance(data, dict) or "bodyparts" not in data:
        raise DatasetError(f"{path}: names no bodyparts; not the config.yaml of a DeepLabCut project")
    return data


def image_name(index: int, frame_count: int) -> str:
    """Returns a name such as `img0042.png`, with as many digits as DeepLabCut uses: ceil(log10(number of frames))."""
    digits = math.ceil(math.log10(max(2, frame_count)))
    return f"img{index:0{digits}d}.png"


@contextmanager
def new_frames(project: Path, video: str) -> Iterator[Callable[[str, U8], None]]:
    """Yields a function that takes name and BGR image of each new frame of a video.

    All frames appear in the project when the block ends, and none when it fails.

    Raises:
        DatasetError: the project has another picture with that name.
    """
    folder = project / LABELS / video
    with staging(folder) as staged:

        def write(name: str, image: U8) -> None:
            if (folder / name).exists():
                raise DatasetError(f"{folder / name}: is already there, with another picture; rename the video")
            (staged / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())

        yield write
        if folder.exists():
            for image in sorted(staged.iterdir()):
                image.replace(folder / image.name)
        else:
            staged.replace(folder)


def write_labels(
    folder: Path, scorer: str, names: Sequence[str], images: Sequence[str], xy_px: NDArray[np.float64]
) -> None:
    """Writes `CollectedData_<scorer>.h5` and `.csv`.

    Args:
        folder: `labeled-data/<video>`.
        scorer: who labelled.
        names: the K keypoints.
        images: N file names in the folder.
        xy_px: (N, K, 2), NaN where a keypoint is not labelled.

    Raises:
        OSError: nothing was written.
    """
    cells = new_cells(scorer, names, coords=2).with_rows(folder.name, names, dict(zip(images, xy_px, strict=True)))
    replace_files(table_writers(folder / f"CollectedData_{scorer}", cells))
