"""Runs the graph of an int8 file in float, one operation after the other, so that each can be quantized or not.

Converted without quantization, the network has the same operations in the same order. Each of them becomes a small
float model of its own. A quantized operation uses the weights of the int8 file, and its output is rounded to the steps
of the int8 file. So this graph computes what the int8 file does, and it can do so with any of its operations in float.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import flatbuffers
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edgepose.errors import ModelError
from edgepose.inference.runtime import open_runtime
from edgepose.types import F32, U8
from edgepose_train.quiet import quiet

_KINDS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}  # between number formats; a float graph has none
_WORDS = {
    "CONV_2D": "convolution",
    "DEPTHWISE_CONV_2D": "depthwise convolution",
    "ADD": "sum",
    "RESIZE_BILINEAR": "upsampling",
    "TRANSPOSE_CONV": "upsampling",
    "MUL": "product",
}
# Names that only occur in the head; Keras gives most of them.
_UNNAMED = re.compile(
    r"(re_lu|(depthwise_)?conv2d(_transpose)?|batch_normalization|add|multiply|up_sampling2d|head_.*)?(_\d+)*"
)
_BESIDE = re.compile(r"relu|bn|pad", re.IGNORECASE)  # these are fused into the convolution that names the layer

_PICTURE = -1  # the picture's number as a tensor; the graph's own numbers begin at 0

Call = Callable[..., F32]


@dataclass(frozen=True, slots=True)
class DequantizedOperation:
    """One operation of the int8 file.

    Attributes:
        layer: the layer in words.
        inputs: the computed tensors that it takes, by number.
        output: the tensor that it gives, by number.
        exact: the float operation with the float weights.
        rounded: the float operation with the weights of the int8 file.
        scale: the scale of its output in the int8 file.
        zero_point: the zero point of its output in the int8 file.
    """

    layer: str
    inputs: tuple[int, ...]
    output: int
    exact: Call
    rounded: Call
    scale: float
    zero_point: int

    def round(self, values: F32) -> F32:
        """Rounds to the nearest values that the int8 output can have."""
        steps = np.rint(values * np.float32(1 / self.scale)) + self.zero_point
        whole = (np.clip(steps, -128, 127) - self.zero_point).astype(np.float32)
        return np.asarray(whole * np.float32(self.scale), np.float32)


@dataclass(frozen=True, slots=True)
class DequantizedGraph:
    """The operations in the order in which they run, first the picture's normalisation, and the outputs by name."""

    operations: tuple[DequantizedOperation, ...]
    outputs: dict[str, int]

    def run(self, picture: U8, in_float: Collection[int], known: dict[int, F32] | None = None) -> dict[int, F32]:
        """Computes every tensor and returns them by number.

        Args:
            picture: the model's input, RGB (H, W, 3).
            in_float: the places in `operations` that are not quantized.
            known: tensors that need not be computed again.
        """
        found = {_PICTURE: picture[None].astype(np.float32), **(known or {})}
        for place, operation in enumerate(self.operations):
            if operation.output in found:
                continue
            values = [found[number] for number in operation.inputs]
            if place in in_float:
                found[operation.output] = operation.exact(*values)
            else:
                found[operation.output] = operation.round(operation.rounded(*values))
        return found

    def after(self, place: int) -> set[int]:
        """Returns the numbers of the tensors that depend on the operation at `place`."""
        changed = {self.operations[place].output}
        for operation in self.operations[place + 1 :]:
            if changed & set(operation.inputs):
                changed.add(operation.output)
        return changed


