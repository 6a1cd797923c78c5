"""Replaces files as a whole: after a power cut the old content is there, or the new, and never a part of it.

`write_durably` is for bytes, `write_whole` for one file that a user asked for, and `replace_files` for files that a
library writes, and for several files that belong together. When one of them returns, the content is on the disk.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from edgepose.errors import EdgeposeError


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replaces the file by one with this content.

    Args:
        mode: the permissions that the file gets, whatever the umask is.

    Raises:
        OSError: the file is what it was before.
    """

    def write(temporary: Path) -> None:
        # A secret is readable to its owner alone while it is written. O_EXCL follows no link: an administrator also
        # writes into the folder of the service's user, who must not choose which file that is.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)

    replace_files({path: write})


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Replaces a file that a user asked for by what `write` makes. See `replace_files`. Raises EdgeposeError."""
    try:
        replace_files({path: write})
    except OSError as exc:
        raise EdgeposeError(f"{path}: cannot write ({exc.strerror or exc})") from None


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
