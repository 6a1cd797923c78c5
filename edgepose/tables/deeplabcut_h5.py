"""Writes tables as DeepLabCut's H5 files with h5py alone (extra `h5`), in the layout of `DataFrame.to_hdf`.

The layout is that of pandas' format "fixed": https://pandas.pydata.org/docs/user_guide/io.html#fixed-format, class
`BlockManagerFixed` in pandas/io/pytables.py. `pandas.read_hdf` reads it, and so do DeepLabCut's own tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepose.types import F64

if TYPE_CHECKING:
    import h5py

H5_KEY = "df_with_missing"
_KINDS = {"S": "string", "i": "integer"}  # pandas' names for the types of an index

Index = NDArray[np.int64] | Sequence[str] | Sequence[tuple[str, ...]]


def write_h5(path: Path, values: F64, columns: dict[str, list[str]], index: Index) -> None:
    """Writes N rows of C columns.

    Args:
        path: the file.
        values: (N, C).
        columns: for each level of the header, by name, the C labels.
        index: for each row its number, its name, or one name for each of several levels.

    Raises:
        OSError: not all of it could be written.
    """
    import h5py

    path.open("wb").close()  # its errors are short and say what is wrong; HDF5's have many lines
    try:
        with h5py.File(path, "w") as file:
            group = file.create_group(H5_KEY)
            group.attrs.update(pandas_type="frame", encoding="UTF-8", errors="strict", ndim=2, nblocks=1)
            for axis in ("axis0", "block0_items"):
                _write_levels(group, axis, list(columns.values()), list(columns))
            if len(index) and isinstance(index[0], tuple):
                _write_levels(group, "axis1", list(zip(*index, strict=True)))
            else:
                group.attrs["axis1_variety"] = "regular"
                _write_array(group, "axis1", index)
            _write_array(group, "block0_values", values)
    except (OSError, RuntimeError) as exc:  # RuntimeError: closing fails as well
        raise OSError("HDF5 could not write all of it; make room on the disk") from exc


def _write_levels(group: h5py.Group, axis: str, levels: Sequence[Sequence[str]], names: Sequence[str] = ()) -> None:
    """Writes, for each level, its different labels and, for each row or column, the index of its label."""
    group.attrs.update({f"{axis}_variety": "multi", f"{axis}_nlevels": len(levels)})
    for i, labels in enumerate(levels):
        different, codes = np.unique(np.array(labels, object), return_inverse=True)
        level = _write_array(group, f"{axis}_level{i}", list(different))
        if names:
            level.attrs["name"] = names[i]
        _write_array(group, f"{axis}_label{i}", codes)


def _write_array(group: h5py.Group, key: str, data: NDArray[Any] | Sequence[Any]) -> h5py.Dataset:
    stored = data if isinstance(data, np.ndarray) else np.array([text.encode() for text in data], np.bytes_)
    dataset = group.create_dataset(key, data=stored)
    dataset.attrs["transposed"] = 1  # rows come first
    if stored.dtype.kind in _KINDS:
        dataset.attrs["kind"] = _KINDS[stored.dtype.kind]
    return dataset
