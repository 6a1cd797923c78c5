"""Tables as DeepLabCut's own H5: what its plotting, filtering, video and labelling tools read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables  # pandas imports it late; missing, it must be told before an hour's analysis
from numpy.typing import NDArray

from edgepose_train.labels.label_table import H5_KEY


def write_h5(path: Path, values: NDArray[np.float64], frames: Sequence[int], names: Sequence[str], scorer: str) -> None:
    """Predictions. values: (N, K, 3) of x, y, likelihood; frames: (N,) row numbers. Raises OSError."""
    header = pd.MultiIndex.from_product(
        [[scorer], list(names), ["x", "y", "likelihood"]], names=["scorer", "bodyparts", "coords"]
    )
    frame = pd.DataFrame(values.reshape(len(values), -1), columns=header, index=list(frames))
    _save(path, frame, "table")


def write_h5_cells(path: Path, header: list[list[str]], rows: list[list[str]], index_width: int) -> None:
    """Labels, as `label_cells.Cells` holds them. The index is `labeled-data`, video and image wherever the rows say
    all three, as DeepLabCut wants it. Raises OSError."""
    columns = list(zip(*(level[index_width:] for level in header), strict=True))
    images = [tuple("/".join(c for c in row[:index_width] if c).replace("\\", "/").split("/")) for row in rows]
    whole = all(len(parts) == 3 for parts in images)
    values = [[float(cell) if cell else math.nan for cell in row[index_width:]] for row in rows]
    frame = pd.DataFrame(
        np.array(values, float).reshape(len(rows), len(columns)),
        columns=pd.MultiIndex.from_tuples(columns, names=[level[0] for level in header]),
        index=pd.MultiIndex.from_tuples(images) if rows and whole else ["/".join(parts) for parts in images],
    )
    _save(path, frame, "fixed")


def read_h5_cells(path: Path) -> tuple[list[list[str]], list[list[str]], int]:
    """Header, rows and index width, as `label_cells.Cells` holds them."""
    frame: Any = pd.read_hdf(path)
    width = frame.index.nlevels
    levels = zip(frame.columns.names, zip(*frame.columns, strict=True), strict=True)
    header = [[str(name), *[""] * (width - 1), *map(str, labels)] for name, labels in levels]
    rows = []
    for key, values in zip(frame.index, frame.to_numpy(float).tolist(), strict=True):
        index = key if isinstance(key, tuple) else (key,)
        rows.append([*map(str, index), *("" if math.isnan(value) else repr(value) for value in values)])
    return header, rows, width


def _save(path: Path, frame: Any, layout: str) -> None:
    """PyTables says nothing when the disk is full at closing, so the file is read back. An error's text is HDF5's
    own stack, many lines."""
    try:
        frame.to_hdf(path, key=H5_KEY, format=layout, mode="w")
        complete = len(pd.read_hdf(path, H5_KEY)) == len(frame)
    except (tables.HDF5ExtError, KeyError):  # KeyError: not even the table's name was written
        complete = False
    if not complete:
        raise OSError("HDF5 could not write all of it; make room on the disk")
