"""The estimator, which turns a frame into a pose: in the daemon, in `analyze`, and in the evaluation."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from edgepose.geometry.letterbox import FrameMap, ModelInput
from edgepose.geometry.pixels import i420_planes
from edgepose.inference.model_card import Golden, ModelCard
from edgepose.inference.model_file import ModelFile, read_model
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

    @property
    def model(self) -> ModelFile: ...

    def estimate(self, frame: Frame) -> Pose:
        """The pose in the frame's pixels."""


class PoseEstimator(FrameEstimator, Protocol):
    """An estimator as the daemon uses it, on whatever it runs.

    Attributes:
        delegate: what runs the model now, as `/health` names it.
        trouble: why it does not run on what the config asks for; empty where it does.
    """

    @property
    def runtime(self) -> Runtime: ...

    @property
    def delegate(self) -> str: ...

    @property
    def trouble(self) -> str: ...

    def describe(self) -> str:
        """What runs the model, in words."""

    def close(self) -> None: ...


class Estimator:
    """A model that turns frames into poses, on the CPU. Not safe for use by two threads.

    Args:
        threads: how many the interpreter has; 0 adds threads for as long as each one gains at least a tenth.

    Attributes:
        golden_exact: whether the golden picture's outputs are equal to the card's bit for bit.

    Raises:
        ModelError: the file, the card and the runtime do not agree.
    """

    def __init__(self, model: Path, threads: int = 0) -> None:
        # At these sizes OpenCV's threads gain nothing, and take the cores from the interpreter.
        cv2.setNumThreads(1)
        self.model, where = read_model(model), str(model)
        self.card, data = self.model.card, self.model.network
        self.delegate, self.trouble = "cpu", ""
        self.runtime = _open_fastest(data, where) if threads == 0 else open_runtime(data, threads, where)
        self._network = Network(LocalEngine(self.runtime), self.card, where)
        self.golden_exact = self._network.check_golden(where)
        self._fitter = Fitter(self.card.input)

    def describe(self) -> str:
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
        """Does nothing; an estimator on an accelerator has something to close."""


class Fitter:
    """Writes frames into a model's input, and maps its keypoints back into the frame that was written last."""

    def __init__(self, model_input: ModelInput) -> None:
        self._input = model_input
        self._map: FrameMap | None = None
        w, h = model_input.size_wh
        self._resized = {3: np.empty((h, w, 3), np.uint8), 2: np.empty((h, w), np.uint8)}

    def write(self, frame: Frame, view: Any) -> None:
        """view: the memory of the input tensor, uint8 (H, W, C)."""
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
        """Makes the pose of keypoints (K, 2) in model-input pixels and of the network's scores (K,)."""
        assert self._map is not None
        if card.score_map is not None:
            score = card.score_map.apply(score)
        return Pose(self._map.to_frame(xy).astype(np.float32), score.astype(np.float32))


def _unpacked(image: U8, order: PixelOrder, channels: int) -> tuple[U8, PixelOrder]:
    """Makes a picture of planes: RGB, or for a model of one channel the brightness as it is."""
    if order != "i420":
        return image, order
    if channels == 1:
        return i420_planes(image)[0], "gray"
    return cv2.cvtColor(image, cv2.COLOR_YUV2RGB_I420), "rgb"  # type: ignore[return-value]


def compute_golden(data: bytes, card: ModelCard) -> Golden:
    """Computes the golden entry of a new model's card, whose `golden` has only the picture so far."""
    return Network(LocalEngine(open_runtime(data, 1, card.name)), card, card.name).golden()


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
    """The fastest of three runs after one warm-up, which other programs have disturbed the least."""
    runtime.interpreter.invoke()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        runtime.interpreter.invoke()
        times.append(time.perf_counter() - start)
    return min(times)
