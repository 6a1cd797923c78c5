"""Files that are replaced as a whole: after a power cut the old content is there, or the new, and never a part of it.

`write_durably` is for bytes, `replace_files` for files that a library writes, and for several files that belong
together. When one of them returns, the content is on the disk. Below them: small files of state, which several
processes may change.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

log = logging.getLogger(__name__)

T = TypeVar("T")
_MOST_STATE_BYTES = 65_536


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replaces the file by one with this content.

    Args:
        mode: the permissions that the file gets, whatever the umask is.

    Raises:
        OSError: the file is what it was before.
    """

    def write(temporary: Path) -> None:
        temporary.touch(0o600)  # a secret is readable to its owner alone while it is written
        temporary.write_bytes(data)
        temporary.chmod(mode)

    replace_files({path: write})


def replace_files(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Replaces several files as one step: none of them is touched before all new ones are on the disk.

    Args:
        writers: for each file a function that writes the new one to the path it is given, which is in the same folder
            and has the same ending. The files take their names in this order.

    Raises:
        OSError: nothing was replaced. Whatever a writer raises has the same effect.
    """
    temporary = {path: path.with_name(f".{path.stem}.part{path.suffix}") for path in writers}
    try:
        for path, write in writers.items():
            temporary[path].unlink(missing_ok=True)  # left by a power cut
            write(temporary[path])
            sync_file(temporary[path])
        for path in writers:
            temporary[path].replace(path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    for folder in {path.parent for path in writers}:
        sync_folder(folder)


def sync_file(path: Path) -> None:
    """Returns when the file's content is on the disk. Raises OSError."""
    _sync(path, os.O_RDWR)


def sync_folder(folder: Path) -> None:
    """Returns when the names in the folder are on the disk: a new file survives a power cut only with its name.

    Raises OSError. Some network file systems cannot do this for a folder, which is not an error.
    """
    try:
        _sync(folder, os.O_RDONLY)
    except OSError as exc:
        if exc.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise


def _sync(path: Path, flags: int) -> None:
    number = os.open(path, flags)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def read_state(path: Path, kind: type[T], forgotten: str) -> T | None:
    """Reads a JSON file of state. Never raises, because a daemon without its state is better than no daemon.

    Args:
        kind: the struct that the file holds.
        forgotten: what is lost with a damaged file, in words, for the log. Such a file is renamed to `.damaged`.

    Returns:
        The content; None where there is no file, or a damaged one.
    """
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
        return file.read(_MOST_STATE_BYTES)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps every other process out that wants to lock the same file; it waits until this one is done.

    Whoever reads a file of state, changes it and writes it back does so inside, so that no change of another process is
    lost. The lock is on a file beside it that ends in `.lock` and stays. Raises OSError.
    """
    # Opened for reading only: an administrator may have made it, and the service may then not write it.
    number = os.open(path.with_suffix(".lock"), os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        with contextlib.suppress(OSError):  # another's file; whoever made it has done so
            os.fchmod(number, 0o644)  # whatever the umask is: the service must be able to open it too
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)
