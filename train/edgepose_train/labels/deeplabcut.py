"""Reads DeepLabCut and Lightning Pose projects: which label files count, and which image each row refers to."""

from __future__ import annotations

import ast
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.system.strict import Loader, read_yaml
from edgepose.system.wording import count, listing
from edgepose_train.labels.dataset import Dataset, LabelledImage, make_skeleton
from edgepose_train.labels.label_table import CSV_SUFFIXES, H5_SUFFIXES, LabelTable, read_label_table
from edgepose_train.labels.machine_labels import split_unchecked, unchecked_problem
from edgepose_train.labels.project_files import CONFIG, LABELS, find_file, folder_and_ancestors, is_file, one_name_each

_PAINTED = "_labeled"
_MOST_LISTED = 20_000  # the edges between 200 keypoints
_EQUAL_PX = 0.01  # programs write different numbers of digits


@dataclass(frozen=True, slots=True)
class _Config:
    """The part of a `config.yaml` that is used here. Every field may be empty."""

    task: str = ""
    scorer: str = ""
    bodyparts: tuple[str, ...] = ()
    edges: tuple[tuple[str, ...], ...] = ()
    videos: frozenset[str] = frozenset()
    file: Path | None = None


def read_project(path: Path) -> Dataset:
    """Reads a project, given by its folder, its labeled-data folder, or one label file. Raises DatasetError."""
    path = Path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow links, away from the images
    config = _find_config(path)
    problems: list[str] = []
    files = _label_files(path, config, problems)
    tables = [read_label_table(file) for file in files]
    names = config.bodyparts or tables[0].names
    skeleton = make_skeleton(config.file or path, names, config.edges, (), problems)
    images, unchecked = split_unchecked(_images(tables, names, bool(config.bodyparts), problems), names)
    if unchecked:
        problems.append(unchecked_problem(len(unchecked)))
    return Dataset(_name(path, config), skeleton, tuple(images), tuple(problems), tuple(unchecked))


def has_labels(folder: Path) -> bool:
    """Returns True for a folder that `read_project` can read."""
    return bool(_found_in(folder))


def _name(path: Path, config: _Config) -> str:
    folder = path.parent if is_file(path) else path
    return config.task or (folder.parent if folder.name == LABELS else folder).name


# --- config.yaml -------------------------------------------------------------------------------------------


class ConfigLoader(Loader):
    """Reads the Python tuples that old configs hold, which are no plain YAML."""

    def construct_tuple(self, node: yaml.Node) -> list[Any]:
        assert isinstance(node, yaml.SequenceNode)
        return list(self.construct_sequence(node, deep=True))


ConfigLoader.add_constructor("tag:yaml.org,2002:python/tuple", ConfigLoader.construct_tuple)


