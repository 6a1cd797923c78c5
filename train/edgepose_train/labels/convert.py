"""Converts one label format into another: DeepLabCut project, SLEAP file, COCO keypoints.

Coordinates are not shifted, because all three put (0, 0) at the centre of the top-left pixel. Nothing that exists is
overwritten, and files appear only when they are complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgepose.errors import EdgeposeError, UsageError
from edgepose.system.progress import progress_bar
from edgepose.system.wording import count, listing
from edgepose_train.labels.coco import write_coco
from edgepose_train.labels.dataset import Dataset, LabelledImage, is_labelled
from edgepose_train.labels.deeplabcut_writer import create_project, write_labels
from edgepose_train.labels.flip_pairs import find_flip_pairs
from edgepose_train.labels.images import holder, image_file, read_image
from edgepose_train.labels.project_files import LABELS, folder_and_ancestors, is_inside, staging
from edgepose_train.labels.reading import read_dataset
from edgepose_train.labels.sleap import write_slp

SCORER = "edgepose"  # where the name of the project does not name one


def convert(source: Path, destination: Path) -> tuple[Dataset, list[str]]:
    """Writes the labels of `source` in another format.

    Args:
        source: any data set that `read_dataset` can read.
        destination: its ending chooses the format. `.json` is COCO, with the images in the folder `…-images` beside
            it; `.slp` refers to the images where they are; `.pkg.slp` holds them. Anything else is the folder of a
            DeepLabCut project, which DeepLabCut names `Task-scorer-YYYY-MM-DD`.

    Returns:
        What was converted, and a line for each thing that the new format cannot hold.

    Raises:
        UsageError: the destination exists already.
        DatasetError: the source cannot be used.
        EdgeposeError: the destination cannot be written.
    """
    write = {".json": _to_coco, ".slp": _to_sleap}.get(destination.suffix.lower(), _to_deeplabcut)
    destination = destination.absolute()
    # The name of a project may contain a dot, but not what looks like the ending of a file.
    if write is _to_deeplabcut and re.fullmatch(r"\.[a-z][a-z0-9]{0,4}", destination.suffix.lower()):
        raise UsageError(f"{destination}: give a .slp, .pkg.slp or .json file, or a folder for a DeepLabCut project")
    _refuse_existing(destination)
    dataset = read_dataset(source, keep_unlabelled=True)
    try:
        with staging(destination) as folder:
            return dataset, write(dataset, destination, folder) + _from_elsewhere(source, dataset)
    except OSError as exc:
        by_hdf5 = re.search("error message = '(.+?)'", str(exc))  # the only useful part of a long text
        why = by_hdf5[1] if by_hdf5 else exc.strerror or exc
        raise EdgeposeError(f"{destination}: cannot write ({why})") from None


def _from_elsewhere(source: Path, dataset: Dataset) -> list[str]:
    """Says which files a SLEAP file has taken from anywhere on this computer, because it names them by whole paths."""
    folder = folder_and_ancestors(source.absolute() if source.is_dir() else source.absolute().parent)[-1]
    files = {holder(image.path) or image.path for image in dataset.images}
    outside = sorted(str(file) for file in files if not is_inside(file, folder))
    if not outside:
        return []
    return [
        f"{count(len(outside), 'file')} from outside {folder}; check that they may be passed on: {listing(outside)}"
    ]


def _refuse_existing(path: Path) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"{path}: is already there; give another name, or move it away")


def _pictures(destination: Path) -> Path:
    """Returns the folder for the images of a label file. A project that they come from has another name."""
    return destination.with_name(re.sub(r"(\.pkg)?\.[^.]*$", "-images", destination.name))


def _copy_images(images: Sequence[LabelledImage], folder: Path) -> list[LabelledImage]:
    """Copies every image to `folder/<video>/<name>`, byte for byte where the frame has a file of its own."""
    copied: list[LabelledImage] = []
    taken: set[Path] = set()
    with progress_bar() as bar:
        for image in bar.track(images, description="copying images"):
            name, data = image_file(image.path)
            video = image.video if image.video.strip(".") else "video"
            path = next(path for path in _free_names(folder / video / name) if path not in taken)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            taken.add(path)
            copied.append(replace(image, path=path))
    return copied


def _free_names(path: Path) -> Iterator[Path]:
    """Yields `img1.png`, `img1-2.png`…, because two folders of one name may hold images of one name."""
    yield path
    number = 2
    while True:
        yield path.with_stem(f"{path.stem}-{number}")
        number += 1


# --- the three formats -------------------------------------------------------------------------------------


def _to_coco(dataset: Dataset, destination: Path, folder: Path) -> list[str]:
    pictures = _pictures(destination)
    _refuse_existing(pictures)
    images = _copy_images(dataset.images, folder / pictures.name)
    write_coco(folder / destination.name, dataset.name, dataset.skeleton, images)
    _rename(folder / pictures.name, pictures)
    _rename(folder / destination.name, destination)
    _, others = _hidden(images)
    if others:
        return [f"{count(others, 'keypoint')} marked as not visible: COCO's tools learn from them, SLEAP does not"]
    return []


def _to_sleap(dataset: Dataset, destination: Path, folder: Path) -> list[str]:
    embed = destination.name.lower().endswith(".pkg.slp")
    loose = [image for image in dataset.images if holder(image.path)]  # frames without a file to refer to
    pictures = _pictures(destination)
    staged = folder / pictures.name
    if loose and not embed:
        _refuse_existing(pictures)
    copied = _copy_images(loose, staged)
    if loose and not embed:
        _rename(staged, pictures)
        copied = [replace(image, path=pictures / image.path.relative_to(staged)) for image in copied]
    files = dict(zip((image.path for image in loose), copied, strict=True))
    images = [files.get(image.path, image) for image in dataset.images]
    write_slp(folder / destination.name, dataset.skeleton, images, embed=embed)
    notes = [] if embed else ["the file refers to the images where they are; a .pkg.slp holds them"]
    _rename(folder / destination.name, destination)
    labels, _ = _hidden(images)
    if labels:
        notes.append(
            f"{count(labels, 'keypoint')} marked as not visible: SLEAP does not learn from them, COCO's tools do"
        )
    return notes


def _to_deeplabcut(dataset: Dataset, destination: Path, folder: Path) -> list[str]:
    named = re.fullmatch(r"(.+)-([^-]+)-\d{4}-\d{2}-\d{2}", destination.name)
    task, scorer = named.groups() if named else (destination.name, SCORER)
    by_video: dict[str, list[LabelledImage]] = {}
    for image in _copy_images(dataset.images, folder / LABELS):
        by_video.setdefault(image.path.parent.name, []).append(image)
    for video, images in by_video.items():
        xy_px = np.stack([image.xy_px for image in images])
        write_labels(folder / LABELS / video, scorer, dataset.skeleton.keypoints, [i.path.name for i in images], xy_px)
    # DeepLabCut finds labels by the names of the videos; the videos need not exist.
    videos = {str(destination / "videos" / f"{video}.mp4"): _size_wh(images[0]) for video, images in by_video.items()}
    _rename(folder, destination)
    create_project(destination, task, scorer, dataset.skeleton, videos)
    return _not_in_deeplabcut(dataset)


def _not_in_deeplabcut(dataset: Dataset) -> list[str]:
    notes = []
    labels, others = _hidden(dataset.images)
    if labels:
        notes.append(
            f"{count(labels, 'keypoint')} marked as not visible: DeepLabCut has no such mark; ordinary labels now"
        )
    if others:
        notes.append(f"{count(others, 'keypoint')} marked as not visible, positions too: not labelled in DeepLabCut")
    by_name = find_flip_pairs(dataset.skeleton.keypoints)
    if lost := [f"{a}/{b}" for a, b in dataset.skeleton.flip_pairs if (a, b) not in by_name and (b, a) not in by_name]:
        notes.append(f"left/right pairs that the names do not show: DeepLabCut cannot hold {', '.join(lost)}")
    return notes


def _hidden(images: Sequence[LabelledImage]) -> tuple[int, int]:
    """Counts the keypoints that are marked as not visible: those that are labels, and those that are not."""
    marked = [
        (is_labelled(image.hidden_px), is_labelled(image.xy_px)) for image in images if image.hidden_px is not None
    ]
    return sum(int((h & x).sum()) for h, x in marked), sum(int((h & ~x).sum()) for h, x in marked)


def _size_wh(image: LabelledImage) -> tuple[int, int]:
    height, width = read_image(image.path).shape[:2]
    return width, height


def _rename(made: Path, destination: Path) -> None:
    if destination.is_dir():  # it is empty, or it would have been refused
        destination.rmdir()
    made.replace(destination)