def dequantize(model: keras.Model, tflite: bytes) -> DequantizedGraph:
    """Returns the graph of the int8 file `tflite`, which was made from the float network `model`.

    Raises ModelError when it was made from another network.
    """
    exact, quantized = _SchemaGraph(_float_file(model)), _SchemaGraph(tflite)
    if exact.kinds() != quantized.kinds():
        raise ModelError("the int8 file has other operations than the float network; quantize the network again")
    width = quantized.shape(quantized.start)[2]
    names = {number: name for name, number in quantized.outputs.items()}
    operations = [_normalisation(quantized)]
    for a, b in zip(exact.operators, quantized.operators, strict=True):
        output = b.outputs[0]
        stored = quantized.graph.tensors[output].quantization
        operations.append(
            DequantizedOperation(
                layer=_in_words(quantized, b, names, width),
                inputs=tuple(quantized.source(number) for number in b.inputs if quantized.is_value(number)),
                output=output,
                exact=exact.alone(a, [exact.constant(number) for number in a.inputs]),
                rounded=exact.alone(a, [quantized.constant(number) for number in b.inputs]),
                scale=float(stored.scale[0]),
                zero_point=int(stored.zeroPoint[0]),
            )
        )
    return DequantizedGraph(tuple(operations), quantized.outputs)


def _normalisation(graph: _SchemaGraph) -> DequantizedOperation:
    """Returns the operation that brings pixels to -1..1.

    The int8 file does so with the scale of its input. The zero point is a whole number, so it is half a step off.
    """
    stored = graph.graph.tensors[graph.start].quantization
    scale, zero_point = float(stored.scale[0]), int(stored.zeroPoint[0])
    return DequantizedOperation(
        layer="input",
        inputs=(_PICTURE,),
        output=graph.start,
        exact=lambda picture: picture / np.float32(127.5) - 1,
        rounded=lambda picture: (picture - zero_point) * np.float32(scale),
        scale=scale,
        zero_point=zero_point - 128,
    )


def _float_file(model: keras.Model) -> bytes:
    """Converts the network without quantization; a frozen function converts several times faster than a network."""

    def shipped(picture: Any) -> dict[str, Any]:
        out = model(picture, training=False)
        return {"heatmap": out["heatmap"], "offset": tf.clip_by_value(out["offset"], -1.0, 1.0)}  # as `to_int8` does

    with quiet():
        shape = tf.TensorSpec((1, *model.input.shape[1:]), tf.float32)
        frozen = convert_variables_to_constants_v2(tf.function(shipped).get_concrete_function(shape))
        return bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())


class _SchemaGraph:
    """A `.tflite` file as the objects of TFLite's schema."""

    def __init__(self, data: bytes) -> None:
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
        self.graph = self.model.subgraphs[0]
        self.operators = [op for op in self.graph.operators if self.kind(op) not in _CONVERSIONS]
        self._made = {int(op.outputs[0]) for op in self.graph.operators}
        self._renamed = {
            int(op.outputs[0]): int(op.inputs[0]) for op in self.graph.operators if self.kind(op) in _CONVERSIONS
        }
        self.start = int(self.graph.inputs[0])
        named = self.model.signatureDefs[0].outputs if self.model.signatureDefs else ()
        self.outputs = {out.name.decode(): self.source(out.tensorIndex) for out in named}

    def kind(self, op: Any) -> str:
        code = self.model.operatorCodes[op.opcodeIndex]
        return str(_KINDS[max(code.builtinCode, code.deprecatedBuiltinCode)])

    def kinds(self) -> list[tuple[Any, ...]]:
        return [(self.kind(op), *(self.shape(n) for n in (*op.inputs, *op.outputs) if n >= 0)) for op in self.operators]

    def shape(self, number: int) -> tuple[int, ...]:
        return tuple(int(side) for side in self.graph.tensors[number].shape)

    def source(self, number: int) -> int:
        """Returns the number of the same tensor before it was converted into another number format."""
        while int(number) in self._renamed:
            number = self._renamed[int(number)]
        return int(number)

    def is_value(self, number: int) -> bool:
        """Returns True where the tensor is computed from the picture, not stored in the file."""
        return int(number) in self._made or int(number) == self.start

    def constant(self, number: int) -> NDArray[Any] | None:
        """Returns the stored tensor, as float32 where it is quantized; None where it is computed."""
        if int(number) < 0 or self.is_value(number):
            return None
        tensor = self.graph.tensors[number]
        types = {schema.TensorType.FLOAT32: "<f4", schema.TensorType.INT8: "i1", schema.TensorType.INT32: "<i4"}
        values = np.array(self.model.buffers[tensor.buffer].data, np.uint8).view(types[tensor.type])
        values = values.reshape(self.shape(number))
        stored = tensor.quantization
        if stored is None or stored.scale is None:
            return values
        spread = [-1 if axis == stored.quantizedDimension else 1 for axis in range(values.ndim)] or [-1]
        scale, zero = np.array(stored.scale, np.float32), np.array(stored.zeroPoint, np.float32)
        if len(scale) > 1:
            scale, zero = scale.reshape(spread), zero.reshape(spread)
        return ((values - zero) * scale).astype(np.float32)

    def alone(self, op: Any, constants: list[NDArray[Any] | None]) -> Call:
        """Returns the float operation as a function of its computed inputs; `constants` has its stored inputs."""
        piece = _piece(self.model, self.graph, op, constants)
        interpreter = open_runtime(piece, 1, "one operation").interpreter
        inputs = [details["index"] for details in interpreter.get_input_details()]
        output = interpreter.get_output_details()[0]["index"]

        def call(*values: F32) -> F32:
            for index, value in zip(inputs, values, strict=True):
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            return np.asarray(interpreter.get_tensor(output), np.float32)

        return call