def load_config(file: Path) -> Any:
    """Reads a `config.yaml`. Raises DatasetError."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{file}: cannot read ({getattr(exc, 'strerror', 'not UTF-8 text')})") from None
    return parse_config(text, file)


def parse_config(text: str, file: Path) -> Any:
    """Reads the text of a `config.yaml`. Raises DatasetError."""
    return read_yaml(text, str(file), DatasetError, ConfigLoader)


def _find_config(path: Path) -> _Config:
    """Reads the nearest `config.yaml` of DeepLabCut in `path` or above it, or returns an empty one."""
    for folder in [path, *folder_and_ancestors(path.parent)]:
        file = folder / CONFIG
        if not is_file(file):
            continue
        data = load_config(file)
        if isinstance(data, dict) and "bodyparts" in data:  # other programs keep a config.yaml too
            return _config(file, data)
    return _Config()


def _config(file: Path, data: dict[str, Any]) -> _Config:
    bodyparts = data["bodyparts"]
    if bodyparts == "MULTI!":  # a multi-animal project, which is fine where its label files hold one animal
        bodyparts = [*_listed(file, data, "multianimalbodyparts"), *_listed(file, data, "uniquebodyparts")]
    else:
        bodyparts = _listed(file, data, "bodyparts")
    edges = _listed(file, data, "skeleton")
    if not all(isinstance(edge, list | tuple) for edge in edges):
        raise DatasetError(f"{file}: skeleton: expected a list of pairs of body parts")
    return _Config(
        str(data.get("Task") or ""),
        str(data.get("scorer") or ""),
        tuple(str(name) for name in bodyparts),
        tuple(tuple(str(name) for name in edge) for edge in edges),
        video_names(data),
        file,
    )


def video_names(data: dict[str, Any]) -> frozenset[str]:
    """Returns the folders in `labeled-data` that `video_sets` names; its paths may be of another system."""
    videos = data.get("video_sets")
    return frozenset(PureWindowsPath(str(path)).stem for path in videos) if isinstance(videos, dict) else frozenset()


def _listed(file: Path, data: dict[str, Any], key: str) -> list[Any]:
    """Reads a list, which old configs write as nothing, an empty string or a Python tuple."""
    value = data.get(key)
    if isinstance(value, str) and value.strip().startswith(("(", "[")):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise DatasetError(f"{file}: {key}: cannot read {value[:40]!r} as a list") from None
    if not value:
        return []
    if not isinstance(value, list | tuple):
        raise DatasetError(f"{file}: {key}: expected a list, got {str(value)[:40]!r}")
    if len(value) > _MOST_LISTED:
        raise DatasetError(f"{file}: {key}: lists {len(value)} things; edgepose reads up to {_MOST_LISTED}")
    return list(value)


# --- label files -------------------------------------------------------------------------------------------


def _label_files(path: Path, config: _Config, problems: list[str]) -> list[Path]:
    """Returns every file to read. Only the files of the project's scorer count, as in DeepLabCut."""
    if is_file(path):
        return [path]
    found = _found_in(path)
    if not found:
        if images := len(list(path.glob(f"{LABELS}/*/*.png"))):
            raise DatasetError(
                f"{path}: {count(images, 'image')}, none labelled yet; label them with napari-deeplabcut and save"
            )
        raise DatasetError(
            f"{path}: no CollectedData CSV or H5 here or in {LABELS}; give a DeepLabCut project or a label file"
        )
    found = _without_painted(found, config.videos, problems)
    own = [p for p in found if p.stem == f"CollectedData_{config.scorer}"]
    if own and len(own) < len(found):
        others = [str(p.relative_to(path)) for p in found if p not in own]
        how_many = count(len(others), "label file")
        problems.append(f"{how_many} of another scorer than {config.scorer}; left out: {listing(others)}")
        found = own
    # DeepLabCut writes CSV and H5. The CSV counts, because people edit it, and reading it needs no other package.
    # The newer file would be the better choice, but copying and cloning do not keep the times of files.
    chosen: dict[Path, Path] = {}
    for file in sorted(found, key=lambda p: p.suffix.lower() in CSV_SUFFIXES):
        if (other := chosen.get(file.with_suffix(""))) is not None:
            problems += _disagreement(file, other)
        chosen[file.with_suffix("")] = file
    return sorted(chosen.values())


def _without_painted(found: list[Path], videos: frozenset[str], problems: list[str]) -> list[Path]:
    """Leaves out folders such as `cage1_labeled`, where DeepLabCut's check_labels paints the labels into the frames.

    Other folders that `video_sets` lacks are used, because merged frames of other programs have no video there.
    """
    folders = {file.parent.name for file in found}
    painted = {name for name in folders - videos if name.removesuffix(_PAINTED) in folders - {name}}
    if painted:
        named = listing(sorted(painted))
        problems.append(f"{count(len(painted), 'folder')} with labels painted into the pictures; left out: {named}")
    unnamed = folders - videos - painted
    if folders & videos and unnamed:
        named = listing(sorted(unnamed))
        problems.append(f"{count(len(unnamed), 'folder')} that video_sets in config.yaml lacks; used: {named}")
    return [file for file in found if file.parent.name not in painted]


