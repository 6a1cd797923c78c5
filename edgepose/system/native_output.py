"""Keeps the notes of native libraries off the terminal. They write to descriptor 2, which Python cannot redirect."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

_NOTES = (b"INFO:", b"I0000 ", b"WARNING: All log messages before absl::InitializeLog")
_lock = threading.Lock()  # two threads that exchange the descriptor at once would lose it


@contextlib.contextmanager
def stderr_to(file: IO[Any]) -> Iterator[None]:
    """Writes into the file what goes to stderr, also what native libraries write to descriptor 2."""
    sys.stderr.flush()
    saved = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)


@contextlib.contextmanager
def without_native_notes() -> Iterator[None]:
    """Collects what is written to stderr while it is open, and prints it at the end without the libraries' notes.

    Lines that other threads print meanwhile come late, so keep it open for a moment only, and never around code that
    may crash the process. Only Linux can do it; elsewhere the notes are printed.
    """
    if sys.stderr is None or not hasattr(os, "memfd_create"):
        yield
        return
    with _lock, os.fdopen(os.memfd_create("stderr"), "w+b", buffering=0) as file:
        try:
            with stderr_to(file):
                yield
        finally:
            file.seek(0)
            os.write(2, b"".join(line for line in file if not line.startswith(_NOTES)))
