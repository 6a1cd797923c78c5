"""Runs your own Python at each pose, as DeepLabCut-Live's Processor does, where it can do no harm.

It runs in a thread of its own and gets the newest pose. An exception ends it and is reported, and the daemon goes on.

A Processor of DeepLabCut-Live finds the same `process(pose, **kwargs)` here. `pose` is (K, 3): x and y in pixels of
the frame, and the likelihood. `kwargs` are `frame_time` (of the frame) and `pose_time` (now), both in seconds since
1970, `frame` (its number) and `keypoints` (their names). The return value is not used: the published poses are those
of the model. A method `close()`, where there is one, is called at the end.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepose.config.closed_loop import ProcessorConfig
from edgepose.system.mailbox import Mailbox
from edgepose.system.reporter import Reporter
from edgepose.system.rolling_stats import RollingStats
from edgepose.types import Frame, Pose, Skeleton

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessorTiming:
    """Sets how long the user's code may take, in seconds.

    Attributes:
        slow_s: a call of `process` that takes longer is an alert.
        close_s: at the end of the daemon the thread has this long to finish.
    """

    slow_s: float = 5.0
    close_s: float = 2.0


class Processor:
    """An observer of the pipeline that calls the user's code. It never raises.

    Attributes:
        latency: time of each call, milliseconds.
    """

    def __init__(
        self,
        config: ProcessorConfig,
        skeleton: Skeleton,
        *,
        reporter: Reporter,
        timing: ProcessorTiming = ProcessorTiming(),
    ) -> None:
        self.latency = RollingStats()
        self._config, self._keypoints, self._reporter, self._timing = config, skeleton.keypoints, reporter, timing
        self._poses = Mailbox[tuple[Frame, Pose]](1, newest_wins=True)
        self._off = False
        self._since_s: float | None = None  # monotonic clock when the present call began
        self._thread = threading.Thread(target=self._run, name="processor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def posed(self, frame: Frame, pose: Pose) -> None:
        since_s = self._since_s
        if self._off:
            return
        if since_s is not None and time.monotonic() - since_s > self._timing.slow_s:
            text = f"{self._config.load} has been at work on one pose for more than {self._timing.slow_s:g} s"
            self._reporter.alert("processor", text)
        self._poses.put((frame, pose))

    def close(self) -> None:
        self._poses.close()
        if self._thread.ident is not None:
            self._thread.join(self._timing.close_s)

    def _run(self) -> None:
        try:
            processor = load(self._config)
            while (item := self._poses.get()) is not None:
                self._process(processor, *item)
            if close := getattr(processor, "close", None):
                close()
        except BaseException as exc:  # also sys.exit(): it is somebody else's code
            self._off = True
            text = f"{self._config.load} is switched off: {_where(exc)}"
            log.exception("processor: the traceback of its error")
            self._reporter.event("processor_off", text)
            self._reporter.alert("processor", text)

    def _process(self, processor: Any, frame: Frame, pose: Pose) -> None:
        begin = self._since_s = time.monotonic()
        table = np.column_stack([pose.xy_px, pose.score])
        more = {"frame": frame.index, "keypoints": self._keypoints}
        processor.process(table, frame_time=frame.captured_us / 1e6, pose_time=time.time(), **more)
        self._since_s = None
        self._reporter.alert("processor", None)
        self.latency.add((time.monotonic() - begin) * 1e3)


def load(config: ProcessorConfig) -> Any:
    """Returns the user's object. Raises what its module and its class raise, and TypeError if it has no `process`."""
    module, name = config.load.split(":")
    if config.folder not in sys.path:
        sys.path.insert(0, config.folder)
    processor = getattr(importlib.import_module(module), name)(**config.arguments)
    if not callable(getattr(processor, "process", None)):
        raise TypeError(f"{name} has no method process(pose, **kwargs)")
    return processor


def _where(exc: BaseException) -> str:
    """Returns the error and the line of code that raised it, in one line."""
    place, trace = "", exc.__traceback__
    while trace is not None:
        place, trace = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})", trace.tb_next
    return f"{type(exc).__name__}: {' '.join(str(exc).split())}{place}"
