"""Reads passwords: from a file of their own, from systemd or from the environment, and never from a config."""

from __future__ import annotations

import os
from pathlib import Path

from edgepose.errors import ConfigError


def find_password(section: str, username: str | None, password_file: str | None) -> str | None:
    """Finds the password for a section of the config, such as `mqtt`.

    It comes from the section's `password_file`, else from systemd's credential `mqtt-password`, else from the variable
    EDGEPOSE_MQTT_PASSWORD. Returns None where there is no user or no password. Raises ConfigError.
    """
    if password_file is not None:
        if username is None:
            raise ConfigError(f"{section}.password_file: needs {section}.username as well; add it")
        return first_line(Path(password_file), f"{section}.password_file")
    if username is None:
        return None
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder) / f"{section}-password" if folder else None
    if credential is not None and credential.exists():
        return first_line(credential, "$CREDENTIALS_DIRECTORY")
    return os.environ.get(f"EDGEPOSE_{section.upper()}_PASSWORD")


def first_line(path: Path, what: str) -> str:
    """Reads a file that holds a password. what: the setting that names the file, for messages. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:  # ValueError: not text, or a path that cannot be one
        why = "not UTF-8 text" if isinstance(exc, UnicodeDecodeError) else getattr(exc, "strerror", exc)
        raise ConfigError(f"{what}: cannot read {path} ({why})") from None
    if not lines or not lines[0]:
        raise ConfigError(f"{what}: {path} is empty; its first line is the password")
    return lines[0]
