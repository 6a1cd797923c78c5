"""Hides what TensorFlow prints. Its errors are exceptions, so no error is hidden."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discards what is written to Python's stdout and to file descriptor 2, to which C++ libraries write directly."""
    saved = os.dup(2)
    with Path(os.devnull).open("w", encoding="utf-8") as null, contextlib.redirect_stdout(null):
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
