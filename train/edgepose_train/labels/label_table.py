"""One DeepLabCut label file, CSV or H5, as a plain table. What lies beside it is `deeplabcut.py`'s business.

Header rows are `scorer`, `individuals` (multi-animal projects only), `bodyparts` and `coords`. A row's index is
the image path: in one column (older projects) or one column per path part.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError

H5_KEY = "df_with_missing"
CSV_SUFFIXES = {".csv"}
H5_SUFFIXES = {".h5", ".hdf", ".hdf5"}
_HEADER_ROWS = ("scorer", "individuals", "bodyparts", "coords")
_DROPPED_COORDS = {"likelihood", "visible"}  # left by refined machine labels, and by Lightning Pose
_NOT_LABELLED = {"", "nan", "na", "n/a", "null", "none"}


@dataclass(frozen=True, slots=True)
class LabelTable:
    """names: the K body parts. images: path of each row as written, with `/`. xy_px: (N, K, 2), NaN = not labelled."""

    path: Path
    names: tuple[str, ...]
    images: tuple[str, ...]
    xy_px: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of numbers. individual: "" in single-animal files."""

    individual: str
    bodypart: str
    coord: str


def read_label_table(path: Path) -> LabelTable:
    """Raises DatasetError with one line that names the file and the line or column at fault."""
    if path.suffix.lower() in H5_SUFFIXES:
        columns, images, values = _read_h5(path)
    else:
        columns, images, values = _read_csv(path)
    names, x_columns, y_columns = _keypoint_columns(path, columns, np.asarray(np.isfinite(values).any(axis=0)))
    return LabelTable(path, names, tuple(images), np.stack([values[:, x_columns], values[:, y_columns]], axis=2))


def _keypoint_columns(
    path: Path, columns: Sequence[_Column], filled: NDArray[np.bool_]
) -> tuple[tuple[str, ...], list[int], list[int]]:
    """Names in the file's order, and where the x and the y of each stand. filled: columns with any number."""
    # `single` holds the points that exist once whatever the number of animals; one animal plus those is one pose.
    # Multi-animal projects list the animals that might be there; only the one that is labelled counts.
    animals = dict.fromkeys(c.individual for c in columns if c.individual not in {"", "single"})
    labelled = sorted({c.individual for c, any_ in zip(columns, filled, strict=True) if any_} & animals.keys())
    if len(labelled) > 1:
        raise DatasetError(
            f"{path}: labels {len(labelled)} animals ({', '.join(labelled)}); edgepose follows one, "
            "so keep the columns of one individual"
        )
    left_out = animals.keys() - (labelled or list(animals)[:1])
    found: dict[str, dict[str, int]] = {}
    for i, column in enumerate(columns):
        if column.coord in _DROPPED_COORDS or column.individual in left_out:
            continue
        if column.coord not in {"x", "y"}:
            raise DatasetError(f"{path}: body part {column.bodypart!r} has a column {column.coord!r}; expected x and y")
        if column.coord in found.setdefault(column.bodypart, {}):
            raise DatasetError(f"{path}: body part {column.bodypart!r} has two columns {column.coord!r}")
        found[column.bodypart][column.coord] = i
    for name, coords in found.items():
        for coord in ("x", "y"):
            if coord not in coords:
                raise DatasetError(f"{path}: body part {name!r} has no column {coord!r}")
    if not found:
        raise DatasetError(f"{path}: has no body parts")
    return tuple(found), [c["x"] for c in found.values()], [c["y"] for c in found.values()]


def _join_path(cells: Sequence[str]) -> str:
    return "/".join(cell.strip() for cell in cells if cell.strip()).replace("\\", "/")


# --- CSV ---------------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> tuple[list[_Column], list[str], NDArray[np.float64]]:
    lines = _csv_lines(path)
    header: dict[str, list[str]] = {}
    images, values = [], []
    columns: list[_Column] = []
    index_width = 0
    for number, row in lines:
        if not columns:
            if not _is_next_header(path, number, row, header):
                raise DatasetError(
                    f"{path}, line {number}: expected a header row `coords`, got {row[0]!r}; not a label file"
                )
            header[row[0].strip()] = [cell.strip() for cell in row]
            if "coords" in header:
                index_width, columns = _csv_columns(path, header)
            continue
        if len(row) != index_width + len(columns):
            raise DatasetError(
                f"{path}, line {number}: {len(row) - index_width} values, but the header has {len(columns)} columns"
            )
        images.append(_join_path(row[:index_width]))
        values.append([_number(path, number, cell, c) for cell, c in zip(row[index_width:], columns, strict=True)])
    if not columns:
        raise DatasetError(f"{path}: empty or cut off before its `coords` row; not a label file")
    return columns, images, np.array(values, np.float64).reshape(len(values), len(columns))


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every row that is not blank."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # -sig: Excel starts files with a byte order mark
            reader = csv.reader(file)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, row
    except OSError as exc:
        raise DatasetError(f"{path}: cannot read ({exc.strerror})") from None
    except (UnicodeDecodeError, csv.Error):
        raise DatasetError(f"{path}: not a text file of comma-separated values in UTF-8") from None