def _piece(model: Any, graph: Any, op: Any, constants: list[NDArray[Any] | None]) -> bytes:
    """Returns a `.tflite` file with this operation alone."""
    tensors: list[Any] = []
    buffers = [schema.BufferT()]
    for number, constant in zip([*op.inputs, op.outputs[0]], [*constants, None], strict=True):
        old = graph.tensors[number]
        new = schema.TensorT()
        new.shape, new.type, new.name = old.shape, old.type, f"tensor{len(tensors)}".encode()
        if constant is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(constant).tobytes(), np.uint8)
            new.buffer = len(buffers)
            buffers.append(buffer)
        else:
            new.buffer = 0
        tensors.append(new)
    last = len(tensors) - 1
    alone = schema.OperatorT()
    alone.opcodeIndex, alone.inputs, alone.outputs = 0, list(range(last)), [last]
    alone.builtinOptionsType, alone.builtinOptions = op.builtinOptionsType, op.builtinOptions
    subgraph = schema.SubGraphT()
    subgraph.tensors, subgraph.operators, subgraph.outputs = tensors, [alone], [last]
    subgraph.inputs = [i for i, constant in enumerate(constants) if constant is None]
    piece = schema.ModelT()
    piece.version, piece.buffers, piece.subgraphs = 3, buffers, [subgraph]
    piece.operatorCodes = [model.operatorCodes[op.opcodeIndex]]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(piece.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _in_words(graph: _SchemaGraph, op: Any, outputs: dict[int, str], input_width: int) -> str:
    """Names the layer, such as `trunk block_5_depthwise`, `head convolution at stride 8` or `heatmap output`."""
    number = int(op.outputs[0])
    if number in outputs:
        return f"{outputs[number]} output"
    # The converter joins the names of what it has fused: "functional_1/block_1_expand_relu_1/Relu6;functional_1/..."
    paths = [path.split("/") for path in graph.graph.tensors[number].name.decode().split(";")]
    found = [next((part for part in path if not part.startswith("functional")), "") for path in paths if len(path) > 1]
    layers = [re.sub(r"_\d+$", "", part) for part in found]
    if named := [layer for layer in layers if not _UNNAMED.fullmatch(layer)]:
        return f"trunk {next((layer for layer in named if not _BESIDE.search(layer)), named[0])}"
    kind, shape = graph.kind(op), graph.shape(number)
    channels = f"{graph.shape(op.inputs[0])[-1]} to {shape[-1]} channels"
    return f"head {_WORDS.get(kind, kind.lower())} at stride {input_width // shape[2]} ({channels})"
