"""Finds the state folder, which holds what must survive a restart: systemd's StateDirectory, or the user's own."""

from __future__ import annotations

import os
from pathlib import Path

SERVICE_STATE = Path("/var/lib/edgepose")


def state_dir() -> Path:
    """Returns the state folder. An administrator in a shell gets the service's."""
    if state := os.environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(state)
    if "XDG_STATE_HOME" not in os.environ and os.getuid() == 0 and SERVICE_STATE.is_dir():
        return SERVICE_STATE
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "edgepose"
