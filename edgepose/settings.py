"""What commands have set, kept over restarts in a small file."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import msgspec

from edgepose.core.errors import EdgeposeError
from edgepose.core.messages import Settings

log = logging.getLogger(__name__)


class SettingsFile:
    """current: what is in effect."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.current = self._read()

    def write(self, settings: Settings) -> None:
        """Whole or not at all, and on the disk when it returns. Raises EdgeposeError; then it is not in effect."""
        temporary = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(settings))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as exc:
            raise EdgeposeError(f"{self._path}: cannot keep the settings ({exc.strerror})") from None
        self.current = settings

    def _read(self) -> Settings:
        """A damaged file is set aside: a daemon that looks at the whole frame is better than none."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Settings)
        except FileNotFoundError:
            return Settings()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            log.warning("%s: cannot read (%s); what was set by commands is forgotten", self._path, exc)
            with contextlib.suppress(OSError):
                self._path.replace(self._path.with_suffix(".damaged"))
            return Settings()
