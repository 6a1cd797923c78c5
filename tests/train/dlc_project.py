"""Writes small DeepLabCut projects, in every layout that people have."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

NAMES = ("snout", "leftear", "rightear")
COORDS = ("x", "y")
# How the row of an image may name it, by layout.
LAYOUTS = {
    "one column": lambda video, name: [f"labeled-data/{video}/{name}"],
    "three columns": lambda video, name: ["labeled-data", video, name],
    "windows": lambda video, name: [f"labeled-data\\{video}\\{name}"],
    "absolute": lambda video, name: [f"/home/ann/maze-2020/labeled-data/{video}/{name}"],
    "absolute on windows": lambda video, name: [f"C:\\Users\\Ann\\maze\\labeled-data\\{video}\\{name}"],
    "bare name": lambda video, name: [name],
}


def write_image(path: Path, size_wh: tuple[int, int] = (64, 48), *, grey: bool = False) -> Path:
    """Writes noise with a seed from the path, so that no two pictures are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size_wh[::-1] if grey else (*size_wh[::-1], 3)
    picture = np.random.default_rng(random.Random(str(path)).getrandbits(32)).integers(0, 256, shape)
    path.write_bytes(cv2.imencode(path.suffix, picture.astype(np.uint8))[1].tobytes())
    return path


def labels(count: int, keypoints: int = len(NAMES)) -> np.ndarray:
    """Returns (count, keypoints, 2), in which every number is different."""
    return np.arange(count * keypoints * 2, dtype=np.float64).reshape(count, keypoints, 2) / 7 + 1


def write_csv(
    path: Path,
    rows: Sequence[Sequence[str]],
    values: np.ndarray,
    *,
    names: Sequence[str] = NAMES,
    coords: Sequence[str] = COORDS,
    individuals: Sequence[str] = (),
) -> Path:
    """Writes a label file. rows: the index cells of each image. values: (N, K, C), where NaN becomes an empty cell."""
    blank = [""] * (len(rows[0]) - 1 if rows else 0)
    columns = [(individual, name, coord) for individual in individuals or ("",) for name in names for coord in coords]
    header = [["scorer", *blank, *["Ann"] * len(columns)]]
    if individuals:
        header.append(["individuals", *blank, *(column[0] for column in columns)])
    header.append(["bodyparts", *blank, *(column[1] for column in columns)])
    header.append(["coords", *blank, *(column[2] for column in columns)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows(header)
        for index, row in zip(rows, values, strict=True):
            writer.writerow([*index, *("" if np.isnan(value) else value for value in row.ravel().tolist())])
    return path


def write_project(root: Path, count: int = 4, video: str = "cage1", config: str = "", **csv_options) -> Path:
    """Writes a project of one video. `config` is added to a `config.yaml` that names the body parts."""
    images = [write_image(root / "labeled-data" / video / f"img{i:03}.png") for i in range(count)]
    rows = [[f"labeled-data/{video}/{image.name}"] for image in images]
    write_csv(root / "labeled-data" / video / "CollectedData_Ann.csv", rows, labels(count), **csv_options)
    bodyparts = "".join(f"- {name}\n" for name in NAMES)
    text = f"Task: maze\nscorer: Ann\nbodyparts:\n{bodyparts}{config}"
    (root / "config.yaml").write_text(text, encoding="utf-8")
    return root


def label_file(project: Path) -> Path:
    return project / "labeled-data" / "cage1" / "CollectedData_Ann.csv"


def rewrite(project: Path, old: str, new: str) -> None:
    text = label_file(project).read_text("utf-8")
    assert old in text
    label_file(project).write_text(text.replace(old, new, 1), "utf-8")


def xy_of(dataset) -> np.ndarray:
    return np.stack([image.xy_px for image in dataset.images])
