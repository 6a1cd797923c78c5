"""Finds the files of a DeepLabCut project, and those that its label files name. This is the layout:

PROJECT/config.yaml
PROJECT/labeled-data/<video>/img0042.png
PROJECT/labeled-data/<video>/CollectedData_<scorer>.csv and .h5
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIG = "config.yaml"
LABELS = "labeled-data"
_ANCESTORS = 4  # the folder of the label file, labeled-data, the project, and one more


def folder_and_ancestors(folder: Path) -> list[Path]:
    """Returns the folders in which a project is looked for, the nearest first."""
    return [folder, *folder.parents][:_ANCESTORS]


def find_file(written: str, folder: Path) -> Path | None:
    """Finds the file that a label file in `folder` refers to, below that folder or one of its ancestors.

    Args:
        written: the path as the label file has it. It may belong to the computer on which the labels were made, so its
            last parts are tried as well.
        folder: the folder of the label file.
    """
    parts = [part for part in written.replace("\\", "/").split("/") if part]
    if not parts:
        return None
    for tail in (parts, parts[-3:], parts[-2:]):
        for start in folder_and_ancestors(folder):
            if is_file(file := start.joinpath(*tail)):
                return file
    beside = folder / parts[-1]
    whole = Path(written)
    return next((p for p in (beside, whole) if p.is_absolute() and is_file(p)), None)


def is_file(path: Path) -> bool:
    """Like `Path.is_file`, but returns False where that raises: for a name too long, or in a folder without access."""
    return os.path.isfile(path)  # noqa: PTH113


@contextmanager
def staging(destination: Path) -> Iterator[Path]:
    """Yields a hidden folder beside the destination, on the same disk, so that renaming it is one step."""
    folder = destination.with_name(f".{destination.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
