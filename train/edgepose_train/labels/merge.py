"""Labels of one data set into a DeepLabCut project: what is there stays, every digit is kept, nothing is half done."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.system.atomic_files import replace_files, write_durably
from edgepose_train.labels.dataset import Dataset, LabelledImage
from edgepose_train.labels.deeplabcut import has_labels
from edgepose_train.labels.deeplabcut_writer import add_videos, read_config
from edgepose_train.labels.images import image_file, pixel_digest, read_image
from edgepose_train.labels.label_cells import Cells, new_cells
from edgepose_train.labels.label_table import read_label_table, write_csv, write_h5
from edgepose_train.labels.project_files import LABELS
from edgepose_train.labels.reading import read_dataset

BACKUPS = "label-backups"
_EQUAL_PX = 1e-6


@dataclass
class Merged:
    """What happened to each image of the source. conflicts: labelled otherwise in the project, as `video/image`.
    clashes: another picture has the name. backup: folder of the label files as they were."""

    added: list[str] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    clashes: list[str] = field(default_factory=list)
    backup: Path | None = None


@dataclass(frozen=True)
class _Place:
    """Where in the project a frame's labels go: `labeled-data/<video>/<name>`."""

    video: str
    name: str

    def __str__(self) -> str:
        return f"{self.video}/{self.name}"


def merge(source: Dataset, project: Path, *, overwrite: bool, tick: Callable[[], None] = lambda: None) -> Merged:
    """overwrite: where both label a frame, take the source's. Raises DatasetError when the project is none, or has
    other body parts.

    Images come first, which changes nothing as long as no label names them; then the label files, all of them written
    and only then renamed. What was killed before that is as it was; the same call again completes it.
    """
    config = read_config(project)
    _check(source, project, config["bodyparts"])
    known = _known(project, source.skeleton.keypoints)
    merged = Merged()
    labels: dict[str, dict[str, NDArray[np.float64]]] = {}
    for image in source.images:
        tick()
        place, mark = _Place(image.video, Path(image_file(image.path)[0]).name), pixel_digest(read_image(image.path))
        if mark in known:
            place, xy = known[mark]
            same = np.allclose(xy, image.xy_px, rtol=0, atol=_EQUAL_PX, equal_nan=True)
            (merged.equal if same else merged.conflicts).append(str(place))
            if same or not overwrite:
                continue
        elif not _copy(image, project / LABELS / place.video / place.name, mark):
            merged.clashes.append(str(place))
            continue
        else:
            merged.added.append(str(place))
        labels.setdefault(place.video, {})[place.name] = image.xy_px
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


def _known(project: Path, names: Sequence[str]) -> dict[bytes, tuple[_Place, NDArray[np.float64]]]:
    """Place and labels of every labelled frame of the project, by its pixels. Keypoints in the order of `names`."""
    if not has_labels(project):
        return {}
    dataset = read_dataset(project, keep_unlabelled=True)
    order = [dataset.skeleton.keypoints.index(name) for name in names]
    images = [image for image in (*dataset.images, *dataset.unchecked) if np.isfinite(image.xy_px).any()]
    with ThreadPoolExecutor() as pool:
        marks = pool.map(lambda image: pixel_digest(read_image(image.path)), images)
        return {
            mark: (_Place(image.path.parent.name, image.path.name), image.xy_px[order])
            for mark, image in zip(marks, images, strict=True)
        }


def _copy(image: LabelledImage, target: Path, mark: bytes) -> bool:
    """False where another picture has the name."""
    if target.exists():
        return pixel_digest(read_image(target)) == mark
    target.parent.mkdir(parents=True, exist_ok=True)
    write_durably(target, image_file(image.path)[1])
    return True


def _install(
    project: Path, scorer: str, names: Sequence[str], labels: dict[str, dict[str, NDArray[np.float64]]]
) -> Path | None:
    """Writes the label files, those that were there going to a backup, whose folder is returned."""
    backup = project / BACKUPS / f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%dT%H-%M-%S.%f}"
    stem, template = _layout(project, scorer, names)
    writers: dict[Path, Callable[[Path], object]] = {}
    for video, rows in labels.items():
        folder = project / LABELS / video
        h5, table = folder / f"{stem}.h5", folder / f"{stem}.csv"
        # The CSV is the one that people edit.
        cells = next((read_label_table(path).cells for path in (table, h5) if path.is_file()), template)
        cells = cells.with_rows(video, names, rows)
        for path in (h5, table):
            if path.is_file():
                (backup / video).mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, backup / video)
        writers[h5] = _writer(write_h5, cells)
        writers[table] = _writer(write_csv, cells)
    replace_files(writers)
    return backup if backup.exists() else None


def _layout(project: Path, scorer: str, names: Sequence[str]) -> tuple[str, Cells]:
    """Stem of the label files, and a table without rows, as the project has them: under another scorer's name the new
    labels would hide the old ones."""
    found = sorted(path for path in project.glob(f"{LABELS}/*/CollectedData_*") if path.suffix in {".csv", ".h5"})
    own = [path for path in found if path.stem == f"CollectedData_{scorer}"] or found
    if not own:
        return f"CollectedData_{scorer}", new_cells(scorer, names, coords=2)
    if len({path.stem for path in own}) > 1:
        raise DatasetError(f"{project}: has labels of several people; put one of them as scorer into its config.yaml")
    return own[0].stem, replace(read_label_table(own[0]).cells, rows=[])


def _writer(write: Callable[[Path, Cells], None], cells: Cells) -> Callable[[Path], None]:
    return lambda path: write(path, cells)


def add_video_paths(source: Path, project: Path, videos: Sequence[str]) -> None:
    """The source's entries of `video_sets` for `videos`, into the project's `config.yaml`, where it has none yet."""
    have = {Path(name).stem for name in read_config(project).get("video_sets") or {}}
    found = {}
    for name, entry in (read_config(source).get("video_sets") or {}).items():
        if Path(name).stem in set(videos) - have:
            _, right, _, bottom = (int(part) for part in str(entry["crop"]).split(","))
            found[name] = (right, bottom)
    add_videos(project, found)
