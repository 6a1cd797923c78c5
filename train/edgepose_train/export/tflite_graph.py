"""Reads a `.tflite` file: its operations in the order in which they run, their shapes, types, options and costs.

The file is a FlatBuffer. The classes that unpack it come with ai-edge-litert (`schema_py_generated`, made from
TensorFlow's `schema.fbs`); they do not load an interpreter.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import ModelError

_MAGIC = b"TFL3"  # bytes 4 to 7 of every file
_ITEM_BYTES = {"FLOAT32": 4, "INT32": 4, "INT64": 8, "FLOAT64": 8, "INT16": 2, "FLOAT16": 2}  # every other type: 1


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """A tensor of the graph.

    Attributes:
        name: the name in the file.
        shape: the sizes, -1 where the file leaves one open.
        dtype: TFLite's name of the type, such as INT8.
        data: the bytes of a constant, None for a computed tensor.
        scale: the scale of the quantization, one number or one per channel; empty where it is not quantized.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: NDArray[np.uint8] | None
    scale: tuple[float, ...]

    @property
    def size(self) -> int:
        return math.prod(abs(n) for n in self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * _ITEM_BYTES.get(self.dtype, 1)

    def __str__(self) -> str:
        return f"{self.dtype.lower()} {'x'.join('?' if n < 0 else str(n) for n in self.shape) or 'scalar'}"


@dataclass(frozen=True, slots=True)
class TfliteOp:
    """One operation of the graph.

    Attributes:
        index: its place in the order in which the operations run.
        kind: TFLite's name, such as CONV_2D.
        inputs: its inputs, None where an optional input is left out.
        outputs: its outputs.
        options: its options by the schema's names, such as halfPixelCenters.
    """

    index: int
    kind: str
    inputs: tuple[GraphTensor | None, ...]
    outputs: tuple[GraphTensor, ...]
    options: dict[str, Any]

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 for an operation without weights."""
        weights = self.inputs[1] if len(self.inputs) > 1 else None
        if weights is None:
            return 0
        if self.kind == "CONV_2D":  # weights (out, kh, kw, in)
            return self.outputs[0].size * math.prod(weights.shape[1:])
        if self.kind == "DEPTHWISE_CONV_2D":  # weights (1, kh, kw, out)
            return self.outputs[0].size * math.prod(weights.shape[1:3])
        if self.kind == "TRANSPOSE_CONV":  # inputs: output shape, weights (out, kh, kw, in), picture
            picture = self.inputs[2]
            return 0 if picture is None else math.prod(picture.shape[:3]) * weights.size
        if self.kind == "FULLY_CONNECTED":  # weights (out, in)
            return self.outputs[0].size * weights.shape[-1]
        return 0


@dataclass(frozen=True, slots=True)
class TfliteGraph:
    """The operations of a file, in the order in which they run."""

    ops: tuple[TfliteOp, ...]

    @property
    def macs(self) -> int:
        return sum(op.macs for op in self.ops)

    @property
    def parameter_bytes(self) -> int:
        """Bytes of all constants; a constant that several operations use is counted once."""
        found = {id(t): t for op in self.ops for t in op.inputs if t is not None and t.data is not None}
        return sum(tensor.nbytes for tensor in found.values())


def read_bytes(model: Path) -> bytes:
    """Reads a model file, with or without a card; raises ModelError where that is impossible."""
    try:
        return model.read_bytes()
    except (OSError, ValueError) as exc:  # ValueError: a path that cannot be one
        raise ModelError(f"{model}: cannot read the model ({getattr(exc, 'strerror', exc)})") from None


def read_graph(data: bytes, where: str) -> TfliteGraph:
    """Reads the graph of a `.tflite` file.

    `where` is the file's name, for errors. Raises ModelError when `data` is no such file or is damaged.
    """
    if data[4:8] != _MAGIC:
        raise ModelError(f"{where}: not a TFLite model; give the .tflite that edgepose-train fit wrote")
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data), 0))
        return _graph(schema, model)
    # Wrong offsets in a damaged file make struct, NumPy or an attribute lookup fail, each with its own exception.
    except Exception:
        raise ModelError(f"{where}: a damaged TFLite model; copy it again from the training run") from None


def _graph(schema: Any, model: Any) -> TfliteGraph:
    subgraph = model.subgraphs[0]
    kinds, dtypes, activations = (
        {code: name for name, code in vars(enum).items() if isinstance(code, int)}
        for enum in (schema.BuiltinOperator, schema.TensorType, schema.ActivationFunctionType)
    )
    tensors = [_tensor(tensor, model.buffers, dtypes) for tensor in subgraph.tensors]
    ops = []
    for index, op in enumerate(subgraph.operators):
        code = model.operatorCodes[op.opcodeIndex]
        # Old files have only the older field, which ends at operation 127; newer files fill both or only the newer one.
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        kind = kinds[builtin] if builtin != schema.BuiltinOperator.CUSTOM else code.customCode.decode()
        options = dict(vars(op.builtinOptions)) if op.builtinOptions is not None else {}
        if "fusedActivationFunction" in options:
            options["fusedActivationFunction"] = activations[options["fusedActivationFunction"]]
        inputs = tuple(tensors[i] if i >= 0 else None for i in op.inputs)
        ops.append(TfliteOp(index, kind, inputs, tuple(tensors[i] for i in op.outputs), options))
    return TfliteGraph(tuple(ops))


def _tensor(tensor: Any, buffers: list[Any], dtypes: dict[int, str]) -> GraphTensor:
    # Where a size is open, the signature has -1 and the shape has only a placeholder.
    shape = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    data = buffers[tensor.buffer].data
    scale = tensor.quantization.scale if tensor.quantization is not None else None
    return GraphTensor(
        name=tensor.name.decode(),
        shape=() if shape is None else tuple(int(n) for n in shape),
        dtype=dtypes[tensor.type],
        data=None if data is None or not len(data) else np.asarray(data, np.uint8),
        scale=() if scale is None else tuple(float(s) for s in scale),
    )
