"""Whoever sees frames and poses pass: recorders, closed loops, the user's own code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose


class Observer(Protocol):
    """Both methods are called by the threads of camera and model, so they must not wait."""

    def captured(self, frame: Frame) -> None:
        """Gets each frame, also one that no pose will be made of. The thread that reads the camera calls it."""

    def posed(self, frame: Frame, pose: Pose) -> None:
        """Gets each pose that is published, in the order of the frames. The thread of the model calls it."""


class Observers:
    """Calls all observers. One that raises is an alert until it works again, and poses go on."""

    def __init__(self, observers: Sequence[Observer] = (), *, reporter: Reporter) -> None:
        self._observers, self._reporter = observers, reporter

    def captured(self, frame: Frame) -> None:
        for observer in self._observers:
            self._call(observer.captured, frame)

    def posed(self, frame: Frame, pose: Pose) -> None:
        for observer in self._observers:
            self._call(observer.posed, frame, pose)

    def _call(self, method: Callable[..., None], *args: object) -> None:
        name = getattr(method, "__qualname__", str(method))
        try:
            method(*args)
        except Exception as exc:
            self._reporter.alert(f"observer {name}", f"{name} fails ({type(exc).__name__}: {exc})")
        else:
            self._reporter.alert(f"observer {name}", None)
