"""Keeps predictions that wait to be corrected, in the files that DeepLabCut and napari-deeplabcut use for them.

    labeled-data/<video>/machinelabels-iter<iteration>.h5     napari opens it beside the images
    labeled-data/<video>/machinelabels.csv                    every prediction that was ever made here

When somebody saves in napari, all points of the first file become CollectedData, moved or not. A frame in which no
point was moved or deleted is found by comparing with the second file. Perhaps nobody has checked it, so it is no label.
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
_UNMOVED_PX = 0.01  # a file keeps more digits than this, and a hand moves a point farther


def write_machine_labels(
    folder: Path, iteration: int, scorer: str, names: Sequence[str], predictions: dict[str, NDArray[np.float64]]
) -> None:
    """Adds predictions to both files.

    Frames that somebody has labelled since are taken out of the H5, so that napari does not show them once more.

    Args:
        folder: `labeled-data/<video>`.
        iteration: DeepLabCut's number of the training round, which is part of the file's name.
        scorer: the model.
        names: the K keypoints.
        predictions: by file name of the image, (K, 3) of x, y and score.

    Raises:
        DatasetError: the files hold other body parts.
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
    """Returns the file names of the images that have labels."""
    labelled = set()
    for path in folder.glob("CollectedData*.csv"):
        table = read_label_table(path)
        some = np.asarray(is_labelled(table.xy_px).any(axis=1))
        labelled |= {Path(row).name for row, any_ in zip(table.images, some, strict=True) if any_}
    return labelled


def unchecked_problem(number: int) -> str:
    """Returns the line for `Dataset.problems` about images whose predictions nobody changed."""
    return (
        f"{count(number, 'image')} with predictions that nobody changed; left out "
        "(edgepose-train merge --unchanged takes them as labels)"
    )


def split_unchecked(
    images: Sequence[LabelledImage], names: Sequence[str]
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Separates the images that a person has labelled from those with predictions that nobody changed.

    names: the K keypoints of the images.
    """
    predicted = {folder: _predictions(folder, names) for folder in {image.path.parent for image in images}}
    parts: tuple[list[LabelledImage], list[LabelledImage]] = ([], [])
    for image in images:
        known = predicted[image.path.parent].get(image.path.name)
        unmoved = known is not None and np.allclose(image.xy_px, known, rtol=0, atol=_UNMOVED_PX, equal_nan=True)
        parts[unmoved].append(image)
    return parts


def _predictions(folder: Path, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Returns (K, 2) by file name of the image, NaN where the file does not have a keypoint."""
    if not (folder / CSV).is_file():
        return {}
    table = read_label_table(folder / CSV)
    missing = np.full((len(table.images), 1, 2), np.nan)
    columns = [table.names.index(name) if name in table.names else -1 for name in names]
    xy = np.concatenate([table.xy_px, missing], axis=1)[:, columns]
    return {Path(row).name: points for row, points in zip(table.images, xy, strict=True)}
