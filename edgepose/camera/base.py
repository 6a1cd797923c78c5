"""What a source of frames has, so that whoever watches it can revive it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from edgepose.types import Frame


class Source(Protocol):
    """live: frames come at their own pace and a late one is skipped; otherwise every frame waits its turn.
    rate_hz: frames a second that it means to give, so that a slow one is not taken for dead; None: it does not know.

    All methods but `close` are called by one thread at a time; `close` by any, also while another one hangs."""

    live: bool

    @property
    def rate_hz(self) -> float | None: ...

    def read(self) -> Frame | None:
        """The next frame, waiting for it; None at the end and after `close`. Drivers may hang.
        Raises CameraError where only opening it anew can help, TimeoutError where no frame came in time."""

    def close(self) -> None:
        """May hang, and may be called more than once."""


@runtime_checkable
class Revivable(Protocol):
    """A source with milder remedies than to be opened anew. A thread that hangs in `read` has then been left behind
    there: what it still gets is thrown away."""

    def flush(self) -> None:
        """For a stream that has stopped: throws away what is on its way. May hang, may raise."""

    def restart(self) -> None:
        """The next one: stops and starts the stream of the same device. May hang, may raise."""
