"""Frame -> Pose: the same object in the daemon, in `analyze`, and in the desktop's evaluation."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgepose.core.card import Golden, read_model, sha256_of
from edgepose.core.errors import ModelError
from edgepose.core.geometry import FrameMap
from edgepose.core.heatmap import OutputQuantization, Quantization, decode
from edgepose.core.types import U8, Frame, PixelOrder, Pose
from edgepose.inference.runtime import Runtime, open_runtime

GOLDEN_TOLERANCE_PX = 2.0
_MAX_THREADS = 4
_TO_RGB = {"bgr": cv2.COLOR_BGR2RGB, "gray": cv2.COLOR_GRAY2RGB}
_TO_GRAY = {"bgr": cv2.COLOR_BGR2GRAY, "rgb": cv2.COLOR_RGB2GRAY}


class Estimator:
    """Loads a model with its card and turns frames into poses, in the frames' own pixels.

    threads: of the interpreter; 0 adds threads for as long as each one gains at least a tenth.
    Raises ModelError when the file, the card and the runtime do not agree. Not safe for use by two threads.
    """

    def __init__(self, model: Path, threads: int = 0) -> None:
        data, self.card = read_model(model)
        self.runtime = _open_fastest(data, str(model)) if threads == 0 else open_runtime(data, threads, str(model))
        self._bind(model)
        self._map: FrameMap | None = None
        w, h = self.card.input.size_wh
        self._resized = np.empty((h, w, 3), np.uint8)
        self.golden_exact = self._check_golden(model, self.card.golden)

    def estimate(self, frame: Frame) -> Pose:
        self.load(frame.image, frame.order)
        self.invoke()
        return self.read()

    def load(self, image: U8, order: PixelOrder) -> None:
        """Writes the fitted image straight into the interpreter's input tensor."""
        size_wh = (image.shape[1], image.shape[0])
        if self._map is None or self._map.frame_wh != size_wh:
            self._map = FrameMap.fit(size_wh, self.card.input.size_wh, self.card.input.resize)
        view = self._input_view()[0]
        if self.card.input.channels == 3:
            direct, convert = order == "rgb", _TO_RGB.get(order)
        else:
            view = view[..., 0]
            direct, convert = order == "gray", _TO_GRAY.get(order)
        if direct:
            self._map.resize(image, view)
            return
        # Resize first: converting colours at the model's size touches fewer pixels.
        resized = self._resized[..., 0] if order == "gray" else self._resized
        if order == "gray":
            resized = np.ascontiguousarray(resized)
        self._map.resize(image, resized)
        assert convert is not None
        cv2.cvtColor(resized, convert, dst=view)

    def invoke(self) -> None:
        self.runtime.interpreter.invoke()

    def read(self) -> Pose:
        """The pose of the last `invoke`, mapped back to the frame that was loaded."""
        assert self._map is not None
        xy, score = self._decode()
        return Pose(self._map.to_frame(xy).astype(np.float32), score.astype(np.float32))

    def _decode(self) -> tuple[Any, Any]:
        get = self.runtime.interpreter.get_tensor
        output = self.card.output
        return decode(
            get(self._heatmap)[0],
            get(self._offset)[0],
            output.stride,
            output.offset_scale,
            self._quantization,
        )

    def _bind(self, model: Path) -> None:
        """Finds the tensors by name and checks them against the card."""
        interpreter, card = self.runtime.interpreter, self.card
        (w, h), (rows, columns), k = card.input.size_wh, card.map_hw(), len(card.skeleton.keypoints)
        inputs = interpreter.get_input_details()
        _expect(model, "input", inputs[0], np.uint8, (1, h, w, card.input.channels))
        self._input_view = interpreter.tensor(inputs[0]["index"])
        outputs = _outputs_by_name(interpreter)
        for name, channels in (("heatmap", k), ("offset", 2 * k)):
            if name not in outputs:
                raise ModelError(
                    f"{model}: no output named {name!r} (it has: {', '.join(sorted(outputs)) or 'none'}); "
                    "models come from edgepose-train fit"
                )
            _expect(model, name, outputs[name], np.int8, (1, rows, columns, channels))
        self._heatmap, self._offset = outputs["heatmap"]["index"], outputs["offset"]["index"]
        self._quantization = OutputQuantization(
            Quantization(*outputs["heatmap"]["quantization"]),
            Quantization(*outputs["offset"]["quantization"]),
        )

    def _check_golden(self, model: Path, golden: Golden) -> bool:
        """Runs the card's golden picture; True when the outputs are equal bit for bit.

        They are wherever XNNPACK runs; other kernels round differently, so then the keypoints decide.
        """
        self._input_view()[0] = golden.picture(self.card.input.size_wh, self.card.input.channels)
        self.invoke()
        get = self.runtime.interpreter.get_tensor
        hashes = tuple(sha256_of(get(i).tobytes()) for i in (self._heatmap, self._offset))
        if hashes == (golden.heatmap_sha256, golden.offset_sha256):
            return True
        xy, _ = self._decode()
        known = np.array(golden.keypoints)
        sure = known[:, 2] >= 0.5
        error_px = np.linalg.norm(xy - known[:, :2], axis=1)[sure]
        if error_px.size and error_px.max() > GOLDEN_TOLERANCE_PX:
            raise ModelError(
                f"{model}: {self.runtime.name} computes another pose than the card's golden one "
                f"({error_px.max():.1f} px away); install the runtime the model was made with, or export again"
            )
        return False


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


def _outputs_by_name(interpreter: Any) -> dict[str, Any]:
    if len(interpreter.get_signature_list()) != 1:
        return {}
    return dict(interpreter.get_signature_runner().get_output_details())


def _expect(model: Path, what: str, details: dict[str, Any], dtype: Any, shape: tuple[int, ...]) -> None:
    found_shape = tuple(int(n) for n in details["shape"])
    if found_shape != shape or details["dtype"] is not dtype:
        raise ModelError(
            f"{model}: {what} is {np.dtype(details['dtype']).name} {list(found_shape)}, but the card says "
            f"{np.dtype(dtype).name} {list(shape)}; the card is of another model"
        )
