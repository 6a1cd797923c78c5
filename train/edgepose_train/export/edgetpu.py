"""Audits a model: would the Edge TPU run all of its operations?

The rules are those of coral.ai's "TensorFlow models on the Edge TPU": its requirements and its table of supported
operations (compiler 16, runtime 14), and what the compiler is known to refuse beyond them (issues of
google-coral/edgetpu, by number). Nothing here was tried on a device. The compiler gives the Edge TPU every operation
before the first one that it refuses, and the CPU all others. So the audit names that first operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from edgepose_train.export.tflite_graph import GraphTensor, TfliteGraph, TfliteOp

# Weights that do not fit on the chip are fetched over USB for each frame. The chip has 8 MiB, also for the executable;
# logs of the compiler leave 6.9 to 7.6 MiB for weights, #512.
WEIGHT_MIB = 7
_LARGEST_RESIZE = 128  # pixels per side: 128 was mapped and 512 refused, #31
_LARGEST_DECONVOLUTION = 2**20  # weights: 1024 to 512 channels was refused, #684; 512 to 256, 3x3, is in Coral's U-Net


@dataclass(frozen=True, slots=True)
class RefusedOperation:
    """An operation that would run on the CPU, and the reason."""

    op: TfliteOp
    why: str

    def __str__(self) -> str:
        shapes = ", ".join(str(tensor) for tensor in self.op.inputs if tensor is not None and tensor.data is None)
        output = self.op.outputs[0]
        return f"operation {self.op.index}, {self.op.kind} ({shapes} to {output}, {output.name}): {self.why}"


@dataclass(frozen=True, slots=True)
class EdgeTpuAudit:
    """The result of an audit.

    Attributes:
        refusals: the refused operations in the order of the graph; empty when the Edge TPU would run all operations.
        operations: the number of operations.
        parameter_bytes: bytes of the weights.
    """

    refusals: tuple[RefusedOperation, ...]
    operations: int
    parameter_bytes: int

    @property
    def mapped(self) -> int:
        """The number of operations before the first refused one."""
        return self.refusals[0].op.index if self.refusals else self.operations

    def verdict(self) -> str:
        """Returns the result in one line."""
        if self.refusals:
            return f"runs {self.mapped} of {self.operations} operations; the CPU runs the rest from {self.refusals[0]}"
        memory = f"{self.parameter_bytes / 2**20:.1f} of about {WEIGHT_MIB} MiB"
        return f"all {self.operations} operations are in the Edge TPU's list; its weights take {memory} on the chip"


def audit_graph(graph: TfliteGraph) -> EdgeTpuAudit:
    """Compares every operation with the Edge TPU's list and its limits."""
    reasons = ((op, _not_listed(op) or _tensors(op) or _limit(op)) for op in graph.ops)
    return EdgeTpuAudit(
        refusals=tuple(RefusedOperation(op, why) for op, why in reasons if why),
        operations=len(graph.ops),
        parameter_bytes=graph.parameter_bytes,
    )


def _not_listed(op: TfliteOp) -> str | None:
    return None if op.kind in _LISTED else "not in the Edge TPU's list of operations"


def _tensors(op: TfliteOp) -> str | None:
    """Checks what every tensor must have: a fixed size, 8 bits, three dimensions, parameters in the file."""
    for tensor in (*op.inputs, *op.outputs):
        if tensor is None:
            continue
        if any(n < 0 for n in tensor.shape):
            return f"the size of {tensor.name} is not fixed ({tensor}); convert the model with a batch of 1"
        if tensor.data is None and any(n > 1 for n in tensor.shape[:-3]):
            return f"only the three innermost dimensions may be larger than 1, and {tensor.name} is {tensor}"
        if tensor.data is None and (tensor.dtype not in {"INT8", "UINT8"} or not tensor.scale):
            return f"{tensor.name} is {tensor}, not quantized to 8 bits"
        if tensor.data is not None and tensor.dtype not in {"INT8", "UINT8", "INT32"}:
            return f"the parameters {tensor.name} are {tensor}, not quantized to 8 bits"
    if op.kind in _WITH_WEIGHTS and any(tensor is not None and tensor.data is None for tensor in _parameters(op)):
        return "its weights are computed, not in the file"
    return None


def _parameters(op: TfliteOp) -> tuple[GraphTensor | None, ...]:
    """Returns weights and bias; a transposed convolution has its picture between them."""
    return tuple(tensor for i, tensor in enumerate(op.inputs) if i != (2 if op.kind == "TRANSPOSE_CONV" else 0))


