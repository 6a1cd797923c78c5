"""What a source of frames has, so that whoever watches it can revive it."""

from __future__ import annotations

from typing import Protocol

from edgepose.core.types import Frame


class Source(Protocol):
    """live: frames come at their own pace and a late one is skipped; otherwise every frame waits its turn.

    All methods but `close` are called by one thread at a time; `close` by any, also while another one hangs."""

    live: bool

    def read(self) -> Frame | None:
        """The next frame, waiting for it; None at the end and after `close`. Raises CameraError. Drivers may hang."""

    def flush(self) -> None:
        """The mildest remedy for a stream that has stopped: throws away what is on its way. May hang, may raise."""

    def restart(self) -> None:
        """The next one: stops and starts the stream of the same device. May hang, may raise."""

    def close(self) -> None:
        """May hang."""
