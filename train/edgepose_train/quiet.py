"""Hides what TensorFlow prints. Its errors are exceptions, so no error is hidden."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edgepose.system.native_output import stderr_to


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discards what is written to Python's stdout, and to stderr by Python or by C++ libraries."""
    with Path(os.devnull).open("w", encoding="utf-8") as null, contextlib.redirect_stdout(null), stderr_to(null):
        yield
