"""What commands have set, kept over restarts in a small file."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from edgepose.core.errors import EdgeposeError
from edgepose.core.messages import Settings
from edgepose.durable import write_durably

log = logging.getLogger(__name__)

_LONGEST = 4096  # bytes; what is longer is not ours


def read_settings(path: Path) -> Settings:
    """A damaged file is set aside: a daemon that looks at the whole frame is better than none. Never raises."""
    try:
        if not path.exists():
            return Settings()
        return msgspec.json.decode(_content(path), type=Settings)
    except (OSError, ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
    log.warning("%s: cannot read (%s); what was set by commands is forgotten", path, why)
    try:
        path.replace(path.with_suffix(".damaged"))
    except OSError as exc:
        log.warning("%s: cannot be moved away (%s); remove it, or nothing new can be set", path, exc.strerror)
    return Settings()


def write_settings(path: Path, settings: Settings) -> None:
    """Whole or not at all, and on the disk when it returns. Raises EdgeposeError when it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, msgspec.json.encode(settings))
    except OSError as exc:
        raise EdgeposeError(f"{path}: cannot keep the settings ({exc.strerror}), so nothing was changed") from None


def _content(path: Path) -> bytes:
    if not path.is_file():  # reading a pipe would wait for ever
        raise ValueError("not a file")
    with path.open("rb") as file:
        return file.read(_LONGEST)
