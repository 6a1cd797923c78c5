"""The loop: capture | infer | publish, one thread each (the interpreter releases the GIL while it works)."""

from __future__ import annotations

from typing import Protocol

from edgepose.core.card import ModelCard
from edgepose.core.messages import PoseMessage
from edgepose.core.types import Frame, Pose


class Camera(Protocol):
    """live: frames come at their own pace and a late one is skipped; otherwise every frame waits its turn."""

    live: bool

    def read(self) -> Frame | None:
        """The next frame, waiting for it; None at the end. Raises CameraError."""

    def close(self) -> None: ...


class Estimator(Protocol):
    card: ModelCard

    def estimate(self, frame: Frame) -> Pose: ...


class Delivery(Protocol):
    """Where accepted poses go. The one method is all a spool, a client or a test needs to have."""

    def deliver(self, message: PoseMessage) -> None:
        """Takes charge of one pose. May wait while its own store is full; never loses one silently."""
