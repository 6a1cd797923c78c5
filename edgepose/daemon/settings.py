"""What commands have set, kept over restarts in a small file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgepose.errors import EdgeposeError
from edgepose.protocol.messages import Settings
from edgepose.system.atomic_files import read_state, write_durably


def read_settings(path: Path) -> Settings:
    """A damaged file is set aside: a daemon that looks at the whole frame is better than none. Never raises."""
    return read_state(path, Settings, "what was set by commands is forgotten") or Settings()


def write_settings(path: Path, settings: Settings) -> None:
    """Whole or not at all, and on the disk when it returns. Raises EdgeposeError when it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, msgspec.json.encode(settings))
    except OSError as exc:
        raise EdgeposeError(f"{path}: cannot keep the settings ({exc.strerror}), so nothing was changed") from None
