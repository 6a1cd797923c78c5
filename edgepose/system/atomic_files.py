"""Files that are whole or not there, and on the disk when the call returns: what a power cut leaves is the old one or
the new. And small files of state, read back however damaged they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

log = logging.getLogger(__name__)

T = TypeVar("T")
_LONGEST = 65_536  # bytes of state; what is longer is not ours


def read_state(path: Path, kind: type[T], forgotten: str) -> T | None:
    """A JSON file that `write_durably` made; None where there is none. A damaged one is set aside, and `forgotten`
    told, which says what is lost with it: a daemon without its state is better than none. Never raises."""
    try:
        if not path.exists():
            return None
        return msgspec.json.decode(_content(path), type=kind)
    except (OSError, ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
    log.warning("%s: cannot read (%s); %s", path, why, forgotten)
    try:
        path.replace(path.with_suffix(".damaged"))
    except OSError as exc:
        log.warning("%s: cannot be moved away (%s); remove it, or nothing new can be kept", path, exc.strerror)
    return None


def _content(path: Path) -> bytes:
    if not path.is_file():  # reading a pipe would wait for ever
        raise ValueError("not a file")
    with path.open("rb") as file:
        return file.read(_LONGEST)


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replaces the file. mode: its permissions, whatever the umask. Raises OSError."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def replace_durably(path: Path, write: Callable[[Path], None]) -> None:
    """Has `write` make a file of another name but the same ending, which then takes the place of `path`. Raises
    OSError, and what `write` raises."""
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(temporary)
        sync_file(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Its content is on the disk when this returns. Raises OSError."""
    _sync(path, os.O_RDWR)


def sync_folder(folder: Path) -> None:
    """A new name is on the disk only with its folder. Raises OSError."""
    _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    number = os.open(path, flags)
    try:
        os.fsync(number)
    finally:
        os.close(number)
