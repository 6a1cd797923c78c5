"""Predictions that wait to be corrected, in the files that DeepLabCut and napari-deeplabcut know them by.

    labeled-data/<video>/machinelabels-iter<iteration>.h5     napari opens it beside the images
    labeled-data/<video>/machinelabels.csv                    every prediction that was ever made here

Saving in napari writes all of the first, moved or not, as CollectedData. So a frame of which no keypoint was moved
or deleted is told by comparing with the second: nobody may have looked at it, and it is no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.system.atomic_files import replace_files
from edgepose.system.wording import count
from edgepose_train.labels.dataset import LabelledImage, is_labelled
from edgepose_train.labels.label_cells import new_cells
from edgepose_train.labels.label_table import read_label_table, write_csv, write_h5

CSV = "machinelabels.csv"
_UNMOVED_PX = 0.01  # files keep more digits than that; a hand does not


def write_machine_labels(
    folder: Path, iteration: int, scorer: str, names: Sequence[str], predictions: dict[str, NDArray[np.float64]]
) -> None:
    """Adds rows to the files in `folder`, which is `labeled-data/<video>`.

    predictions: by image file name, (K, 3) of x, y and score. What is labelled meanwhile leaves the H5, so that napari
    does not show it once more. Raises DatasetError where other body parts are there.
    """
    table = folder / CSV
    cells = new_cells(scorer, names, coords=3)
    if table.is_file():
        found = read_label_table(table)
        if set(found.names) != set(names):
            raise DatasetError(f"{table}: holds other body parts ({', '.join(found.names)}) than the model predicts")
        cells = found.cells
    cells = cells.with_rows(folder.name, names, predictions)
    waiting = cells.without(_labelled(folder))
    replace_files(
        {
            table: lambda path: write_csv(path, cells),
            folder / f"machinelabels-iter{iteration}.h5": lambda path: write_h5(path, waiting),
        }
    )


def _labelled(folder: Path) -> set[str]:
    """File names of the images that a person labelled, or took over."""
    labelled = set()
    for path in folder.glob("CollectedData*.csv"):
        table = read_label_table(path)
        some = np.asarray(is_labelled(table.xy_px).any(axis=1))
        labelled |= {Path(row).name for row, any_ in zip(table.images, some, strict=True) if any_}
    return labelled


def unchecked_problem(number: int) -> str:
    return (
        f"{count(number, 'image')} with predictions that nobody changed; left out "
        "(edgepose-train merge --unchanged takes them as labels)"
    )


def split_unchecked(
    images: Sequence[LabelledImage], names: Sequence[str]
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """(labelled by a person, predictions that nobody changed); names: of the K keypoints of `images`."""
    predicted = {folder: _predictions(folder, names) for folder in {image.path.parent for image in images}}
    parts: tuple[list[LabelledImage], list[LabelledImage]] = ([], [])
    for image in images:
        known = predicted[image.path.parent].get(image.path.name)
        unmoved = known is not None and np.allclose(image.xy_px, known, rtol=0, atol=_UNMOVED_PX, equal_nan=True)
        parts[unmoved].append(image)
    return parts


def _predictions(folder: Path, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """(K, 2) of each image; NaN where the file does not name a keypoint."""
    if not (folder / CSV).is_file():
        return {}
    table = read_label_table(folder / CSV)
    missing = np.full((len(table.images), 1, 2), np.nan)
    columns = [table.names.index(name) if name in table.names else -1 for name in names]
    xy = np.concatenate([table.xy_px, missing], axis=1)[:, columns]
    return {Path(row).name: points for row, points in zip(table.images, xy, strict=True)}
