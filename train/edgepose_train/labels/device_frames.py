"""Frames that a device saved with its predictions (`uncertain` in its config), into the project to be corrected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose_train.labels.deeplabcut_writer import read_config
from edgepose_train.labels.label_cells import read_cells, replace_files
from edgepose_train.labels.label_table import read_label_table
from edgepose_train.labels.machine_labels import CSV, write_machine_labels
from edgepose_train.labels.project_files import LABELS


def device_tables(folder: Path) -> list[Path]:
    """The tables of predictions in what was copied from a device."""
    return sorted(folder.glob(f"{LABELS}/*/{CSV}"))


def bring(tables: Sequence[Path], project: Path) -> tuple[dict[Path, int], list[str]]:
    """Images and predictions into the project, where napari shows them, and where nobody takes them for labels before
    they are corrected. Returns the number of frames by folder of the project, and what was left out because the project
    has another picture of that name. Raises DatasetError where the body parts are others."""
    config = read_config(project)
    brought, clashes = {}, []
    for table in tables:
        names = read_label_table(table).names
        if set(names) != set(map(str, config["bodyparts"])):
            raise DatasetError(f"{table}: body parts {', '.join(names)}, but the project has others; give that model's")
        target, predictions = project / LABELS / table.parent.name, _predictions(table, names)
        for name in list(predictions):
            image = table.parent / name
            if not image.is_file():
                del predictions[name]
            elif (target / name).exists() and (target / name).read_bytes() != image.read_bytes():
                clashes.append(f"{target.name}/{name}")
                del predictions[name]
            else:
                _copy(image, target / name)
        if predictions:
            write_machine_labels(target, config.get("iteration") or 0, _scorer(table), names, predictions)
            brought[target] = len(predictions)
    return brought, clashes


def _copy(image: Path, target: Path) -> None:
    data = image.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_files({target: lambda path: path.write_bytes(data)})


def _scorer(table: Path) -> str:
    cells = read_cells(table)
    return cells.header[0][cells.index_width]


def _predictions(table: Path, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """(K, 3) of x, y and score, by image file name; K as `names`, which is the order of the columns."""
    cells = read_cells(table)
    return {
        cells.image(row): np.array([float(cell) if cell else math.nan for cell in row[cells.index_width :]]).reshape(
            len(names), 3
        )
        for row in cells.rows
    }
