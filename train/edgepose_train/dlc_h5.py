"""Tables as DeepLabCut's own H5: what its plotting, filtering, video and labelling tools read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables  # pandas imports it late; missing, it must be told before an hour's analysis
from numpy.typing import NDArray

from edgepose_train.label_table import H5_KEY

_LEVELS = ("scorer", "bodyparts", "coords")


def write_h5(path: Path, values: NDArray[np.float64], frames: Sequence[int], names: Sequence[str], scorer: str) -> None:
    """Predictions. values: (N, K, 3) of x, y, likelihood; frames: (N,) row numbers. Raises OSError."""
    header = pd.MultiIndex.from_product([[scorer], list(names), ["x", "y", "likelihood"]], names=_LEVELS)
    frame = pd.DataFrame(values.reshape(len(values), -1), columns=header, index=list(frames))
    _save(path, frame, "table")


def write_label_h5(
    path: Path, rows: Sequence[tuple[str, ...]], columns: Sequence[tuple[str, ...]], values: NDArray[np.float64]
) -> None:
    """Labels. rows: (`labeled-data`, video, image) of each; columns: (scorer, body part, coord) of each.
    values: (rows, columns). Raises OSError."""
    header = pd.MultiIndex.from_tuples(list(columns), names=_LEVELS)
    _save(path, pd.DataFrame(values, columns=header, index=pd.MultiIndex.from_tuples(list(rows))), "fixed")


def _save(path: Path, frame: Any, layout: str) -> None:
    """PyTables says nothing when the disk is full at closing, so the file is read back. An error's text is HDF5's
    own stack, many lines."""
    try:
        frame.to_hdf(path, key=H5_KEY, format=layout, mode="w")
        complete = len(pd.read_hdf(path, H5_KEY)) == len(frame)
    except tables.HDF5ExtError:
        complete = False
    if not complete:
        raise OSError("HDF5 could not write all of it; make room on the disk")
