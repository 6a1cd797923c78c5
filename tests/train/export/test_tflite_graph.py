"""What is read from a `.tflite` file, compared with the interpreter and with published counts."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from edgepose.errors import ModelError
from edgepose_train.export.tflite_graph import read_bytes, read_graph

DEMO = resources.files("edgepose") / "demo" / "demo.tflite"


@pytest.fixture(scope="module")
def demo():
    return read_graph(DEMO.read_bytes(), "demo.tflite")


def test_operations_and_tensors_are_those_the_interpreter_sees(demo):
    import tensorflow as tf  # noqa: TID251

    plain = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with pytest.warns(UserWarning, match="tf.lite.Interpreter is deprecated"):
        interpreter = tf.lite.Interpreter(model_content=DEMO.read_bytes(), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    seen = {tensor["name"]: tensor for tensor in interpreter.get_tensor_details()}
    assert [op.kind for op in demo.ops] == [op["op_name"] for op in interpreter._get_ops_details()]
    for op in demo.ops:
        for tensor in (*op.inputs, *op.outputs):
            assert tensor.shape == tuple(seen[tensor.name]["shape_signature"].tolist())
            assert tensor.dtype == np.dtype(seen[tensor.name]["dtype"]).name.upper()
            assert tensor.scale == pytest.approx(seen[tensor.name]["quantization_parameters"]["scales"].tolist())


def test_first_convolution(demo):
    op = next(op for op in demo.ops if op.kind == "CONV_2D")
    assert op.index == 1
    assert op.options["strideH"] == op.options["strideW"] == 2
    assert op.options["fusedActivationFunction"] == "RELU6"
    assert [str(tensor) for tensor in op.inputs] == ["int8 1x240x320x3", "int8 8x3x3x3", "int32 8"]
    assert op.macs == 120 * 160 * 8 * 27


def test_a_batch_that_is_not_fixed_is_minus_one():
    import keras

    picture = keras.Input((6, 8, 3))
    graph = read_graph(_converted(keras.Model(picture, keras.layers.Conv2D(2, 3)(picture))), "made")
    assert graph.ops[0].inputs[0].shape == (-1, 6, 8, 3)


def test_weights_are_counted_once_and_are_most_of_the_file(demo):
    assert 0.5 * len(DEMO.read_bytes()) < demo.parameter_bytes < len(DEMO.read_bytes())


def _converted(model):
    import tensorflow as tf  # noqa: TID251

    from edgepose_train.quiet import quiet

    with quiet():
        return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


@pytest.mark.slow
def test_multiply_accumulates_are_the_published_ones():
    """MobileNetV2 1.0 at 224x224 has 300 million (Sandler et al. 2018, table 4)."""
    import keras

    graph = read_graph(_converted(keras.applications.MobileNetV2(weights=None)), "MobileNetV2")
    assert graph.macs == pytest.approx(300e6, rel=0.005)
    assert graph.parameter_bytes == pytest.approx(4 * 3.5e6, rel=0.02)


def test_every_kind_with_weights_is_counted():
    import keras
    from keras import layers

    picture = keras.Input((6, 8, 3), batch_size=1)
    x = layers.Conv2DTranspose(5, 4, strides=2, padding="same", use_bias=False)(picture)
    x = layers.DepthwiseConv2D((3, 1), use_bias=False)(x)
    x = layers.Dense(7)(layers.Flatten()(layers.Conv2D(2, 3, strides=2)(x)))
    graph = read_graph(_converted(keras.Model(picture, x)), "made")
    counted = {op.kind: op.macs for op in graph.ops if op.macs}
    assert counted == {
        "TRANSPOSE_CONV": 6 * 8 * 4 * 4 * 3 * 5,
        "DEPTHWISE_CONV_2D": 10 * 16 * 5 * 3,
        "CONV_2D": 4 * 7 * 2 * 3 * 3 * 5,
        "FULLY_CONNECTED": 4 * 7 * 2 * 7,
    }
    assert graph.macs == sum(counted.values())


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x1c\0\0\0TFL3"])
def test_what_is_no_model_is_one_line(data):
    with pytest.raises(ModelError, match=r"^my\.tflite: .*") as caught:
        read_graph(data, "my.tflite")
    assert "\n" not in str(caught.value)


def test_every_truncation_is_an_error_or_the_same_operations(demo):
    """The weights are behind the tables, so a graph can be read without its last bytes; the card's hash finds that."""
    data = DEMO.read_bytes()
    kinds = [op.kind for op in demo.ops]
    failed = 0
    for length in range(8, len(data), len(data) // 40):
        try:
            assert [op.kind for op in read_graph(data[:length], "cut.tflite").ops] == kinds
        except ModelError as exc:
            failed += 1
            assert "cut.tflite: a damaged TFLite model" in str(exc)  # noqa: PT017
    assert failed > 10


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ModelError, match=r"none\.tflite: cannot read the model \(No such file"):
        read_bytes(tmp_path / "none.tflite")
