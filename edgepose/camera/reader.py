"""A thread that reads a source, and can be left behind when a driver holds it for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edgepose.camera.base import Source
from edgepose.types import Frame

_SLICE_S = 0.5


class Reader:
    """begin: gives the source; it runs in the thread as well, for it may hang as any read may.

    source: once `begin` has given it. captured: frames; displaced: those among them that nobody took in time, of a live
    source. A source that is not live is read one frame ahead, and waits."""

    def __init__(self, begin: Callable[[], Source]) -> None:
        self.source: Source | None = None
        self.captured = 0
        self.displaced = 0
        self._begin = begin
        self._slot: tuple[int, Frame] | None = None
        self._failure: Exception | None = None
        self._over = False
        self._left = False
        self._changed = threading.Condition()
        self.thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self.thread.start()

    @property
    def failure(self) -> Exception | None:
        """What the source raised, unless a frame that came before still waits to be taken."""
        return None if self._slot is not None else self._failure

    @property
    def hangs(self) -> bool:
        return not self._over

    def wait(self, seconds: float) -> bool:
        """Until there is a frame, the end or a failure; False when none of them comes in time.

        Time that this process did not get, since it was stopped or starved, is not the camera's and does not count."""
        with self._changed:
            while not (self._slot or self._over or self._left):
                if seconds <= 0:
                    return False
                before = time.monotonic()
                self._changed.wait(min(seconds, _SLICE_S))
                passed = time.monotonic() - before
                if passed < 2 * _SLICE_S:
                    seconds -= passed
        return True

    def take(self, seconds: float) -> tuple[int, Frame] | None:
        """The next frame with its number, counted from 0; None at the end, or once left. Raises TimeoutError when none
        comes in time, and what the source raised."""
        if not self.wait(seconds):
            raise TimeoutError(f"no frame for {seconds:g} s")
        with self._changed:
            if self._slot is None and self._failure is not None and not self._left:
                raise self._failure
            taken, self._slot = self._slot, None
            self._changed.notify_all()
            return taken

    def leave(self) -> Source | None:
        """From here on nothing is heard of it. Gives the source, to be closed or read by another; one that is still
        being opened it closes itself, if ever."""
        with self._changed:
            self.displaced += self._slot is not None
            self._slot, self._left = None, True
            self._changed.notify_all()
            return self.source

    def _run(self) -> None:
        try:
            source = self._begin()
            if self._adopt(source):
                while self._put(source.read(), source.live):
                    pass
            else:
                source.close()
        except Exception as exc:  # raised again where it is read
            self._failure = exc
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _adopt(self, source: Source) -> bool:
        with self._changed:
            if not self._left:
                self.source = source
            return not self._left

    def _put(self, frame: Frame | None, live: bool) -> bool:
        """Whether to read on."""
        if frame is None:
            return False
        with self._changed:
            while self._slot is not None and not live and not self._left:
                self._changed.wait()
            if self._left:
                return False
            self.displaced += self._slot is not None
            self._slot = self.captured, frame
            self.captured += 1
            self._changed.notify_all()
            return True
