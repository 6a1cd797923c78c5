"""Frame -> Pose: the same object in the daemon, in `analyze`, and in the desktop's evaluation."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from edgepose.core.card import Golden, ModelCard, read_model, sha256_of
from edgepose.core.errors import ModelError
from edgepose.core.geometry import FrameMap
from edgepose.core.heatmap import OutputQuantization, Quantization, decode
from edgepose.core.types import F64, U8, Frame, PixelOrder, Pose
from edgepose.inference.runtime import Runtime, open_runtime

GOLDEN_TOLERANCE_PX = 2.0  # of a runtime that rounds otherwise
_EXACT_TOLERANCE_PX = 0.01  # of equal outputs: they mean the same keypoints wherever they are decoded
_MAX_THREADS = 4
_TO_RGB = {"bgr": cv2.COLOR_BGR2RGB, "gray": cv2.COLOR_GRAY2RGB}
_TO_GRAY = {"bgr": cv2.COLOR_BGR2GRAY, "rgb": cv2.COLOR_RGB2GRAY}


class Estimator:
    """Loads a model with its card and turns frames into poses, in the frames' own pixels.

    threads: of the interpreter; 0 adds threads for as long as each one gains at least a tenth.
    Raises ModelError when the file, the card and the runtime do not agree. Not safe for use by two threads.
    """

    def __init__(self, model: Path, threads: int = 0) -> None:
        # OpenCV's threads gain nothing at these sizes, and take the cores from the interpreter.
        cv2.setNumThreads(1)
        data, self.card = read_model(model)
        where = str(model)
        self.runtime = _open_fastest(data, where) if threads == 0 else open_runtime(data, threads, where)
        self._network = _Network(self.runtime, self.card, where)
        self.golden_exact = _check_golden(self._network, self.card.golden, where)
        self._map: FrameMap | None = None
        w, h = self.card.input.size_wh
        self._resized = {3: np.empty((h, w, 3), np.uint8), 2: np.empty((h, w), np.uint8)}

    def estimate(self, frame: Frame) -> Pose:
        self.load(frame)
        self.invoke()
        return self.read()

    def load(self, frame: Frame) -> None:
        """Writes the fitted image straight into the interpreter's input tensor."""
        if self._map is None or self._map.frame_wh != frame.size_wh:
            self._map = FrameMap.fit(frame.size_wh, self.card.input.size_wh, self.card.input.resize)
        image, order = _unpacked(frame.image, frame.order, self.card.input.channels)
        view = self._network.input_view()
        if self.card.input.channels == 3:
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

    def invoke(self) -> None:
        self._network.invoke()

    def read(self) -> Pose:
        """The pose of the last `invoke`, mapped back to the frame that was loaded."""
        assert self._map is not None
        xy, score = self._network.decode()
        if self.card.score_map is not None:
            score = self.card.score_map.apply(score)
        return Pose(self._map.to_frame(xy).astype(np.float32), score.astype(np.float32))