def _limit(op: TfliteOp) -> str | None:
    check = _LIMITS.get(op.kind)
    return check(op) if check else None


def _convolution(op: TfliteOp) -> str | None:
    across, down = op.options.get("dilationWFactor", 1), op.options.get("dilationHFactor", 1)
    return None if across == down else f"dilated by {across} across and {down} down; both must be the same"


def _no_activation(op: TfliteOp) -> str | None:
    activation = op.options.get("fusedActivationFunction", "NONE")
    return None if activation == "NONE" else f"with the fused activation {activation}; it may have none"


def _concatenation(op: TfliteOp) -> str | None:
    constants = [tensor for tensor in op.inputs if tensor is not None and tensor.data is not None]
    if constants and (len(op.inputs) != 2 or any(t.data is not None and t.data.any() for t in constants)):
        return "with a constant it may only append zeros to one other tensor"
    return _no_activation(op)


def _mean(op: TfliteOp) -> str | None:
    source, axes = op.inputs[0], op.inputs[1]
    if source is None or axes is None or axes.data is None:
        return "its axes are computed, not in the file"
    reduced = {int(axis) % len(source.shape) for axis in axes.data.view("<i4")}
    if 0 in reduced and len(source.shape) > 1:
        return "reduces the batch"
    z = len(source.shape) - 1
    return f"reduces {source.shape[z]} channels, not a multiple of 4" if z in reduced and source.shape[z] % 4 else None


def _prelu(op: TfliteOp) -> str | None:
    alpha = op.inputs[1]
    return "its alpha varies over the picture" if alpha is not None and any(n > 1 for n in alpha.shape[:-1]) else None


def _resize(op: TfliteOp) -> str | None:
    if op.kind == "RESIZE_BILINEAR" and op.options.get("halfPixelCenters"):
        return (
            "bilinear with half-pixel centres (version 3), which compilers have refused and the Edge TPU's list does "
            "not promise; `fit --target coral` upsamples in operations that it has, to the same numbers"
        )
    side = max(op.outputs[0].shape[1:3])
    if side > _LARGEST_RESIZE:
        return f"to {side} pixels a side; no more than {_LARGEST_RESIZE} is known to be mapped"
    return None


def _softmax(op: TfliteOp) -> str | None:
    shape = op.outputs[0].shape
    return None if prod(shape) == shape[-1] <= 16_000 else "only of one row of at most 16,000 numbers"


def _split(op: TfliteOp) -> str | None:
    axis = op.inputs[0] if op.kind == "SPLIT" else None
    return "splits the batch" if axis is not None and axis.data is not None and not axis.data.any() else None


def _strided_slice(op: TfliteOp) -> str | None:
    strides = op.inputs[3]
    if strides is None or strides.data is None or (strides.data.view("<i4") != 1).any():
        return "with strides other than 1"
    return "with an ellipsis or a new axis" if op.options["ellipsisMask"] or op.options["newAxisMask"] else None


def _transposed_convolution(op: TfliteOp) -> str | None:
    weights = op.inputs[1]
    if len(op.inputs) > 3:
        return "with a bias (version 3), which compilers have refused"
    if weights is not None and weights.size > _LARGEST_DECONVOLUTION:
        return f"with {weights.size / 1e6:.1f} million weights; compilers have refused as large a one"
    return None


_LISTED = {
    *("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "LOGISTIC", "TANH", "RELU", "RELU6", "RELU_N1_TO_1"),
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN"),
    *("CONCATENATION", "PAD", "RESHAPE", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "SQUEEZE"),
    *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SOFTMAX", "STRIDED_SLICE", "L2_NORMALIZATION"),
    # Since runtime 13:
    *("EXPAND_DIMS", "PACK", "PRELU", "QUANTIZE", "SUM", "TRANSPOSE_CONV"),
    # Since runtime 14:
    *("REDUCE_MAX", "REDUCE_MIN", "RSQRT", "SQUARED_DIFFERENCE", "TRANSPOSE", "UNIDIRECTIONAL_SEQUENCE_LSTM"),
}
_WITH_WEIGHTS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
_LIMITS: dict[str, Callable[[TfliteOp], str | None]] = {
    "AVERAGE_POOL_2D": _no_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "MAX_POOL_2D": _no_activation,
    "MEAN": _mean,
    "PRELU": _prelu,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE_CONV": _transposed_convolution,
}
