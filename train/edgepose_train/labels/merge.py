"""Merges the labels of one data set into a DeepLabCut project.

What the project has stays, every digit is kept, and a merge that is interrupted leaves no video half done.
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.system.atomic_files import replace_files, write_durably
from edgepose_train.labels.dataset import Dataset, LabelledImage
from edgepose_train.labels.deeplabcut import has_labels, video_names
from edgepose_train.labels.deeplabcut_writer import add_videos, read_config
from edgepose_train.labels.frame_identity import frame_identity
from edgepose_train.labels.images import image_file, read_image
from edgepose_train.labels.label_cells import Cells, new_cells
from edgepose_train.labels.label_table import read_label_table, table_writers
from edgepose_train.labels.project_files import LABELS
from edgepose_train.labels.reading import read_dataset

BACKUPS = "label-backups"
_EQUAL_PX = 1e-6


@dataclass
class Merged:
    """The images of the source, as `video/image`, by what happened to them.

    Attributes:
        added: the project did not have them.
        equal: the project has them with the same labels.
        conflicts: the project has them with other labels.
        clashes: left out, because the project has another picture with that name.
        backup: the folder of the label files as they were before.
    """

    added: list[str] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    clashes: list[str] = field(default_factory=list)
    backup: Path | None = None


def merge(source: Dataset, project: Path, *, overwrite: bool, on_image: Callable[[], None] = lambda: None) -> Merged:
    """Adds the labels of `source` to the project.

    Images are copied first, which changes nothing as long as no label names them. Then all label files are written,
    and only then renamed. A merge that was killed before that has changed no label, and the same call completes it.

    Args:
        source: labelled images of any format.
        project: folder of the project.
        overwrite: where both label a frame, take the labels of the source.
        on_image: called for each image.

    Raises:
        DatasetError: the folder is no project, or its body parts are others.
    """
    config = read_config(project)
    _check(source, project, config["bodyparts"])
    known = _known(project, source.skeleton.keypoints)
    merged = Merged()
    labels: dict[str, dict[str, NDArray[np.float64]]] = {}
    for image in source.images:
        on_image()
        frame, identity = PurePosixPath(image.video, image_file(image.path)[0]), frame_identity(image.path)
        if identity in known:
            frame, xy_px = known[identity]
            is_equal = np.allclose(xy_px, image.xy_px, rtol=0, atol=_EQUAL_PX, equal_nan=True)
            (merged.equal if is_equal else merged.conflicts).append(str(frame))
            if is_equal or not overwrite:
                continue
        elif not _copy(image, project / LABELS / frame, identity):
            merged.clashes.append(str(frame))
            continue
        else:
            merged.added.append(str(frame))
        labels.setdefault(str(frame.parent), {})[frame.name] = image.xy_px
    if labels:
        merged.backup = _install(project, str(config.get("scorer") or ""), source.skeleton.keypoints, labels)
    return merged


def _check(source: Dataset, project: Path, bodyparts: object) -> None:
    names = source.skeleton.keypoints
    if not isinstance(bodyparts, list):
        raise DatasetError(f"{project}: a project of several animals; edgepose follows one")
    if set(map(str, bodyparts)) != set(names):
        raise DatasetError(
            f"{project}: its body parts are {', '.join(map(str, bodyparts))}, those to be merged {', '.join(names)}"
        )
    if has_labels(project) and not list(project.glob(f"{LABELS}/*/CollectedData*")):
        raise DatasetError(f"{project}: keeps the labels of all videos in one file; edgepose-train convert it first")


def _known(project: Path, names: Sequence[str]) -> dict[str, tuple[PurePosixPath, NDArray[np.float64]]]:
    """Returns `video/image` and labels (K, 2) of every labelled frame of the project, by its identity."""
    if not has_labels(project):
        return {}
    dataset = read_dataset(project, keep_unlabelled=True)
    order = [dataset.skeleton.keypoints.index(name) for name in names]
    images = [image for image in (*dataset.images, *dataset.unchecked) if np.isfinite(image.xy_px).any()]
    with ThreadPoolExecutor() as pool:
        identities = pool.map(lambda image: frame_identity(image.path), images)
        return {
            identity: (PurePosixPath(image.path.parent.name, image.path.name), image.xy_px[order])
            for identity, image in zip(identities, images, strict=True)
        }


def _copy(image: LabelledImage, target: Path, identity: str) -> bool:
    """Returns False where the project has another picture with that name."""
    if target.exists():
        return frame_identity(target) == identity
    target.parent.mkdir(parents=True, exist_ok=True)
    write_durably(target, image_file(image.path)[1])
    return True


def _install(
    project: Path, scorer: str, names: Sequence[str], labels: dict[str, dict[str, NDArray[np.float64]]]
) -> Path | None:
    """Writes the label files. The old ones are copied to a backup folder, which is returned."""
    backup = project / BACKUPS / f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%dT%H-%M-%S.%f}"
    stem, template = _layout(project, scorer, names)
    writers: dict[Path, Callable[[Path], None]] = {}
    for video, rows in labels.items():
        folder = project / LABELS / video
        # Where both exist the CSV counts, because people edit it.
        old = [path for path in (folder / f"{stem}.csv", folder / f"{stem}.h5") if path.is_file()]
        cells = read_label_table(old[0]).cells if old else template
        for path in old:
            (backup / video).mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, backup / video)
        writers |= table_writers(folder / stem, cells.with_rows(video, names, rows))
    replace_files(writers)
    return backup if backup.exists() else None


def _layout(project: Path, scorer: str, names: Sequence[str]) -> tuple[str, Cells]:
    """Returns the name of the project's label files without its ending, and a table without rows in their layout.

    In files with another scorer's name, the new labels would hide the old ones.
    """
    found = sorted(path for path in project.glob(f"{LABELS}/*/CollectedData_*") if path.suffix in {".csv", ".h5"})
    own = [path for path in found if path.stem == f"CollectedData_{scorer}"] or found
    if not own:
        return f"CollectedData_{scorer}", new_cells(scorer, names, coords=2)
    if len({path.stem for path in own}) > 1:
        raise DatasetError(f"{project}: has labels of several people; put one of them as scorer into its config.yaml")
    return own[0].stem, replace(read_label_table(own[0]).cells, rows=[])


def add_video_paths(source: Path, project: Path, images: Sequence[LabelledImage]) -> None:
    """Copies what the project's `video_sets` lacks of the images' videos from the source's `config.yaml`."""
    first = {image.video: image for image in reversed(images)}
    lacking = first.keys() - video_names(read_config(project))
    given = read_config(source).get("video_sets")
    found = {}
    for name, entry in (given if isinstance(given, dict) else {}).items():
        if (video := PureWindowsPath(str(name)).stem) in lacking:
            height, width = read_image(first[video].path).shape[:2]
            found[str(name)] = _cropped_wh(entry) or (width, height)
    add_videos(project, found)


def _cropped_wh(entry: object) -> tuple[int, int] | None:
    """Returns the right and lower end of an entry's crop `left, right, top, bottom`; None where it has none."""
    numbers = re.findall(r"-?\d+", str(entry.get("crop"))) if isinstance(entry, dict) else []
    return (int(numbers[1]), int(numbers[3])) if len(numbers) == 4 else None