def _disagreement(taken: Path, other: Path) -> list[str]:
    """Returns a line where two files of one name, such as CSV and H5, do not hold the same labels."""
    try:
        labels, others = _labels(read_label_table(taken)), _labels(read_label_table(other))
    except DatasetError as exc:
        return [f"{exc}; {taken.name} is taken"] if str(other) in str(exc) else []
    agree = [
        key for key in labels.keys() & others.keys() if np.allclose(labels[key], others[key], rtol=0, atol=_EQUAL_PX)
    ]
    if len(agree) == len(labels) == len(others):
        return []
    return [
        f"{taken.parent.name}: {taken.name} has {count(len(labels), 'label')}, {other.name} has {len(others)}, and "
        f"{len(agree)} of them agree; {taken.name} is taken, so move away the one that is out of date"
    ]


def _labels(table: LabelTable) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Returns (2,) by file name of the image and keypoint."""
    return {
        (PureWindowsPath(row).name, name): xy
        for row, points in zip(table.images, table.xy_px, strict=True)
        for name, xy in zip(table.names, points, strict=True)
        if np.isfinite(xy).all()
    }


def _found_in(folder: Path) -> list[Path]:
    for pattern in (f"{LABELS}/*/CollectedData*", f"{LABELS}/CollectedData*", "CollectedData*", "*/CollectedData*"):
        found = sorted(p for p in folder.glob(pattern) if p.suffix.lower() in CSV_SUFFIXES | H5_SUFFIXES)
        if found:
            return found
    return []


def _images(
    tables: Sequence[LabelTable], names: Sequence[str], in_config: bool, problems: list[str]
) -> list[LabelledImage]:
    """Returns one image for each row, keypoints as in `names`.

    A body part that `config.yaml` names and a file lacks, because it was added later, is not labelled there.

    Raises:
        DatasetError: a file has none of the keypoints, or no config says which of the files is right.
    """
    images = []
    absent = []
    for table in tables:
        where = f"{table.path.parent.name}/{table.path.name}"
        missing = [name for name in names if name not in table.names]
        if missing and (not in_config or len(missing) == len(names)):
            source = "config.yaml names" if in_config else "the other label files have"
            raise DatasetError(
                f"{table.path}: has no body part {missing[0]!r}, which {source} (it has: {', '.join(table.names)})"
            )
        if missing:
            problems.append(
                f"{where}: lacks {count(len(missing), 'body part')}, not labelled there: {listing(missing)}"
            )
        extra = [name for name in table.names if name not in names]
        if extra:
            problems.append(f"{where}: body parts that config.yaml does not name; left out: {listing(extra)}")
        xy_px = np.full((len(table.images), len(names), 2), np.nan)
        for k, name in enumerate(names):
            if name in table.names:
                xy_px[:, k] = table.xy_px[:, table.names.index(name)]
        half = np.isfinite(xy_px).sum(axis=2) == 1
        if half.any():
            labels = count(int(half.sum()), "label with x or y only", "labels with x or y only")
            problems.append(f"{table.path.name}: {labels}; taken as not labelled")
            xy_px = np.where(half[..., None], np.nan, xy_px)
        found = {row: find_file(row, table.path.parent) for row in table.images}
        absent += [row for row, image in found.items() if image is None]
        files = one_name_each(found, problems)
        for row, xy in zip(table.images, xy_px, strict=True):
            if (image := files[row]) is not None:
                images.append(LabelledImage(image, xy, _video(row, table.path)))
    if absent:
        problems.append(f"{count(len(absent), 'image file')} missing, or outside the folder: {listing(absent)}")
    return images


def _video(row: str, label_file: Path) -> str:
    parts = row.split("/")
    return parts[-2] if len(parts) > 1 else label_file.parent.name
