"""DeepLabCut's own H5 tables, which its plotting, filtering, video and labelling tools read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables  # pandas imports it late; where it is missing, that must be reported before an hour's analysis
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose_train.labels.label_cells import Cells, cell_text

H5_KEY = "df_with_missing"


def write_h5(path: Path, values: NDArray[np.float64], frames: Sequence[int], names: Sequence[str], scorer: str) -> None:
    """Predictions. values: (N, K, 3) of x, y, likelihood; frames: (N,) row numbers. Raises OSError."""
    header = pd.MultiIndex.from_product(
        [[scorer], list(names), ["x", "y", "likelihood"]], names=["scorer", "bodyparts", "coords"]
    )
    frame = pd.DataFrame(values.reshape(len(values), -1), columns=header, index=list(frames))
    _save(path, frame, "table")


def write_h5_cells(path: Path, cells: Cells) -> None:
    """Writes labels. The index is `labeled-data`, video and image where every row says all three, as DeepLabCut
    expects it. Raises OSError."""
    columns = list(zip(*(level[cells.index_width :] for level in cells.header), strict=True))
    images = [tuple(cells.image_path(row).split("/")) for row in cells.rows]
    whole = all(len(parts) == 3 for parts in images)
    frame = pd.DataFrame(
        cells.values(),
        columns=pd.MultiIndex.from_tuples(columns, names=[level[0] for level in cells.header]),
        index=pd.MultiIndex.from_tuples(images) if images and whole else ["/".join(parts) for parts in images],
    )
    _save(path, frame, "fixed")


def read_h5_cells(path: Path) -> Cells:
    """Reads labels. Raises DatasetError with one line."""
    frame = _load(path)
    levels = [str(name) for name in frame.columns.names]
    if "bodyparts" not in levels or "coords" not in levels:
        raise DatasetError(f"{path}: its columns are not scorer, bodyparts, coords; not a label file")
    try:
        values = frame.to_numpy(np.float64).tolist()
    except (TypeError, ValueError):
        raise DatasetError(f"{path}: holds values that are not numbers") from None
    width = frame.index.nlevels
    labels = zip(*frame.columns, strict=True)
    header = [[name, *[""] * (width - 1), *map(str, row)] for name, row in zip(levels, labels, strict=True)]
    rows = []
    for key, row in zip(frame.index, values, strict=True):
        index = key if isinstance(key, tuple) else (key,)
        rows.append([*map(str, index), *map(cell_text, row)])
    return Cells(header, rows, width)


def _load(path: Path) -> Any:
    """pandas reads both layouts that DeepLabCut has written, `table` and `fixed`."""
    try:
        with pd.HDFStore(path, "r") as store:
            # napari-deeplabcut has written its only table as `keypoints`.
            key = H5_KEY if H5_KEY in store or len(store.keys()) != 1 else store.keys()[0]
            frame = store[key]
    except KeyError:
        raise DatasetError(f"{path}: holds no table {H5_KEY!r}; not a DeepLabCut label file") from None
    # pandas and PyTables raise a dozen kinds of errors (HDF5ExtError, OSError, AttributeError…) at a damaged file.
    except Exception as exc:
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise DatasetError(f"{path}: cannot read as H5 ({first}); copy it again, or give the CSV beside it") from None
    if not isinstance(frame, pd.DataFrame):
        raise DatasetError(f"{path}: {key!r} is no table; not a DeepLabCut label file")
    return frame


def _save(path: Path, frame: Any, layout: str) -> None:
    """PyTables reports nothing when the disk is full as it closes the file, so the file is read back. The text of its
    errors is HDF5's own stack, many lines."""
    try:
        frame.to_hdf(path, key=H5_KEY, format=layout, mode="w")
        complete = len(pd.read_hdf(path, H5_KEY)) == len(frame)
    except (tables.HDF5ExtError, KeyError):  # KeyError: not even the table's name was written
        complete = False
    if not complete:
        raise OSError("HDF5 could not write all of it; make room on the disk")
