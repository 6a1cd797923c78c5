"""Gives frames and poses to whoever asks for them: recorders, closed loops, the user's own code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose

OnFrame = Callable[[Frame], None]
"""Gets each frame, also one that no pose will be made of, in the thread that reads the camera. It must not wait."""
OnPose = Callable[[Frame, Pose], None]
"""Gets each pose that is published, in the order of the frames, in the thread of the model. It must not wait."""


class Observers:
    """Calls all observers. One that raises is an alert until it works again, and poses go on."""

    def __init__(self, on_pose: Sequence[OnPose] = (), on_frame: Sequence[OnFrame] = (), *, reporter: Reporter) -> None:
        self._on_pose, self._on_frame, self._reporter = on_pose, on_frame, reporter

    def captured(self, frame: Frame) -> None:
        for observer in self._on_frame:
            self._call(observer, frame)

    def posed(self, frame: Frame, pose: Pose) -> None:
        for observer in self._on_pose:
            self._call(observer, frame, pose)

    def _call(self, observer: Callable[..., None], *args: object) -> None:
        name = getattr(observer, "__qualname__", str(observer))
        try:
            observer(*args)
        except Exception as exc:
            self._reporter.alert(f"observer {name}", f"{name} fails ({type(exc).__name__}: {exc})")
        else:
            self._reporter.alert(f"observer {name}", None)
