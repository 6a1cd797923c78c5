"""Keeps the settings that commands have changed, over restarts, in a small file.

The file has no `v`, as that of the first version: edgepose 0.1.0 refuses every field that it does not know, and would
forget the settings after a rollback.
"""

from __future__ import annotations

from pathlib import Path

from edgepose.errors import EdgeposeError
from edgepose.protocol.messages import Settings
from edgepose.system.state_files import read_state, write_state


def read_settings(path: Path) -> Settings:
    """The settings in the file, or the usual ones. Never raises.

    A damaged file is set aside, since a daemon with the usual settings is better than none.
    """
    return read_state(path, Settings, "what was set by commands is forgotten") or Settings()


def write_settings(path: Path, settings: Settings) -> None:
    """Writes the whole file or nothing; it is on the disk when this returns. Raises EdgeposeError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_state(path, settings)
    except OSError as exc:
        raise EdgeposeError(f"{path}: cannot keep the settings ({exc.strerror}), so nothing was changed") from None
