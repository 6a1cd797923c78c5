"""Stand-ins: a camera whose pictures are numbered, an estimator that reads the number, a delivery, a reporter."""

from __future__ import annotations

import threading
import time

import numpy as np

from edgepose.geometry.letterbox import ModelInput
from edgepose.inference.model_card import Golden, KeypointOutput, ModelCard, Training
from edgepose.protocol.messages import PoseMessage, Region
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose, Skeleton

SKELETON = Skeleton(("snout", "tail"), edges=(("snout", "tail"),))
SIZE_WH = (64, 48)


def card() -> ModelCard:
    return ModelCard(
        name="fake",
        created="2026-01-01T00:00:00Z",
        skeleton=SKELETON,
        input=ModelInput(SIZE_WH, 3, "letterbox"),
        outputs=(KeypointOutput(8, 16.0),),
        sha256="0" * 64,
        golden=Golden("", "", "", ()),
        training=Training("none", "none", "none", "none", 0, 0, {}, {}),
    )


class FakeCamera:
    """A source of `frames` pictures, one every `period_s`, or as fast as they are taken; raises `error` at the end."""

    rate_hz = None

    def __init__(
        self, frames: int, *, live: bool = False, period_s: float = 0.0, error: Exception | None = None
    ) -> None:
        self.live = live
        self.closed = False
        self._frames, self._period_s, self._error = frames, period_s, error
        self._index = 0

    def read(self) -> Frame | None:
        if self._index >= self._frames:
            if self._error is not None:
                raise self._error
            return None
        time.sleep(self._period_s)
        image = np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8)
        self._index += 1
        return Frame(image, "bgr", self._index - 1, time.monotonic_ns(), time.time_ns() // 1000)

    def close(self) -> None:
        self.closed = True


class FakeEstimator:
    """Gives poses whose snout has the index of the frame as x. gate: no pose is given before it is set."""

    def __init__(self, gate: threading.Event | None = None, error: Exception | None = None) -> None:
        self.card, self.model_id = card(), "fake@000000"
        self._gate, self._error = gate, error

    def estimate(self, frame: Frame, region: Region | None = None) -> Pose:
        if self._error is not None:
            raise self._error
        if self._gate is not None:
            assert self._gate.wait(10)
        return Pose(np.array([[frame.index, 0], [0, 0]], np.float32), np.ones(2, np.float32))


class ListDelivery:
    """Keeps the messages that it gets. gate: no message is taken before it is set."""

    def __init__(self, gate: threading.Event | None = None, error: Exception | None = None) -> None:
        self.messages: list[PoseMessage] = []
        self._gate, self._error = gate, error

    def deliver(self, message: PoseMessage) -> None:
        if self._error is not None:
            raise self._error
        if self._gate is not None:
            assert self._gate.wait(10)
        self.messages.append(message)


class ListReporter(Reporter):
    """Keeps its events for the test: each as (kind, text, count), the kinds alone, and the time that each was given."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str, int]] = []
        self.kinds: list[str] = []
        self.mono_ns: list[int | None] = []

    def event(self, kind: str, text: str, count: int = 0, *, mono_ns: int | None = None) -> None:
        self.events.append((kind, text, count))
        self.mono_ns.append(mono_ns)
        self.kinds.append(kind)
