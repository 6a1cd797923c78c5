"""Reads a source in a thread that can be left behind when a driver never returns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from edgepose.camera.base import Source
from edgepose.system.rolling_stats import RollingStats
from edgepose.types import Frame

_SLICE_S = 0.5


class FrameReader:
    """Reads a source in a thread of its own, and keeps the newest frame until it is taken.

    This is the only place where a frame of a live source waits for the model: a newer frame displaces it. A source that
    is not live is read one frame ahead, and then waits.

    Args:
        begin: returns the source. It runs in the thread as well, since opening may hang as any read may.
        first_index: `index` of the first frame.
        on_frame: called with each frame before anybody else has it. It must not wait.
        latency: gets the time of each read, milliseconds.

    Attributes:
        source: the source, once `begin` has returned it.
        captured: number of frames.
        displaced: number of frames of a live source that nobody took in time.
    """

    def __init__(
        self, begin: Callable[[], Source], first_index: int, on_frame: Callable[[Frame], None], latency: RollingStats
    ) -> None:
        self.source: Source | None = None
        self.captured = 0
        self.displaced = 0
        self._begin, self._first_index, self._on_frame, self._latency = begin, first_index, on_frame, latency
        self._newest: Frame | None = None
        self._failure: Exception | None = None
        self._over = False
        self._left = False
        self._changed = threading.Condition()
        self.thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self.thread.start()

    @property
    def failure(self) -> Exception | None:
        """Returns what the source raised, unless a frame that came before still waits to be taken."""
        return None if self._newest is not None else self._failure

    @property
    def hangs(self) -> bool:
        return not self._over

    def wait(self, seconds: float) -> bool:
        """Waits for a frame, the end or a failure; returns False when none of them comes in time.

        Time that this process did not get, because it was stopped or starved, is not the camera's fault and does not
        count.
        """
        with self._changed:
            while not (self._newest or self._over or self._left):
                if seconds <= 0:
                    return False
                before = time.monotonic()
                self._changed.wait(min(seconds, _SLICE_S))
                passed = time.monotonic() - before
                if passed < 2 * _SLICE_S:
                    seconds -= passed
        return True

    def take(self, seconds: float) -> Frame | None:
        """Returns the newest frame; None at the end, and once the thread has been left behind.

        Raises TimeoutError when none comes in time, and what the source raised.
        """
        if not self.wait(seconds):
            raise TimeoutError(f"no frame for {seconds:g} s")
        with self._changed:
            if self._newest is None and self._failure is not None and not self._left:
                raise self._failure
            frame, self._newest = self._newest, None
            self._changed.notify_all()
            return frame

    def leave(self) -> Source | None:
        """Leaves the thread behind: what it still brings is thrown away.

        Returns the source, to be closed or to be read by another thread. A source that is still being opened is closed
        by the thread itself.
        """
        with self._changed:
            self.displaced += self._newest is not None
            self._newest, self._left = None, True
            self._changed.notify_all()
            return self.source

    def _run(self) -> None:
        try:
            source = self._begin()
            if self._adopt(source):
                while self._read(source):
                    pass
            else:
                source.close()
        except Exception as exc:  # raised again by `take`
            self._failure = exc
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _adopt(self, source: Source) -> bool:
        with self._changed:
            if not self._left:
                self.source = source
            return not self._left

    def _read(self, source: Source) -> bool:
        """Reads one frame; returns True where there may be more."""
        begin = time.perf_counter()
        frame = source.read()
        if frame is None:
            return False
        self._latency.add((time.perf_counter() - begin) * 1e3)
        if self._left:
            return False
        index = self._first_index + self.captured
        frame = frame if frame.index == index else replace(frame, index=index)
        self._on_frame(frame)  # without the lock, so that one that works long never makes `take` or `leave` hang
        with self._changed:
            while self._newest is not None and not source.live and not self._left:
                self._changed.wait()
            if self._left:
                return False
            self.captured += 1
            self.displaced += self._newest is not None
            self._newest = frame
            self._changed.notify_all()
            return True
