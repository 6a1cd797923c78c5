"""Reads labelled images of any program: `read_dataset` recognises the format and calls its reader.

Numbers stay as the labelling program wrote them: floats in pixels of the image. An image that cannot be used is left
out and named in `Dataset.problems`; an error is raised only when nothing usable is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.geometry.letterbox import FrameMap
from edgepose.system.progress import progress_bar
from edgepose.system.wording import count, listing
from edgepose_train.labels.coco import read_coco
from edgepose_train.labels.dataset import Dataset, LabelledImage, is_labelled
from edgepose_train.labels.deeplabcut import has_labels, read_project
from edgepose_train.labels.images import keep_frames, read_deep_image
from edgepose_train.labels.label_table import CSV_SUFFIXES, H5_SUFFIXES
from edgepose_train.labels.placeholders import without_placeholders
from edgepose_train.labels.project_files import CONFIG, is_file
from edgepose_train.labels.sleap import read_slp

DATASET_HELP = "DeepLabCut or Lightning Pose project, CSV or H5; SLEAP .slp; COCO .json"
_NOT_LABELS = "this is not a label file (.csv, .h5, .slp, .json); give one, or the folder of a DeepLabCut project"
_READERS = {".slp": read_slp, ".json": read_coco}


def read_dataset(path: Path, *, keep_unlabelled: bool = False) -> Dataset:
    """Reads a data set whose format is recognised.

    Args:
        path: a DeepLabCut or Lightning Pose project folder, its labeled-data folder, or one label file (CSV or H5);
            a SLEAP file (.slp, .pkg.slp); COCO keypoints (.json); or a folder that holds one of these files.
        keep_unlabelled: also return the images in which no keypoint is labelled.

    Raises:
        DatasetError: nothing usable is there; the message is one line.
    """
    try:
        path.stat()
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file or folder") from None
    except OSError as exc:
        raise DatasetError(f"{path}: cannot read ({exc.strerror})") from None
    read, file = _reader(path)
    return _usable(file, read(file), keep_unlabelled)


def _reader(path: Path) -> tuple[Callable[[Path], Dataset], Path]:
    if is_file(path):
        if path.name == CONFIG:
            raise DatasetError(f"{path}: give the folder of the project, which is {path.parent}")
        if path.suffix.lower() not in {*_READERS, *CSV_SUFFIXES, *H5_SUFFIXES}:
            raise DatasetError(f"{path}: {_NOT_LABELS}")
        return _READERS.get(path.suffix.lower(), read_project), path
    if has_labels(path):
        return read_project, path
    # SLEAP, CVAT and Label Studio leave their label files in these places.
    found = sorted(p for pattern in ("*.slp", "*.json", "annotations/*.json") for p in path.glob(pattern))
    if len(found) > 1:
        raise DatasetError(f"{path}: holds several label files ({listing([p.name for p in found])}); give one of them")
    return (_READERS[found[0].suffix], found[0]) if found else (read_project, path)


def _usable(path: Path, dataset: Dataset, keep_unlabelled: bool) -> Dataset:
    problems = list(dataset.problems)
    marked = without_placeholders(_unique(dataset.images, problems), dataset.skeleton.keypoints, problems)
    images = _readable(marked, problems)
    labelled = [image for image in images if np.isfinite(image.xy_px).any()]
    if len(labelled) < len(images) and not keep_unlabelled:
        problems.append(f"{count(len(images) - len(labelled), 'image')} without any label; left out")
    if not labelled and not (keep_unlabelled and dataset.unchecked):
        why = problems[-1] if problems else "it has no labelled rows"
        raise DatasetError(f"{path}: empty data set, no usable image: {why}")
    return replace(dataset, images=tuple(images if keep_unlabelled else labelled), problems=tuple(problems))


def _unique(images: Sequence[LabelledImage], problems: list[str]) -> list[LabelledImage]:
    """Puts the labels of images that are listed several times together; an empty row takes nothing away."""
    found: dict[Path, LabelledImage] = {}
    twice: dict[Path, str] = {}
    for image in images:
        earlier = found.get(image.path, image)
        if (is_labelled(image.xy_px) & is_labelled(earlier.xy_px)).any() and earlier is not image:
            twice[image.path] = image.path.name
        found[image.path] = replace(
            image,
            xy_px=_later(earlier.xy_px, image.xy_px),
            hidden_px=earlier.hidden_px if image.hidden_px is None else _later(earlier.hidden_px, image.hidden_px),
        )
    if twice:
        named = listing(list(twice.values()))
        problems.append(f"{count(len(twice), 'image')} labelled twice; the last labels are taken: {named}")
    return list(found.values())


def _later(earlier: NDArray[np.float64] | None, later: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns (K, 2): the later labels, and the earlier ones of keypoints that are not labelled later."""
    return later if earlier is None else np.where(is_labelled(later)[:, None], later, earlier)


