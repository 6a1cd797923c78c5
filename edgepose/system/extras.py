"""Reports an optional part of edgepose that is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgepose.errors import EdgeposeError


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Surrounds the imports of an optional package, so that a missing one is reported in one line.

    Args:
        name: the extra in pyproject.toml that installs the package.
        purpose: what needs the package; the message begins with it.

    Raises:
        EdgeposeError: the package is not installed.
    """
    try:
        yield
    except ImportError as exc:
        package = (exc.name or str(exc)).split(".")[0]
        raise EdgeposeError(f"{purpose} needs {package}; pip install 'edgepose[{name}]'") from None
