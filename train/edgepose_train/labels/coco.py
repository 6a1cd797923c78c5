"""Reads and writes COCO keypoints, as COCO, CVAT and Label Studio do (https://cocodataset.org/#format-data).

A keypoint is x, y, v, where v = 0 means not labelled, 1 labelled but not visible, 2 labelled and visible. The last two
are both labels, as in COCO's own tools; v = 1 is also kept as `hidden_px`. Edges are pairs of keypoint numbers from 1.
COCO itself does not know left/right pairs. `flip_idx` comes from Ultralytics: for each keypoint, the number from 0 of
the keypoint that takes its place in a mirror image. The reader of sleap-io is not used, because it keeps neither v nor
more than 32 bits of a coordinate.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.system.wording import count, listing
from edgepose.types import Skeleton
from edgepose_train.labels.dataset import Dataset, LabelledImage, is_labelled, make_skeleton
from edgepose_train.labels.images import read_image
from edgepose_train.labels.project_files import find_file, is_inside, one_name_each, spellings


class _CocoImage(msgspec.Struct):
    id: int | str
    file_name: str
    width: Any = None
    height: Any = None

    def stated_wh(self) -> tuple[float, float] | None:
        sides = (self.width, self.height)
        return sides if all(isinstance(side, int | float) and 0.5 < side < 1e6 for side in sides) else None


class _CocoAnnotation(msgspec.Struct):
    image_id: int | str
    category_id: int | str
    keypoints: list[float] | None = None
    iscrowd: int = 0

    def visibility(self) -> list[float]:
        return (self.keypoints or [])[2::3]


class _CocoCategory(msgspec.Struct):
    id: int | str
    name: str = ""
    keypoints: list[str] | None = None
    skeleton: list[list[int]] | None = None
    flip_idx: list[int] | None = None


class _CocoFile(msgspec.Struct):
    images: list[_CocoImage]
    annotations: list[_CocoAnnotation]
    categories: list[_CocoCategory]


def read_coco(path: Path) -> Dataset:
    """Reads a COCO file. Raises DatasetError with one line that names the faulty entry."""
    path = Path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow links, away from the images
    file = _load(path)
    problems: list[str] = []
    category = _only_category(path, file)
    names = category.keypoints or []
    by_image = _annotations(path, file, category, problems)
    images, several = [], []
    looked_for = {entry.file_name: _find_image(path, entry.file_name) for entry in file.images}
    files = one_name_each(looked_for, problems)
    absent = [name for name, image in looked_for.items() if image is None]
    for entry in file.images:
        found = by_image.get(entry.id, [])
        image = files[entry.file_name]
        if image is None:
            continue
        if len(found) > 1:
            several.append(entry.file_name)
        else:
            xy_px, hidden_px = _points(found, len(names))
            images.append(LabelledImage(image, xy_px, image.parent.name, hidden_px, entry.stated_wh()))
    if absent:
        problems.append(f"{count(len(absent), 'image file')} missing, or outside the folder: {listing(absent)}")
    if several:
        how_many = count(len(several), "image")
        problems.append(f"{how_many} with several labelled animals, edgepose follows one; left out: {listing(several)}")
    skeleton = make_skeleton(path, names, _edges(category), _pairs(path, category), problems)
    return Dataset(path.stem, skeleton, tuple(images), tuple(problems))


def _load(path: Path) -> _CocoFile:
    try:
        # Python's own parser accepts NaN, which some programs write for a keypoint that is missing.
        return msgspec.convert(json.loads(path.read_bytes()), _CocoFile)
    except OSError as exc:
        raise DatasetError(f"{path}: cannot read ({exc.strerror})") from None
    except (ValueError, RecursionError) as exc:  # the errors of msgspec and json are ValueErrors
        raise DatasetError(f"{path}: not COCO keypoints ({exc})") from None


def _only_category(path: Path, file: _CocoFile) -> _CocoCategory:
    of_pose = [category for category in file.categories if category.keypoints]
    if not of_pose:
        raise DatasetError(f"{path}: no category has keypoints; export the labels as COCO keypoints")
    used = {annotation.category_id for annotation in file.annotations if any(annotation.visibility())}
    labelled = [category for category in of_pose if category.id in used]
    if len(labelled) > 1:
        named = listing([category.name for category in labelled])
        raise DatasetError(f"{path}: labels {len(labelled)} categories ({named}); edgepose follows one animal")
    return (labelled or of_pose)[0]


def _annotations(
    path: Path, file: _CocoFile, category: _CocoCategory, problems: list[str]
) -> dict[int | str, list[_CocoAnnotation]]:
    """Returns the annotations that hold a label, by image."""
    by_image: dict[int | str, list[_CocoAnnotation]] = {entry.id: [] for entry in file.images}
    unlisted = 0
    for number, annotation in enumerate(file.annotations):
        if annotation.category_id != category.id or annotation.iscrowd or not any(annotation.visibility()):
            continue
        if len(annotation.keypoints or []) != 3 * len(category.keypoints or []):
            raise DatasetError(
                f"{path}: annotations[{number}].keypoints: expected 3 numbers for each of "
                f"{len(category.keypoints or [])} keypoints, got {len(annotation.keypoints or [])}"
            )
        if annotation.image_id in by_image:
            by_image[annotation.image_id].append(annotation)
        else:
            unlisted += 1
    if unlisted:
        problems.append(f"{count(unlisted, 'annotation')} of images that the file does not list; left out")
    return by_image


def _points(found: list[_CocoAnnotation], keypoints: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns xy_px and hidden_px, (K, 2) each."""
    values = found[0].keypoints if found else [0.0] * 3 * keypoints
    x, y, v = np.array(values, np.float64).reshape(-1, 3).T[..., None]
    xy = np.concatenate([x, y], axis=1)
    return np.where(v > 0, xy, np.nan), np.where(v == 1, xy, np.nan)


