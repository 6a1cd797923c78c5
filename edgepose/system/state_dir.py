"""Where the daemon keeps what must outlive it: systemd's StateDirectory, or the user's own state folder."""

from __future__ import annotations

import os
from pathlib import Path

SERVICE_STATE = Path("/var/lib/edgepose")


def state_dir() -> Path:
    """Also right for an administrator who works on the service's state from a shell."""
    if state := os.environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(state)
    if "XDG_STATE_HOME" not in os.environ and os.getuid() == 0 and SERVICE_STATE.is_dir():
        return SERVICE_STATE
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "edgepose"
