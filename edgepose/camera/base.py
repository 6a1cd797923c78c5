"""States what the pipeline needs of a camera, and what a source must have so that it can be supervised."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from edgepose.types import Frame


class Camera(Protocol):
    """The pipeline reads its frames from this.

    Attributes:
        live: True when frames come at their own pace and a late one is skipped; False when every frame waits its turn.
    """

    live: bool

    def read(self) -> Frame | None:
        """Waits for the next frame and returns it; None at the end and after `close`. Raises CameraError."""

    def close(self) -> None:
        """Another thread may call it: a waiting `read` then returns None. May be called more than once."""


class Source(Camera, Protocol):
    """One camera, stream or file.

    One thread at a time calls its methods, except `close`, which any thread may call, also while `read` hangs in a
    driver. Then `close` may hang too. `read` raises CameraError where only opening the source anew can help, and
    TimeoutError where no frame came in time.
    """

    @property
    def rate_hz(self) -> float | None:
        """Returns the frames per second that the source means to give; None where it is not known.

        With it a slow source is not taken for dead.
        """


@runtime_checkable
class Revivable(Protocol):
    """A source that can be revived without being opened anew.

    When the supervisor calls these methods, a thread that hangs in `read` has been left behind there. The frame that
    it may still get is thrown away.
    """

    def flush(self) -> None:
        """Throws away what is on its way in a stream that has stopped. May hang and may raise."""

    def restart(self) -> None:
        """Stops and starts the stream of the open device. May hang and may raise."""