def _edges(category: _CocoCategory) -> list[list[str]]:
    """Returns the names of each edge. A number without a keypoint stays a number, so that a problem can name it."""
    names = dict(enumerate(category.keypoints or [], 1))
    return [[names.get(number, str(number)) for number in edge] for edge in category.skeleton or []]


def _pairs(path: Path, category: _CocoCategory) -> list[tuple[str, str]]:
    names = category.keypoints or []
    order = category.flip_idx or list(range(len(names)))
    if sorted(order) != list(range(len(names))) or any(order[order[i]] != i for i in order):
        raise DatasetError(f"{path}: category {category.name!r}: flip_idx does not swap its {len(names)} keypoints")
    return [(names[i], names[j]) for i, j in enumerate(order) if i < j]


def _find_image(path: Path, written: str) -> Path | None:
    """Looks beside the file, and in the folders where COCO, CVAT and Label Studio put images."""
    subset = path.stem.rpartition("_")[2]  # train2017 of person_keypoints_train2017
    tails = [spelling.replace("\\", "/").lstrip("/") for spelling in spellings(written)]
    for root in (path.parent, path.parent.parent):
        for folder in ("", "images", "imgs", "data", subset, f"images/{subset}"):
            for name in [*tails, *(tail.rpartition("/")[2] for tail in tails)]:
                if is_inside(file := root / folder / name, root):
                    return file
    return find_file(written, path.parent)


# --- writing -----------------------------------------------------------------------------------------------


def write_coco(path: Path, name: str, skeleton: Skeleton, images: Sequence[LabelledImage]) -> None:
    """Writes a COCO file. The images must lie in its folder, and are named relative to it. Raises OSError."""
    number = {keypoint: i for i, keypoint in enumerate(skeleton.keypoints, 1)}
    category = {
        "id": 1,
        "name": name,
        "supercategory": "animal",
        "keypoints": list(skeleton.keypoints),
        "skeleton": [[number[a], number[b]] for a, b in skeleton.edges],
        "flip_idx": skeleton.flip_order(),
    }
    entries, annotations = [], []
    for i, image in enumerate(images, 1):
        height, width = read_image(image.path).shape[:2]
        file_name = image.path.relative_to(path.parent).as_posix()
        entries.append({"id": i, "width": width, "height": height, "file_name": file_name})
        if (keypoints := _triples(image))[:, 2].any():
            annotations.append(_annotation(i, keypoints))
    data = {
        "info": {"description": name, "contributor": "edgepose"},
        "licenses": [],
        "categories": [category],
        "images": entries,
        "annotations": annotations,
    }
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _triples(image: LabelledImage) -> NDArray[np.float64]:
    """Returns (K, 3) of x, y, v."""
    hidden = np.full_like(image.xy_px, np.nan) if image.hidden_px is None else image.hidden_px
    marked, labelled = is_labelled(hidden), is_labelled(image.xy_px)
    xy = np.where(marked[:, None], hidden, np.where(labelled[:, None], image.xy_px, 0.0))
    return np.column_stack([xy, np.where(marked, 1, np.where(labelled, 2, 0))])


def _annotation(number: int, keypoints: NDArray[np.float64]) -> dict[str, object]:
    xy = keypoints[keypoints[:, 2] > 0, :2]
    (x, y), (w, h) = xy.min(axis=0).tolist(), np.ptp(xy, axis=0).tolist()
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "keypoints": [value for x, y, v in keypoints.tolist() for value in (x, y, int(v))],
        "num_keypoints": len(xy),
        "bbox": [x, y, w, h],
        "area": w * h,
        "iscrowd": 0,
    }
