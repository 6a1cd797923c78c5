"""Finds the state folder, for what must survive a restart.

Which folder it is depends on who asks and on whether the service is installed, and never on which folders exist: a
folder that somebody makes must not change which model is activated. The first of these that holds is taken:

1. systemd's `STATE_DIRECTORY`, which the service has: /var/lib/edgepose.
2. `$XDG_STATE_HOME/edgepose`, where the variable is an absolute path; its specification ignores others.
3. /var/lib/edgepose for the service's user, and for root where this user exists: an administrator acts for the service.
4. `~/.local/state/edgepose` for everybody else.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from edgepose.errors import EdgeposeError

SERVICE_STATE = Path("/var/lib/edgepose")
SERVICE_USER = "edgepose"


def state_dir() -> Path:
    """Returns the state folder. Nothing is made. Raises EdgeposeError for a user who has no home folder."""
    if state := os.environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(state)
    if (home := Path(os.environ.get("XDG_STATE_HOME", ""))).is_absolute():
        return home / "edgepose"
    try:
        return SERVICE_STATE if _acts_for_service() else Path.home() / ".local" / "state" / "edgepose"
    except RuntimeError:  # in a container, a user may have no entry in /etc/passwd
        raise EdgeposeError(
            "this user has no home folder for what must survive a restart; set XDG_STATE_HOME"
        ) from None


def _acts_for_service() -> bool:
    try:
        return os.getuid() in {0, pwd.getpwnam(SERVICE_USER).pw_uid}
    except KeyError:
        return False
