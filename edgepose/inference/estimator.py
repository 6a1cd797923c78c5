"""Frame -> Pose: the same object in the daemon, in `analyze`, and in the desktop's evaluation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from edgepose.geometry.letterbox import FrameMap, ModelInput
from edgepose.geometry.pixels import i420_planes
from edgepose.inference.model_card import Golden, ModelCard, read_model
from edgepose.inference.network import LocalEngine, Network
from edgepose.inference.runtime import Runtime, open_runtime
from edgepose.types import F64, U8, Frame, PixelOrder, Pose

_MAX_THREADS = 4
_TO_RGB = {"bgr": cv2.COLOR_BGR2RGB, "gray": cv2.COLOR_GRAY2RGB}
_TO_GRAY = {"bgr": cv2.COLOR_BGR2GRAY, "rgb": cv2.COLOR_RGB2GRAY}


class FrameEstimator(Protocol):
    """What makes poses of whole frames."""

    @property
    def card(self) -> ModelCard: ...

    def estimate(self, frame: Frame) -> Pose:
        """The pose in the frame's pixels."""


class Estimator:
    """Loads a model with its card and turns frames into poses, in the frames' own pixels.

    threads: of the interpreter; 0 adds threads for as long as each one gains at least a tenth. delegate: on what it
    runs. alerts: what is wrong, by what it is about. tell(kind, text): events, of an accelerator.
    Raises ModelError when the file, the card and the runtime do not agree. Not safe for use by two threads.
    """

    def __init__(self, model: Path, threads: int = 0) -> None:
        # OpenCV's threads gain nothing at these sizes, and take the cores from the interpreter.
        cv2.setNumThreads(1)
        data, self.card = read_model(model)
        where = str(model)
        self.delegate = "cpu"
        self.alerts: dict[str, str] = {}
        self.tell: Callable[[str, str], None] = lambda _kind, _text: None
        self.runtime = _open_fastest(data, where) if threads == 0 else open_runtime(data, threads, where)
        self._network = Network(LocalEngine(self.runtime), self.card, where)
        self.golden_exact = self._network.check_golden(where)
        self._fitter = Fitter(self.card.input)

    def describe(self) -> str:
        """What runs the model, in words."""
        return self.runtime.describe()

    def estimate(self, frame: Frame) -> Pose:
        self.load(frame)
        self.invoke()
        return self.read()

    def load(self, frame: Frame) -> None:
        """Writes the fitted image straight into the interpreter's input tensor."""
        self._fitter.write(frame, self._network.input_view())

    def invoke(self) -> None:
        self._network.invoke()

    def read(self) -> Pose:
        """The pose of the last `invoke`, mapped back to the frame that was loaded."""
        return self._fitter.pose(*self._network.decode(), self.card)

    def close(self) -> None:
        """Of an accelerator."""


class Fitter:
    """Frames into a model's input, and its keypoints back into the frame that was written last."""

    def __init__(self, model_input: ModelInput) -> None:
        self._input = model_input
        self._map: FrameMap | None = None
        w, h = model_input.size_wh
        self._resized = {3: np.empty((h, w, 3), np.uint8), 2: np.empty((h, w), np.uint8)}

    def write(self, frame: Frame, view: Any) -> None:
        """view: of the input tensor, uint8 (H, W, C)."""
        if self._map is None or self._map.frame_wh != frame.size_wh:
            self._map = FrameMap.fit(frame.size_wh, self._input.size_wh, self._input.resize)
        image, order = _unpacked(frame.image, frame.order, self._input.channels)
        if self._input.channels == 3:
            conversion = _TO_RGB.get(order)
        else:
            view, conversion = view[..., 0], _TO_GRAY.get(order)
        if conversion is None:
            self._map.resize(image, view)
            return
        # Resize first: converting colours at the model's size touches fewer pixels.
        resized = self._resized[image.ndim]
        self._map.resize(image, resized)
        cv2.cvtColor(resized, conversion, dst=view)

    def pose(self, xy: F64, score: F64, card: ModelCard) -> Pose:
        """xy: (K, 2) model-input pixels. score: (K,), as the network has it."""
        assert self._map is not None
        if card.score_map is not None:
            score = card.score_map.apply(score)
        return Pose(self._map.to_frame(xy).astype(np.float32), score.astype(np.float32))


def _unpacked(image: U8, order: PixelOrder, channels: int) -> tuple[U8, PixelOrder]:
    """Planes as a picture: RGB, or for a model of one channel the luma as it is."""
    if order != "i420":
        return image, order
    if channels == 1:
        return i420_planes(image)[0], "gray"
    return cv2.cvtColor(image, cv2.COLOR_YUV2RGB_I420), "rgb"  # type: ignore[return-value]


def compute_golden(data: bytes, card: ModelCard) -> Golden:
    """The golden entry of a new model's card, whose `golden` holds only the picture so far."""
    name = card.files.cpu.name
    return Network(LocalEngine(open_runtime(data, 1, name)), card, name).golden()


def _open_fastest(data: bytes, where: str) -> Runtime:
    best = open_runtime(data, 1, where)
    best_s = _invoke_s(best)
    for threads in range(2, min(_MAX_THREADS, os.cpu_count() or 1) + 1):
        runtime = open_runtime(data, threads, where)
        seconds = _invoke_s(runtime)
        if seconds > best_s * 0.9:
            break
        best, best_s = runtime, seconds
    return best


def _invoke_s(runtime: Runtime) -> float:
    """Fastest of three after one warm-up: the least disturbed by whatever else runs."""
    runtime.interpreter.invoke()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        runtime.interpreter.invoke()
        times.append(time.perf_counter() - start)
    return min(times)
