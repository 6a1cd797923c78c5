"""Exchanges the model that makes the poses between two frames. While the new one is on trial, the one before is kept
open."""

from __future__ import annotations

import time

from edgepose.config.schema import ViewConfig
from edgepose.inference.estimator import PoseEstimator
from edgepose.inference.model_card import ModelCard
from edgepose.inference.viewer import Viewer
from edgepose.protocol.messages import Region
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose


class HotSwapModel:
    """The model as the pipeline uses it.

    `put`, `prove` and `go_back` are for one other thread; each takes effect with the next frame.

    Attributes:
        poses: how many poses the newest model has made.
        trouble: why the newest model made no pose of a frame; empty while it works.
    """

    def __init__(self, estimator: PoseEstimator, view: ViewConfig, *, reporter: Reporter) -> None:
        self.poses, self.trouble = 0, ""
        self._began_s: float | None = None  # monotonic clock, while a frame is with the model
        self._view, self._reporter = view, reporter
        self._now = estimator, Viewer(estimator, view)
        self._before: tuple[PoseEstimator, Viewer] | None = None
        self._report_delegate()

    @property
    def estimator(self) -> PoseEstimator:
        return self._now[0]

    @property
    def card(self) -> ModelCard:
        return self.estimator.card

    @property
    def model_id(self) -> str:
        return self.estimator.model.id

    def estimate(self, frame: Frame, region: Region | None = None) -> Pose:
        now, self._began_s = self._now, time.monotonic()
        try:
            pose = now[1].estimate(frame, region)
        except Exception as exc:
            if now is self._before:
                raise
            self.trouble = f"fails on a frame ({type(exc).__name__}: {exc})"
            if self._before is None:
                raise
            self._now = self._before
            return self._now[1].estimate(frame, region)
        finally:
            self._began_s = None
        self.poses += 1
        return pose

    def stuck_s(self) -> float:
        """How long the model has been busy with one frame, seconds; 0 between two frames."""
        began_s = self._began_s
        return 0.0 if began_s is None else time.monotonic() - began_s

    def put(self, estimator: PoseEstimator) -> None:
        """Uses this model from now on, on trial. Raises ConfigError where the config's view does not suit it."""
        new = estimator, Viewer(estimator, self._view)
        self.poses, self.trouble = 0, ""
        self._before, self._now, self._new = self._now, new, estimator
        self._report_delegate()

    def prove(self) -> None:
        """Ends the trial; the model before is closed."""
        before, self._before = self._before, None
        if before is not None:
            before[0].close()

    def go_back(self) -> bool:
        """Uses the model before again. Returns False where there is none."""
        if self._before is None:
            return False
        self._now, self._before = self._before, None
        self._new.close()
        self._report_delegate()
        return True

    def close(self) -> None:
        """Closes the running model, and the previous one while it is kept."""
        for estimator, _ in filter(None, (self._now, self._before)):
            estimator.close()

    def _report_delegate(self) -> None:
        self._reporter.alert("delegate", self.estimator.trouble or None)
