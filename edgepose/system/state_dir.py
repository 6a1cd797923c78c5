"""Finds the state folder, for what must survive a restart.

Which folder it is depends on who asks and on whether the service is installed, and never on which folders exist: a
folder that somebody makes must not change which model is activated. The first of these that holds is taken:

1. systemd's `STATE_DIRECTORY`, which the service has: /var/lib/edgepose.
2. `$XDG_STATE_HOME/edgepose`, where the variable is set.
3. /var/lib/edgepose for the service's user, and for root where this user exists: an administrator acts for the service.
4. `~/.local/state/edgepose` for everybody else.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

SERVICE_STATE = Path("/var/lib/edgepose")
SERVICE_USER = "edgepose"


def state_dir() -> Path:
    """Returns the state folder. Nothing is made."""
    if state := os.environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(state)
    if home := os.environ.get("XDG_STATE_HOME"):
        return Path(home) / "edgepose"
    return SERVICE_STATE if _acts_for_service() else Path.home() / ".local" / "state" / "edgepose"


def _acts_for_service() -> bool:
    try:
        return os.getuid() in {0, pwd.getpwnam(SERVICE_USER).pw_uid}
    except KeyError:
        return False
