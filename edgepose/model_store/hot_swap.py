"""The model at work, which may be exchanged between two frames; while the new one is on trial, the old one stands
by."""

from __future__ import annotations

import time
from typing import Protocol

from edgepose.config.schema import ViewConfig
from edgepose.inference.model_card import ModelCard
from edgepose.inference.viewer import Viewer
from edgepose.protocol.messages import Region
from edgepose.types import Frame, Pose


class Estimator(Protocol):
    card: ModelCard
    alerts: dict[str, str]

    @property
    def delegate(self) -> str: ...

    def describe(self) -> str: ...

    def estimate(self, frame: Frame) -> Pose: ...

    def close(self) -> None: ...


class HotSwapModel:
    """What the pipeline sees of it. poses: made by the newest model. trouble: why that one had to make way.

    `put`, `prove` and `go_back` are for one other thread; each takes effect with the next frame."""

    def __init__(self, estimator: Estimator, view: ViewConfig) -> None:
        self.poses, self.trouble = 0, ""
        self._since_s: float | None = None  # monotonic clock: at work on a frame
        self._view = view
        self._now = estimator, Viewer(estimator, view)
        self._before: tuple[Estimator, Viewer] | None = None

    @property
    def estimator(self) -> Estimator:
        return self._now[0]

    @property
    def card(self) -> ModelCard:
        return self._now[0].card

    def estimate(self, frame: Frame, region: Region | None = None) -> Pose:
        now, self._since_s = self._now, time.monotonic()
        try:
            pose = now[1].estimate(frame, region)
        except Exception as exc:
            if self._before is None or now is self._before:
                raise
            self.trouble = f"fails at work ({type(exc).__name__}: {exc})"
            self._now = self._before
            return self._now[1].estimate(frame, region)
        finally:
            self._since_s = None
        self.poses += 1
        return pose

    def stuck_s(self) -> float:
        """Seconds on the frame that it is at work on; 0 between two frames."""
        since_s = self._since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def put(self, estimator: Estimator) -> None:
        """To work, on trial. Raises ConfigError where the config's view does not suit the model."""
        new = estimator, Viewer(estimator, self._view)
        self.poses, self.trouble = 0, ""
        self._before, self._now, self._tried = self._now, new, estimator

    def prove(self) -> None:
        """The trial has ended well."""
        before, self._before = self._before, None
        if before is not None:
            before[0].close()

    def go_back(self) -> bool:
        """To the one before; False where there is none."""
        if self._before is None:
            return False
        self._now, self._before = self._before, None
        self._tried.close()
        return True