class _Network:
    """An interpreter whose tensors were found by name and checked against the card."""

    def __init__(self, runtime: Runtime, card: ModelCard, where: str) -> None:
        interpreter = runtime.interpreter
        self.card = card
        (w, h), map_hw, k = card.input.size_wh, card.map_hw(), len(card.skeleton.keypoints)
        image = interpreter.get_input_details()[0]
        _expect(where, "input", image, np.uint8, (1, h, w, card.input.channels))
        outputs = _outputs_by_name(interpreter)
        for name, channels in (("heatmap", k), ("offset", 2 * k)):
            if name not in outputs:
                raise ModelError(
                    f"{where}: no output named {name!r} (it has: {', '.join(sorted(outputs)) or 'none'}); "
                    "models come from edgepose-train fit"
                )
            _expect(where, name, outputs[name], np.int8, (1, *map_hw, channels))
        self.invoke = interpreter.invoke
        self._get = interpreter.get_tensor
        self._view = interpreter.tensor(image["index"])
        self._heatmap, self._offset = outputs["heatmap"]["index"], outputs["offset"]["index"]
        self._quantization = OutputQuantization(
            Quantization(*outputs["heatmap"]["quantization"]), Quantization(*outputs["offset"]["quantization"])
        )

    def input_view(self) -> Any:
        """The input tensor's own memory (H, W, C); must not be kept, since `invoke` refuses while it is held."""
        return self._view()[0]

    def decode(self) -> tuple[F64, F64]:
        """Model-input pixels (K, 2) and scores (K,) of the last `invoke`."""
        output = self.card.output
        heatmap, offset = self._get(self._heatmap)[0], self._get(self._offset)[0]
        return decode(heatmap, offset, output.stride, output.offset_scale, self._quantization)

    def golden(self) -> Golden:
        """The card's golden picture with the output that this runtime computes for it."""
        self.input_view()[...] = self.card.golden.picture(self.card.input.size_wh, self.card.input.channels)
        self.invoke()
        heatmap, offset = (sha256_of(self._get(index).tobytes()) for index in (self._heatmap, self._offset))
        xy, score = self.decode()
        keypoints = tuple((float(x), float(y), float(s)) for (x, y), s in zip(xy, score, strict=True))
        return msgspec.structs.replace(
            self.card.golden, heatmap_sha256=heatmap, offset_sha256=offset, keypoints=keypoints
        )


def _unpacked(image: U8, order: PixelOrder, channels: int) -> tuple[U8, PixelOrder]:
    """Planes as a picture: RGB, or for a model of one channel the luma as it is."""
    if order != "i420":
        return image, order
    if channels == 1:
        return image[: image.shape[0] * 2 // 3], "gray"
    return cv2.cvtColor(image, cv2.COLOR_YUV2RGB_I420), "rgb"  # type: ignore[return-value]


def compute_golden(data: bytes, card: ModelCard) -> Golden:
    """The golden entry of a new model's card, whose `golden` holds only the picture so far."""
    return _Network(open_runtime(data, 1, card.files.cpu.name), card, card.files.cpu.name).golden()


def _check_golden(network: _Network, golden: Golden, where: str) -> bool:
    """True when the outputs are equal to the card's bit for bit, as they are wherever XNNPACK runs.

    Other kernels round differently, so then only the sure keypoints are compared, and less closely.
    """
    try:
        found = network.golden()
    except ModelError as exc:
        raise ModelError(f"{where}: {exc}") from None
    exact = (found.heatmap_sha256, found.offset_sha256) == (golden.heatmap_sha256, golden.offset_sha256)
    if len(golden.keypoints) != len(found.keypoints):
        raise ModelError(f"{where}: its card's golden output has another number of keypoints; export it again")
    ours, theirs = np.array(found.keypoints), np.array(golden.keypoints)
    error_px = np.linalg.norm(ours[:, :2] - theirs[:, :2], axis=1)[(theirs[:, 2] >= 0.5) | exact]
    worst = error_px.max(initial=0.0)
    if exact and worst > _EXACT_TOLERANCE_PX:
        raise ModelError(
            f"{where}: its card's golden keypoints are {worst:.2f} px from what this edgepose reads from its outputs; "
            "the card was edited, or the model is from another version: export it again"
        )
    if worst > GOLDEN_TOLERANCE_PX:
        raise ModelError(
            f"{where}: this runtime computes another pose than the card's golden one ({worst:.1f} px away); "
            "install the runtime the model was made with, or export it again"
        )
    return exact


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
    # The runner holds the interpreter, which refuses to run while anybody else does: it must not be kept.
    if len(interpreter.get_signature_list()) != 1:
        return {}
    return dict(interpreter.get_signature_runner().get_output_details())


def _expect(where: str, what: str, details: dict[str, Any], dtype: Any, shape: tuple[int, ...]) -> None:
    found_shape = tuple(int(n) for n in details["shape"])
    if found_shape != shape or details["dtype"] is not dtype:
        raise ModelError(
            f"{where}: {what} is {np.dtype(details['dtype']).name} {list(found_shape)}, but the card says "
            f"{np.dtype(dtype).name} {list(shape)}; the card is of another model"
        )
