"""Shows a frame with its pose to whoever asks for one: commands and, one day, web pages."""

from __future__ import annotations

import threading

from edgepose.types import Frame, Pose


class Preview:
    """Hands the next frame and its pose to all who wait. No picture is kept while nobody waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = self._shown = 0
        self._closed = False
        self._newest: tuple[Frame, Pose] | None = None

    @property
    def wanted(self) -> bool:
        return self._waiting > 0

    def show(self, frame: Frame, pose: Pose) -> None:
        if self.wanted:
            with self._changed:
                self._newest, self._shown = (frame, pose), self._shown + 1
                self._changed.notify_all()

    def wait(self, seconds: float) -> tuple[Frame, Pose] | None:
        """Returns the next frame with its pose; None when none comes in time, and after `close`."""
        with self._changed:
            last, self._waiting = self._shown, self._waiting + 1
            self._changed.wait_for(lambda: self._shown != last or self._closed, seconds)
            found = self._newest if self._shown != last else None
            self._waiting -= 1
            if not self._waiting:
                self._newest = None  # frees the memory of the picture
            return found

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
