"""Labelled images, whatever program labelled them: `read_dataset` recognises the format and reads it.

Numbers stay what the labelling program wrote, floats in the image's own pixels. Bad images are named in
`Dataset.problems` and left out; only what makes a data set useless is an error.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.types import U8, Skeleton
from edgepose.video.frames import progress_bar
from edgepose_train.labels.frames import is_file, stored_image

DATASET_HELP = "DeepLabCut or Lightning Pose project, CSV or H5; SLEAP .slp; COCO .json"
FEWEST_IMAGES = 5  # different ones, so that there are some to train on, to choose by and to test with
_NAMED = 5  # things that a problem names before it only counts


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """xy_px: (K, 2) float64, NaN = not labelled. video: the folder or video that the frame comes from.

    path: what `read_image` and `image_hash` take. A frame inside another file has a path that leads through that
    file, so open it with those only. hidden_px: (K, 2), where the labeller put keypoints that are marked as not
    visible; NaN elsewhere. Whether these count as labels too is as in the format's own programs: in COCO they do.
    """

    path: Path
    xy_px: NDArray[np.float64]
    video: str
    hidden_px: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Dataset:
    """images: readable, each with at least one label. problems: one line each about what was left out.
    unchecked: predictions of a model that nobody changed; they are no labels, and not among `images`."""

    name: str
    skeleton: Skeleton
    images: tuple[LabelledImage, ...]
    problems: tuple[str, ...] = ()
    unchecked: tuple[LabelledImage, ...] = ()


def read_dataset(path: Path, *, keep_unlabelled: bool = False) -> Dataset:
    """A DeepLabCut or Lightning Pose project folder, its labeled-data folder, or one label file (CSV or H5); a SLEAP
    file (.slp, .pkg.slp); COCO keypoints (.json), or the folder that holds one of these.

    keep_unlabelled: also the images that no keypoint is labelled in.
    Raises DatasetError with one line when nothing usable is there.
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
    from edgepose_train.labels.coco import read_coco
    from edgepose_train.labels.deeplabcut import has_labels, read_project
    from edgepose_train.labels.sleap import read_slp

    by_suffix = {".slp": read_slp, ".json": read_coco}
    if is_file(path):
        return by_suffix.get(path.suffix.lower(), read_project), path
    if has_labels(path):
        return read_project, path
    # As SLEAP, CVAT and Label Studio leave them.
    found = sorted(p for pattern in ("*.slp", "*.json", "annotations/*.json") for p in path.glob(pattern))
    if len(found) > 1:
        raise DatasetError(f"{path}: holds several label files ({listing([p.name for p in found])}); give one of them")
    return (by_suffix[found[0].suffix], found[0]) if found else (read_project, path)


def _usable(path: Path, dataset: Dataset, keep_unlabelled: bool) -> Dataset:
    problems = list(dataset.problems)
    images = _readable(_unique(dataset.images, problems), problems)
    labelled = [image for image in images if np.isfinite(image.xy_px).any()]
    if len(labelled) < len(images) and not keep_unlabelled:
        problems.append(f"{count(len(images) - len(labelled), 'image')} without any label; left out")
    if not labelled and not (keep_unlabelled and dataset.unchecked):
        why = problems[-1] if problems else "it has no labelled rows"
        raise DatasetError(f"{path}: empty data set, no usable image: {why}")
    return replace(dataset, images=tuple(images if keep_unlabelled else labelled), problems=tuple(problems))


def _unique(images: Sequence[LabelledImage], problems: list[str]) -> list[LabelledImage]:
    times = Counter(image.path for image in images)
    twice = [path.name for path, n in times.items() if n > 1]
    if twice:
        problems.append(f"{count(len(twice), 'image')} labelled twice; the last labels are taken: {listing(twice)}")
    return list({image.path: image for image in images}.values())


def _readable(images: Sequence[LabelledImage], problems: list[str]) -> list[LabelledImage]:
    """Decodes every image once: half a frame is found only that way, and now is better than mid-training."""
    with ThreadPoolExecutor() as pool, progress_bar() as bar:
        fine = list(bar.track(pool.map(_can_read, images), len(images), description="reading images"))
    bad = [f"{image.video}/{image.path.name}" for image, ok in zip(images, fine, strict=True) if not ok]
    if bad:
        problems.append(f"{count(len(bad), 'image file')} damaged or not an image: {listing(bad)}")
    return [image for image, ok in zip(images, fine, strict=True) if ok]


def _can_read(image: LabelledImage) -> bool:
    try:
        read_image(image.path)
    except DatasetError:
        return False
    return True


def read_image(path: Path) -> U8:
    """Colours as BGR, uint8 (H, W, 3); grey is repeated, 16 bits are scaled to 8. Raises DatasetError.

    Pixels stay as they are stored, whatever a camera noted about its orientation: so do the labels.
    """
    how = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    data = stored_image(path)  # not cv2.imread, which cannot open every path on Windows
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise DatasetError(f"{path}: damaged or not an image; extract or copy the frame again")
    return np.asarray(image, np.uint8)


def image_hash(path: Path) -> str:
    """sha256 of the image file's bytes: the frame's identity, which survives moving, renaming and embedding."""
    return hashlib.sha256(stored_image(path)).hexdigest()


def make_skeleton(
    path: Path,
    names: Sequence[str],
    edges: Iterable[Sequence[str]],
    pairs: Iterable[Sequence[str]],
    problems: list[str],
) -> Skeleton:
    """pairs: left and right ones, in either order; where there are none, the names tell. Raises DatasetError."""
    told = find_flip_pairs(names)
    known = []
    for edge in edges:
        if len(edge) == 2 and edge[0] != edge[1] and set(edge) <= set(names):
            known.append((edge[0], edge[1]))
        else:
            problems.append(f"{path.name}: skeleton edge {' - '.join(edge)} does not join two body parts; left out")
    given = [(a, b) if (b, a) not in told else (b, a) for a, b in pairs]
    try:
        return Skeleton(tuple(names), tuple(known), tuple(given) or told)
    except ValueError as exc:
        raise DatasetError(f"{path}: {exc}") from None


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def listing(things: Sequence[str]) -> str:
    """The first few by name."""
    more = f" and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    return ", ".join(things[:_NAMED]) + more


_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}
# The word anywhere (leftear, paw1_left), or the letter at an end (lpaw, earL), on its own (ear_L_tip), or in
# camel case (frontLPaw). A wrong guess needs a partner of exactly that name, so guessing is safe.
_SIDE = re.compile(r"(?i:left|right)|^[lrLR]|[lrLR]$|(?<=[^A-Za-z])[lrLR](?=[^A-Za-z])|(?<=[a-z0-9])[LR](?=[A-Z])")


def find_flip_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(left, right) keypoints that swap in a mirror image, told by their names."""
    pairs = [
        (name, other)
        for name in names
        for match in _SIDE.finditer(name)
        if match[0].lower() in {"left", "l"} and (other := _with_other_side(name, match)) in names
    ]
    # A name with two possible partners (ll, lr, rl, rr) does not say which letter is the side.
    times = Counter(name for pair in pairs for name in pair)
    return tuple(pair for pair in pairs if all(times[name] == 1 for name in pair))


def _with_other_side(name: str, match: re.Match[str]) -> str:
    side = _OTHER_SIDE[match[0].lower()]
    if match[0].isupper():
        side = side.upper()
    elif match[0][0].isupper():
        side = side.capitalize()
    return name[: match.start()] + side + name[match.end() :]
