"""Files that come with edgepose besides its Python code."""

from __future__ import annotations

import site
import sysconfig
from pathlib import Path

import edgepose
from edgepose.errors import EdgeposeError

DEMO_MODEL = Path(edgepose.__file__).parent / "demo" / "demo.tflite"


def shipped(name: str) -> Path:
    """Returns a file or folder, such as `firmware_configs`: from the checkout, or from where pip has installed it.

    Raises:
        EdgeposeError: it is missing.
    """
    installed = [Path(base) / "share" / "edgepose" for base in (sysconfig.get_path("data"), site.getuserbase())]
    folders = [Path(edgepose.__file__).parents[1], *installed]
    found = next((folder / name for folder in folders if (folder / name).exists()), None)
    if found is None:
        raise EdgeposeError(f"{installed[0] / name}: this part of edgepose is missing; install edgepose again")
    return found
