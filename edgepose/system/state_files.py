"""Reads and writes small files of state (JSON), which several processes and versions of edgepose read and change.

A version of edgepose may add fields: another one ignores those that it does not know, and keeps them when it writes
the file again. The `v` of a file grows only when an earlier version would misunderstand its fields. A file without `v`
is of version 1. A version of edgepose that meets a larger `v` never writes that file. It reads of it what it can, and
keeps its own changes in a file beside it, which ends in `.v1.json`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgepose.system.atomic_files import write_durably

log = logging.getLogger(__name__)

T = TypeVar("T")
STATE_VERSION = 1
_MOST_BYTES = 1_000_000  # more than a hundred configuration files with the longest paths take


class _StateVersion(msgspec.Struct):
    v: int = 1


def read_state(path: Path, kind: type[T], forgotten: str) -> T | None:
    """Reads a file of state. Never raises, because a daemon without its state is better than no daemon.

    Args:
        kind: the struct that the file holds.
        forgotten: what is lost with a damaged file, in words, for the log. Such a file is renamed to `.damaged`.

    Returns:
        The content; None where there is no file, or none that can be read.
    """
    if newer_state(path) is not None:
        own = _own_file(path)
        if _stamp(own)[0] < _stamp(path)[0]:
            with contextlib.suppress(OSError, ValueError, RecursionError):
                return msgspec.json.decode(_content(path), type=kind)
        path = own
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


def write_state(path: Path, content: msgspec.Struct) -> None:
    """Replaces the file, and keeps the fields in it that this version does not know. Raises OSError.

    Where the file is of a newer version, the file beside it is replaced. It is on the disk when this returns.
    """
    own = path if newer_state(path) is None else _own_file(path)
    known = msgspec.to_builtins(content)
    if "v" in known:
        known["v"] = STATE_VERSION
    fields: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, RecursionError):
        fields = msgspec.json.decode(_content(own), type=dict[str, Any])
    write_durably(own, msgspec.json.encode({**fields, **known}))


def newer_state(path: Path) -> str | None:
    """Returns what to report where the file is of a newer version of edgepose, otherwise None."""
    try:
        found = msgspec.json.decode(_content(path), type=_StateVersion).v
    except (OSError, ValueError, RecursionError):
        return None
    if found <= STATE_VERSION:
        return None
    which = f"written by a newer version of edgepose (format {found}, this one knows {STATE_VERSION})"
    return f"{path}: {which}; it stays as it is, and this version keeps its changes in {_own_file(path).name}"


def state_stamp(path: Path) -> tuple[tuple[int, int], ...]:
    """Returns a value that changes when somebody writes the file, or the one beside it."""
    return tuple(_stamp(one) for one in (path, _own_file(path)))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps every other process out that wants to lock the same file; it waits until this one is done.

    Whoever reads a file of state, changes it and writes it back does so inside, so that no change of another process is
    lost. The lock is on a file beside it that ends in `.lock` and stays. Raises OSError.
    """
    # Opened for reading only: an administrator may have made it, and the service may then not write it. A link is
    # refused: the administrator would change the permissions of whatever the service's user lets it point to.
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW
    number = os.open(path.with_suffix(".lock"), flags, 0o644)
    try:
        with contextlib.suppress(OSError):  # another's file; whoever made it has done so
            os.fchmod(number, 0o644)  # whatever the umask is: the service must be able to open it too
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _own_file(path: Path) -> Path:
    return path.with_suffix(f".v{STATE_VERSION}{path.suffix}")


def _stamp(path: Path) -> tuple[int, int]:
    """Returns when the file was written, in nanoseconds since 1970, and its inode; (0, 0) where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def _content(path: Path) -> bytes:
    if not path.is_file():  # reading a pipe would wait for ever
        raise ValueError("not a file")
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)