def _readable(images: Sequence[LabelledImage], problems: list[str]) -> list[LabelledImage]:
    """Decodes every image once, because only decoding finds a truncated file, and training must not stop at one."""
    problems += keep_frames(image.path for image in images)
    with ThreadPoolExecutor() as pool, progress_bar() as bar:
        read = list(bar.track(pool.map(_size_and_bits, images), len(images), description="reading images"))
    if bad := [f"{image.video}/{image.path.name}" for image, found in zip(images, read, strict=True) if not found]:
        problems.append(f"{count(len(bad), 'image file')} damaged or not an image: {listing(bad)}")
    good = [(image, *found) for image, found in zip(images, read, strict=True) if found]
    if deep := Counter(bits for _, _, bits in good if bits > 8):
        depths = ", ".join(f"{n} of {bits} bits" for bits, n in sorted(deep.items()))
        problems.append(f"{count(deep.total(), 'image')} with more than 8 bits a pixel, scaled to 8: {depths}")
    return _fitted([image for image, _, _ in good], [size_wh for _, size_wh, _ in good], problems)


def _size_and_bits(image: LabelledImage) -> tuple[tuple[int, int], int] | None:
    """Returns the size and the bits of a pixel; None where the image cannot be read."""
    try:
        pixels, bits = read_deep_image(image.path)
    except DatasetError:
        return None
    return (pixels.shape[1], pixels.shape[0]), bits


def _fitted(
    images: Sequence[LabelledImage], sizes: Sequence[tuple[int, int]], problems: list[str]
) -> list[LabelledImage]:
    """Scales the labels of pictures that were resized after labelling, and leaves out those of another shape."""
    kept, scaled, other = [], [], []
    for image, size_wh in zip(images, sizes, strict=True):
        stated_wh = (round(image.stated_wh[0]), round(image.stated_wh[1])) if image.stated_wh else size_wh
        name = f"{image.video}/{image.path.name} ({stated_wh[0]}x{stated_wh[1]}, now {size_wh[0]}x{size_wh[1]})"
        resized = FrameMap.fit(stated_wh, size_wh, "stretch")
        if stated_wh == size_wh:
            kept.append(image)
        elif np.ptp(resized.scale_xy) * min(stated_wh) <= max(1, *resized.scale_xy):  # sides are whole pixels
            hidden_px = None if image.hidden_px is None else resized.to_model(image.hidden_px)
            kept.append(replace(image, xy_px=resized.to_model(image.xy_px), hidden_px=hidden_px))
            scaled.append(name)
        else:
            other.append(name)
    if scaled:
        what = count(len(scaled), "image")
        problems.append(f"{what} resized since the labels were made; labels scaled to the pixels: {listing(scaled)}")
    if other:
        what = count(len(other), "image")
        problems.append(f"{what} turned, cut or another than the label file says; left out: {listing(other)}")
    return kept
