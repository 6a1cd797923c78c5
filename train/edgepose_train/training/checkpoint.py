"""Checkpoints: all arrays of the training state in one `.npz` file, so that a stopped run can continue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.errors import EdgeposeError, UsageError
from edgepose.system.atomic_files import replace_files

CHECKPOINT = "checkpoint.npz"


def save(path: Path, groups: dict[str, list[Any]], notes: dict[str, Any]) -> None:
    """Replaces the checkpoint at `path`, completely or not at all.

    Args:
        path: the file.
        groups: lists of arrays by name.
        notes: JSON values. The value `identity` says which run the checkpoint belongs to.
    """
    # The type of the values is that of `np.savez`, whose stub takes every keyword for one of its own options.
    arrays: dict[str, Any] = {
        f"{name}/{i:04}": np.asarray(array) for name, group in groups.items() for i, array in enumerate(group)
    }
    replace_files({path: lambda temporary: np.savez(temporary, notes=np.array(json.dumps(notes)), **arrays)})


def load(path: Path, identity: dict[str, Any]) -> tuple[dict[str, list[Any]], dict[str, Any]] | None:
    """Returns groups and notes as they were saved, or None where there is no checkpoint.

    Raises:
        EdgeposeError: the file is damaged.
        UsageError: the checkpoint belongs to a run with another identity.
    """
    if not path.exists():
        return None
    groups, notes = read(path)
    if notes["identity"] != identity:
        raise UsageError(
            f"{path.parent}: holds a run with other frames, settings or version of edgepose; "
            "give another folder with -o, or delete this one"
        )
    return groups, notes


def is_run(folder: str) -> bool:
    """Returns True when `folder` holds a finished run."""
    return all((Path(folder) / name).is_file() for name in (CHECKPOINT, "model.tflite"))


def read(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Returns groups and notes of any run; raises EdgeposeError when the file is missing or damaged."""
    groups: dict[str, list[Any]] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            notes = json.loads(str(data["notes"]))
            assert isinstance(notes["identity"], dict)
            for key in sorted(key for key in data.files if "/" in key):
                groups.setdefault(key.split("/")[0], []).append(data[key])
    except FileNotFoundError:
        raise EdgeposeError(f"{path}: no such file; give the folder of a finished run") from None
    # A truncated or foreign file fails in zipfile, NumPy or json, each with its own exception.
    except Exception as exc:
        raise EdgeposeError(f"{path}: damaged checkpoint ({exc}); delete it to start this run anew") from None
    return groups, notes
