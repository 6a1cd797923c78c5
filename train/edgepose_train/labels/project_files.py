"""Finds the files of a DeepLabCut project, and those that its label files name. This is the layout:

PROJECT/config.yaml
PROJECT/labeled-data/<video>/img0042.png
PROJECT/labeled-data/<video>/CollectedData_<scorer>.csv and .h5
"""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepose.system.wording import count, listing

CONFIG = "config.yaml"
LABELS = "labeled-data"
_ANCESTORS = 4  # the folder of the label file, labeled-data, the project, and one more
_SURE = 3  # parts of a path that agree; a bare name agrees in one


def folder_and_ancestors(folder: Path) -> list[Path]:
    """Returns the folders in which a project is looked for, the nearest first."""
    return [folder, *folder.parents][:_ANCESTORS]


def find_file(written: str, folder: Path) -> Path | None:
    """Finds the file that a label file in `folder` refers to, below that folder or one of its ancestors.

    Args:
        written: the path as the label file has it. It may belong to the computer on which the labels were made, so its
            last parts are tried as well. An address such as https://... is no file.
        folder: the folder of the label file.
    """
    if "://" in written:
        return None
    for spelling in spellings(written):
        parts = [part for part in spelling.replace("\\", "/").split("/") if part]
        for tail in (parts, parts[-3:], parts[-2:]):
            for start in folder_and_ancestors(folder):
                if tail and is_inside(file := start.joinpath(*tail), start):
                    return file
        if parts and is_inside(beside := folder / parts[-1], folder):
            return beside
    return None


def spellings(name: str) -> list[str]:
    """Returns the name, and its other Unicode forms: macOS writes an umlaut as two characters."""
    return list(dict.fromkeys([name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]))


def is_inside(file: Path, folder: Path) -> bool:
    """Returns True for a file that is really below the folder.

    A label file of somebody else must not reach other files, by `..` or through a link.
    """
    return is_file(file) and file.resolve().is_relative_to(folder.resolve())


def one_name_each(found: dict[str, Path | None], problems: list[str]) -> dict[str, Path | None]:
    """Takes away files that two different names have led to, because only one of the two can be meant.

    The name that agrees with the file in more of its last parts keeps it. Names that agree in three parts, as
    `labeled-data/<video>/<image>` does, are the same place on two computers.

    Args:
        found: the file of each name in a label file.
        problems: gets one line about the names that lose their file.
    """
    names: dict[Path, list[str]] = {}
    for name, file in found.items():
        if file is not None:
            names.setdefault(file, []).append(name)
    lost: list[str] = []
    for file, several in names.items():
        agree = {name: _agreeing_parts(name, file) for name in several}
        most = max(agree.values())
        best = [name for name in several if agree[name] == most]
        lost += [name for name in several if name not in best or (len(best) > 1 and most < _SURE)]
    if lost:
        problems.append(
            f"{count(len(lost), 'file')} missing, as the one of that name here belongs to another video or folder; "
            f"left out: {listing(sorted(lost))}"
        )
    return {name: None if name in lost else file for name, file in found.items()}


def _agreeing_parts(written: str, file: Path) -> int:
    parts = unicodedata.normalize("NFC", written).replace("\\", "/").split("/")
    own = [unicodedata.normalize("NFC", part) for part in file.parts]
    return next((n for n, (a, b) in enumerate(zip(parts[::-1], own[::-1], strict=False)) if a != b), len(parts))


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
