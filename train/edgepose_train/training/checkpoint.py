"""What a stopped run needs to go on: every array of the training state in one `.npz`, replaced atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.errors import EdgeposeError, UsageError


def save(path: Path, groups: dict[str, list[Any]], notes: dict[str, Any]) -> None:
    """groups: lists of arrays by name. notes: JSON values; `identity` among them tells runs apart."""
    arrays = {f"{name}/{i:04}": np.asarray(array) for name, group in groups.items() for i, array in enumerate(group)}
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.savez(file, notes=np.array(json.dumps(notes)), **arrays)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the new name with nothing in it
    temporary.replace(path)


def load(path: Path, identity: dict[str, Any]) -> tuple[dict[str, list[Any]], dict[str, Any]] | None:
    """Groups and notes as saved; None where there is no checkpoint.

    Raises EdgeposeError when the file is damaged, UsageError when it is of another run.
    """
    if not path.exists():
        return None
    groups, notes = read(path)
    if notes["identity"] != identity:
        raise UsageError(
            f"{path.parent}: holds a run with other frames, settings or version of edgepose; "
            "give another folder with -o, or delete it"
        )
    return groups, notes


def is_run(folder: str) -> bool:
    """Whether a finished run lies there."""
    return all((Path(folder) / name).is_file() for name in ("checkpoint.npz", "model.json"))


def read(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Groups and notes of any run. Raises EdgeposeError when the file cannot be read or is damaged."""
    groups: dict[str, list[Any]] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            notes = json.loads(str(data["notes"]))
            assert isinstance(notes["identity"], dict)
            for key in sorted(key for key in data.files if "/" in key):
                groups.setdefault(key.split("/")[0], []).append(data[key])
    except FileNotFoundError:
        raise EdgeposeError(f"{path}: no such file; give the folder of a finished run") from None
    # A torn or foreign file fails in zipfile, in NumPy or in json, each in its own way.
    except Exception as exc:
        raise EdgeposeError(f"{path}: damaged checkpoint ({exc}); delete it to start this run anew") from None
    return groups, notes
