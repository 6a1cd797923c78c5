"""Your own Python at each pose, as DeepLabCut-Live's Processor has it, where it can do no harm: in a thread of its own,
with the newest pose; an exception ends it, is told, and the daemon lives.

Whoever used a Processor there finds `process(pose, **kwargs)` here: pose is (K, 3), x, y in pixels of the frame and
likelihood; kwargs are frame_time (of the frame) and pose_time (now), both in seconds since 1970, frame (its number),
keypoints (their names). What it returns is not used: published poses are the model's own. A method `close()` is called
at the end.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edgepose.config import closed_loop as loop_config
from edgepose.system.mailbox import Mailbox
from edgepose.system.rolling_stats import RollingStats
from edgepose.types import Frame, Pose, Skeleton

log = logging.getLogger(__name__)

SLOW_S = 5.0  # in one pose: told
_CLOSE_S = 2.0


class Processor:
    """An observer of the pipeline. latency: of one call, milliseconds. alerts: what is wrong now. tell: events; to be
    set before the first pose. Never raises."""

    def __init__(self, settings: loop_config.ProcessorConfig, skeleton: Skeleton) -> None:
        self.latency = RollingStats()
        self.tell: Callable[[str, str], None] = lambda _kind, _text: None
        self._settings, self._keypoints = settings, skeleton.keypoints
        self._poses = Mailbox[tuple[Frame, Pose]](1, newest_wins=True)
        self._trouble = ""
        self._since_s: float | None = None  # monotonic clock: at work on a pose since then
        self._thread = threading.Thread(target=self._run, name="processor", daemon=True)

    @property
    def alerts(self) -> dict[str, str]:
        since = self._since_s
        if not self._trouble and since is not None and time.monotonic() - since > SLOW_S:
            seconds = time.monotonic() - since
            return {"processor": f"{self._settings.load} has been at work on one pose for {seconds:.0f} s"}
        return {"processor": self._trouble} if self._trouble else {}

    def start(self) -> None:
        self._thread.start()

    def captured(self, frame: Frame) -> None:
        """Nothing is known of it yet."""

    def posed(self, frame: Frame, pose: Pose) -> None:
        if not self._trouble:
            self._poses.put((frame, pose))

    def close(self) -> None:
        self._poses.close()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            made = load(self._settings)
            while (item := self._poses.get()) is not None:
                self._process(made, *item)
            if close := getattr(made, "close", None):
                close()
        except BaseException as exc:  # also sys.exit(): it is somebody else's code
            self._trouble = f"{self._settings.load} is switched off: {_where(exc)}"
            log.exception("processor: %s", self._trouble)
            self.tell("processor_off", self._trouble)

    def _process(self, made: Any, frame: Frame, pose: Pose) -> None:
        begin = self._since_s = time.monotonic()
        table = np.column_stack([pose.xy_px, pose.score])
        more = {"frame": frame.index, "keypoints": self._keypoints}
        made.process(table, frame_time=frame.captured_us / 1e6, pose_time=time.time(), **more)
        self._since_s = None
        self.latency.add((time.monotonic() - begin) * 1e3)


def load(settings: loop_config.ProcessorConfig) -> Any:
    """The object. Raises what its module and class raise."""
    module, name = settings.load.split(":")
    if settings.folder not in sys.path:
        sys.path.insert(0, settings.folder)
    made = getattr(importlib.import_module(module), name)(**settings.arguments)
    if not callable(getattr(made, "process", None)):
        raise TypeError(f"{name} has no method process(pose, **kwargs)")
    return made


def _where(exc: BaseException) -> str:
    """The error with its place in one line."""
    place, trace = "", exc.__traceback__
    while trace is not None:
        place, trace = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})", trace.tb_next
    return f"{type(exc).__name__}: {' '.join(str(exc).split())}{place}"
