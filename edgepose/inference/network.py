"""A model's tensors, found by name and checked against its card, and its golden picture, on whatever it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np

from edgepose.errors import ModelError
from edgepose.inference.model_card import Golden, ModelCard, sha256_of
from edgepose.inference.runtime import Runtime
from edgepose.pose.heatmap import OutputQuantization, Quantization, decode
from edgepose.system.wording import listing, printable
from edgepose.types import F64

GOLDEN_TOLERANCE_PX = 2.0  # for a runtime that rounds in another way
_EXACT_TOLERANCE_PX = 0.01  # for equal outputs, which are decoded to the same keypoints everywhere
OUTPUTS = ("heatmap", "offset")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the model. dtype: its name in NumPy. quantization: scale and zero point."""

    index: int
    dtype: str
    shape: tuple[int, ...]
    quantization: tuple[float, int]


class Engine(Protocol):
    """What a network runs on. It has one input, and outputs by name."""

    input: Tensor
    outputs: dict[str, Tensor]

    def input_view(self) -> Any:
        """Returns the input tensor's own memory (1, H, W, C), which must not be kept."""

    def invoke(self) -> None: ...

    def output(self, tensor: Tensor) -> Any:
        """Returns the values of an output (1, h, w, channels)."""


class LocalEngine:
    """An interpreter in this process."""

    def __init__(self, runtime: Runtime) -> None:
        interpreter = runtime.interpreter
        self.input = _tensor(interpreter.get_input_details()[0])
        self.outputs = {name: _tensor(details) for name, details in _outputs_by_name(interpreter).items()}
        self.invoke = interpreter.invoke
        self.input_view = interpreter.tensor(self.input.index)
        self._get = interpreter.get_tensor

    def output(self, tensor: Tensor) -> Any:
        return self._get(tensor.index)


class Network:
    """The tensors of a model. Raises ModelError where they are not those of the card. where: the file, for messages."""

    def __init__(self, engine: Engine, card: ModelCard, where: str) -> None:
        self.card = card
        (w, h), map_hw, k = card.input.size_wh, card.map_hw(), len(card.skeleton.keypoints)
        _expect(where, "input", engine.input, "uint8", (1, h, w, card.input.channels))
        for name, channels in zip(OUTPUTS, (k, 2 * k), strict=True):
            if name not in engine.outputs:
                names = [printable(one) for one in sorted(engine.outputs)]
                raise ModelError(
                    f"{where}: no output named {name!r} (it has: {listing(names) or 'none'}); "
                    "models come from edgepose-train fit"
                )
            _expect(where, name, engine.outputs[name], "int8", (1, *map_hw, channels))
        self.invoke = engine.invoke
        self._view, self._output = engine.input_view, engine.output
        self._heatmap, self._offset = (engine.outputs[name] for name in OUTPUTS)
        self._quantization = OutputQuantization(
            Quantization(*self._heatmap.quantization), Quantization(*self._offset.quantization)
        )

    def input_view(self) -> Any:
        """Returns the input tensor's own memory (H, W, C). `invoke` refuses to run while somebody keeps it."""
        return self._view()[0]

    def decode(self) -> tuple[F64, F64]:
        """Returns model-input pixels (K, 2) and scores (K,) of the last `invoke`."""
        output = self.card.keypoint_output
        heatmap, offset = self._output(self._heatmap)[0], self._output(self._offset)[0]
        return decode(heatmap, offset, output.stride, output.offset_scale, self._quantization)

    def golden(self) -> Golden:
        """Returns the card's golden picture with the output that is computed for it here."""
        self.input_view()[...] = self.card.golden.picture(self.card.input.size_wh, self.card.input.channels)
        self.invoke()
        heatmap, offset = (sha256_of(self._output(tensor).tobytes()) for tensor in (self._heatmap, self._offset))
        xy, score = self.decode()
        keypoints = tuple((float(x), float(y), float(s)) for (x, y), s in zip(xy, score, strict=True))
        return msgspec.structs.replace(
            self.card.golden, heatmap_sha256=heatmap, offset_sha256=offset, keypoints=keypoints
        )

    def check_golden(self, where: str) -> bool:
        """Compares the outputs for the golden picture with the card's. Raises ModelError where they differ too much.

        Returns True when they are equal bit for bit, as they are wherever XNNPACK runs. Other kernels round in another
        way; then only keypoints with a good score are compared, with a larger tolerance.
        """
        try:
            found, golden = self.golden(), self.card.golden
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
                f"{where}: its card's golden keypoints are {worst:.2f} px from what this edgepose reads from its "
                "outputs; the card was edited, or the model is from another version: export it again"
            )
        if worst > GOLDEN_TOLERANCE_PX:
            raise ModelError(
                f"{where}: this runtime computes another pose than the card's golden one ({worst:.1f} px away); "
                "install the runtime the model was made with, or export it again"
            )
        return exact


def _tensor(details: dict[str, Any]) -> Tensor:
    scale, zero = details["quantization"]
    shape = tuple(int(n) for n in details["shape"])
    return Tensor(int(details["index"]), np.dtype(details["dtype"]).name, shape, (float(scale), int(zero)))


def _outputs_by_name(interpreter: Any) -> dict[str, Any]:
    # The runner must not be kept: it holds the interpreter, which then refuses to run.
    if len(interpreter.get_signature_list()) != 1:
        return {}
    return dict(interpreter.get_signature_runner().get_output_details())


def _expect(where: str, what: str, tensor: Tensor, dtype: str, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape or tensor.dtype != dtype:
        raise ModelError(
            f"{where}: {what} is {tensor.dtype} {list(tensor.shape)}, but the card says {dtype} {list(shape)}; "
            "the card is of another model"
        )
