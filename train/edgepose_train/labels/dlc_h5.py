"""Reads and writes DeepLabCut's H5 label files with h5py alone.

pandas has written them in two layouts, called "fixed" and "table" in its own documentation; see `BlockManagerFixed` and
`AppendableFrameTable` in pandas/io/pytables.py. A "table" holds the names of its columns as pickles. Loading a pickle
can run code, so the few opcodes that lists of names need are interpreted here, and every other one is refused.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.tables.deeplabcut_h5 import H5_KEY, write_h5
from edgepose_train.labels.h5_safety import check_h5
from edgepose_train.labels.label_cells import Cells, cell_text

Labels = list[tuple[str, ...]]  # of the columns, or of the rows: for each one the label in each level


def write_h5_cells(path: Path, cells: Cells) -> None:
    """Writes labels. The index is `labeled-data`, video and image where every row says all three, as DeepLabCut
    expects it. Raises OSError."""
    columns = {level[0]: level[cells.index_width :] for level in cells.header}
    images = [cells.image_path(row) for row in cells.rows]
    parts = [tuple(image.split("/")) for image in images]
    write_h5(path, cells.values(), columns, parts if all(len(part) == 3 for part in parts) else images)


def read_h5_cells(path: Path) -> Cells:
    """Reads labels. Raises DatasetError with one line."""
    try:
        with h5py.File(path, "r") as file:
            check_h5(file)
            levels, columns, index, values = _read_frame(path, file)
    except DatasetError:
        raise
    # h5py raises many kinds of errors at a damaged file, and so do damaged names.
    except Exception as exc:
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise DatasetError(f"{path}: cannot read as H5 ({first}); copy it again, or give the CSV beside it") from None
    if "bodyparts" not in levels or "coords" not in levels:
        raise DatasetError(f"{path}: its columns are not scorer, bodyparts, coords; not a label file")
    if values.dtype.kind not in "fiu":
        raise DatasetError(f"{path}: holds values that are not numbers")
    width = len(index[0]) if index else 1
    header = [
        [name, *[""] * (width - 1), *map(str, labels)]
        for name, labels in zip(levels, zip(*columns, strict=True), strict=True)
    ]
    rows = [[*key, *map(cell_text, row)] for key, row in zip(index, values.astype(np.float64).tolist(), strict=True)]
    return Cells(header, rows, width)


def _read_frame(path: Path, file: h5py.File) -> tuple[list[str], Labels, Labels, NDArray[Any]]:
    """Returns the names of the header's levels, the labels of the columns and of the rows, and the values (N, C)."""
    # napari-deeplabcut has written its only table as `keypoints`.
    key = H5_KEY if H5_KEY in file or len(file) != 1 else next(iter(file))
    if key not in file:
        raise DatasetError(f"{path}: holds no table {H5_KEY!r}; not a DeepLabCut label file")
    group = file[key]
    match _text(group.attrs.get("pandas_type", "")):
        case "frame":
            return _read_fixed(group)
        case "frame_table":
            return _read_table(group)
        case _:
            raise DatasetError(f"{path}: {key!r} is no table; not a DeepLabCut label file")


# --- layout "fixed" ----------------------------------------------------------------------------------------


def _read_fixed(group: h5py.Group) -> tuple[list[str], Labels, Labels, NDArray[Any]]:
    levels, columns = _read_axis(group, "axis0")
    _, index = _read_axis(group, "axis1")
    blocks = []
    for i in range(int(group.attrs["nblocks"])):
        data = group[f"block{i}_values"]
        values = _read_array(data)
        blocks.append((_read_axis(group, f"block{i}_items")[1], values if data.attrs["transposed"] else values.T))
    return levels, columns, index, _joined(columns, blocks, len(index))


def _read_axis(group: h5py.Group, axis: str) -> tuple[list[str], Labels]:
    if _text(group.attrs[f"{axis}_variety"]) != "multi":
        return [_text(group[axis].attrs.get("name", ""))], [(text,) for text in _texts(_read_array(group[axis]))]
    names, levels = [], []
    for i in range(int(group.attrs[f"{axis}_nlevels"])):
        level = group[f"{axis}_level{i}"]
        texts = _texts(_read_array(level))
        names.append(_text(level.attrs.get("name", "")))
        levels.append([texts[code] for code in _read_array(group[f"{axis}_label{i}"]).tolist()])
    return names, list(zip(*levels, strict=True))


def _read_array(data: h5py.Dataset) -> NDArray[Any]:
    """Reads an array. One without elements is stored as one element and its true shape."""
    if "shape" in data.attrs:
        shape = _parse_names(data.attrs["shape"])
        if math.prod(shape):
            raise ValueError(f"an array of shape {shape} is not empty")
        return np.empty(shape, _text(data.attrs["value_type"]))
    return np.asarray(data[()])


# --- layout "table" ----------------------------------------------------------------------------------------


def _read_table(group: h5py.Group) -> tuple[list[str], Labels, Labels, NDArray[Any]]:
    table = group["table"]
    ((_, columns),) = _parse_names(group.attrs["non_index_axes"])
    levels = _parse_names(group.attrs["info"])[1].get("names", [])
    rows = table[()]
    index: Labels = [(text,) for text in _texts(rows["index"])]
    blocks = [
        (_parse_names(table.attrs[f"{field}_kind"]), rows[field]) for field in rows.dtype.names if field != "index"
    ]
    return levels, columns, index, _joined(columns, blocks, len(index))


def _parse_names(pickled: bytes) -> Any:
    """Returns the texts, numbers, lists, tuples and dictionaries in a pickle of protocol 0; PyTables writes no other.

    Raises ValueError where it holds anything else.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(bytes(pickled)):
        match opcode.name:
            case "MARK":
                marks.append(len(stack))
            case "UNICODE" | "STRING" | "INT" | "LONG" | "NONE":
                stack.append(argument)
            case "LIST" | "TUPLE" | "DICT":
                start = marks.pop()
                items = stack[start:]
                filled = list(items) if opcode.name == "LIST" else tuple(items)
                stack[start:] = [dict(zip(items[::2], items[1::2], strict=True)) if opcode.name == "DICT" else filled]
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "PUT":
                memo[argument] = stack[-1]
            case "GET":
                stack.append(memo[argument])
            case "STOP":
                return stack.pop()
            case name:
                raise ValueError(f"a name is stored as an object, by {name}")
    raise ValueError("the names of its columns are cut off")


# --- both --------------------------------------------------------------------------------------------------


def _joined(columns: Labels, blocks: Sequence[tuple[Labels, NDArray[Any]]], count: int) -> NDArray[Any]:
    """Puts blocks, each of one type of numbers, in the order of the columns."""
    place = {column: i for i, column in enumerate(columns)}
    order = [place[column] for items, _ in blocks for column in items]
    if sorted(order) != list(range(len(columns))):
        raise ValueError("its columns and its values do not agree")
    values = np.concatenate([values for _, values in blocks], axis=1) if blocks else np.empty((count, 0))
    return values[:, np.argsort(order)]


def _texts(values: NDArray[Any]) -> list[str]:
    if values.dtype.kind not in "Siu":
        raise ValueError("names are stored as objects")
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist()]


def _text(value: Any) -> str:
    """Returns the text of an attribute, which HDF5 stores as bytes or as text."""
    return value.decode() if isinstance(value, bytes) else str(value)