def _is_next_header(path: Path, number: int, row: list[str], header: dict[str, list[str]]) -> bool:
    name = row[0].strip()
    if not header and name != "scorer":
        hint = "separated by semicolons; save it with commas" if name.startswith("scorer;") else "not a label file"
        raise DatasetError(f"{path}, line {number}: expected `scorer` first, got {name[:30]!r}; {hint}")
    return name in _HEADER_ROWS and name not in header


def _csv_columns(path: Path, header: dict[str, list[str]]) -> tuple[int, list[_Column]]:
    """Number of index columns, and what every column after them holds."""
    if "bodyparts" not in header:
        raise DatasetError(f"{path}: no header row `bodyparts`; not a label file")
    widths = {name: len(row) for name, row in header.items()}
    if len(set(widths.values())) != 1:
        told = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise DatasetError(f"{path}: header rows differ in length ({told} cells)")
    bodyparts = header["bodyparts"]
    # Every index column but the first, which holds the row's name, is empty in the header.
    index_width = next((i for i, cell in enumerate(bodyparts) if i and cell), len(bodyparts))
    individuals = header.get("individuals", [""] * len(bodyparts))
    cells = zip(individuals[index_width:], bodyparts[index_width:], header["coords"][index_width:], strict=True)
    columns = [_Column(*cell) for cell in cells]
    for i, column in enumerate(columns, index_width + 1):
        if not column.bodypart or not column.coord:
            raise DatasetError(f"{path}: column {i} has no name in the header")
    return index_width, columns


def _number(path: Path, line: int, cell: str, column: _Column) -> float:
    text = cell.strip()
    if text.lower() in _NOT_LABELLED or column.coord in _DROPPED_COORDS:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise DatasetError(f"{path}, line {line}, {column.bodypart} {column.coord}: {text!r} is not a number")
    return value


# --- H5 ----------------------------------------------------------------------------------------------------


def _read_h5(path: Path) -> tuple[list[_Column], list[str], NDArray[np.float64]]:
    frame = _h5_frame(path)
    levels = [str(name) for name in frame.columns.names]
    if "bodyparts" not in levels or "coords" not in levels:
        raise DatasetError(f"{path}: its columns are not scorer, bodyparts, coords; not a label file")
    columns = []
    for labels in frame.columns:
        of = {level: str(label) for level, label in zip(levels, labels, strict=True)}
        columns.append(_Column(of.get("individuals", ""), of["bodyparts"], of["coords"]))
    images = [_join_path([str(part) for part in (key if isinstance(key, tuple) else (key,))]) for key in frame.index]
    try:
        values = frame.to_numpy(np.float64)
    except (TypeError, ValueError):
        raise DatasetError(f"{path}: holds values that are not numbers") from None
    if np.isinf(values).any():
        raise DatasetError(f"{path}: holds infinite values")
    return columns, images, values


def _h5_frame(path: Path) -> Any:
    """pandas reads both layouts that DeepLabCut has written, `table` and `fixed`."""
    try:
        import pandas as pd
        import tables  # noqa: F401  pandas' own message about it does not say how to install it here
    except ImportError:
        raise DatasetError(f"{path}: H5 files need pandas and tables; pip install 'edgepose[train]'") from None
    try:
        with pd.HDFStore(path, "r") as store:
            # napari-deeplabcut has written its only table as `keypoints`.
            key = H5_KEY if H5_KEY in store or len(store.keys()) != 1 else store.keys()[0]
            frame = store[key]
    except KeyError:
        raise DatasetError(f"{path}: holds no table {H5_KEY!r}; not a DeepLabCut label file") from None
    # pandas and PyTables raise a dozen kinds (HDF5ExtError, OSError, AttributeError…) at a damaged file.
    except Exception as exc:
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise DatasetError(f"{path}: cannot read as H5 ({first}); copy it again, or give the CSV beside it") from None
    if not isinstance(frame, pd.DataFrame):
        raise DatasetError(f"{path}: {key!r} is no table; not a DeepLabCut label file")
    return frame
