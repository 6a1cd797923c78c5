"""Brings the frames that a device saved with its predictions into a project, to be corrected there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.system.atomic_files import write_durably
from edgepose_train.labels.deeplabcut_writer import read_config
from edgepose_train.labels.frame_identity import frame_identity
from edgepose_train.labels.label_table import LabelTable, read_label_table
from edgepose_train.labels.machine_labels import CSV, write_machine_labels
from edgepose_train.labels.project_files import LABELS


def device_tables(folder: Path) -> list[Path]:
    """Returns the tables of predictions in a folder that was copied from a device."""
    return sorted(folder.glob(f"{LABELS}/*/{CSV}"))


def bring(tables: Sequence[Path], project: Path) -> tuple[dict[Path, int], list[str]]:
    """Copies images and predictions into the project, where napari shows them.

    They do not count as labels before somebody corrects them.

    Returns:
        The number of frames for each folder of the project, and the frames that were left out because the project has
        another picture with that name.

    Raises:
        DatasetError: the project has other body parts.
    """
    config = read_config(project)
    brought, clashes = {}, []
    for path in tables:
        table = read_label_table(path)
        if set(table.names) != set(map(str, config["bodyparts"])):
            raise DatasetError(
                f"{path}: body parts {', '.join(table.names)}, but the project has others; give that model's"
            )
        target, predictions = project / LABELS / path.parent.name, _predictions(table)
        for name in list(predictions):
            image = path.parent / name
            if not image.is_file():
                del predictions[name]
            elif (target / name).exists() and frame_identity(target / name) != frame_identity(image):
                clashes.append(f"{target.name}/{name}")
                del predictions[name]
            else:
                target.mkdir(parents=True, exist_ok=True)
                write_durably(target / name, image.read_bytes())
        if predictions:
            scorer = table.cells.header[0][table.cells.index_width]
            write_machine_labels(target, config.get("iteration") or 0, scorer, table.names, predictions)
            brought[target] = len(predictions)
    return brought, clashes


def _predictions(table: LabelTable) -> dict[str, NDArray[np.float64]]:
    """Returns (K, 3) of x, y and score by file name of the image. The columns are in the order of the names."""
    values = table.cells.values().reshape(len(table.cells.rows), len(table.names), 3)
    return {table.cells.image_name(row): points for row, points in zip(table.cells.rows, values, strict=True)}
