"""The int8 file has what the device relies on; the file itself is read."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf  # noqa: TID251

from edgepose.inference.model_file import read_card

pytestmark = pytest.mark.slow  # a network is trained


@pytest.fixture(scope="module")
def interpreter(finished_run):
    """An interpreter without the delegate, which hides the operations."""
    plain = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with pytest.warns(UserWarning, match="tf.lite.Interpreter is deprecated"):
        found = tf.lite.Interpreter(str(finished_run.model), experimental_op_resolver_type=plain)
    found.allocate_tensors()
    return found


@pytest.fixture(scope="module")
def outputs(interpreter):
    return interpreter.get_signature_runner().get_output_details()


def test_input_is_the_cameras_bytes(interpreter):
    """Scale and zero point are the normalisation to -1..1, whatever pixels the frames have."""
    (details,) = interpreter.get_input_details()
    assert details["dtype"] is np.uint8
    assert details["shape"].tolist() == [1, 96, 96, 3]
    scale, zero_point = details["quantization"]
    assert scale == pytest.approx(1 / 127.5, abs=1e-6)
    assert zero_point in {127, 128}


def test_normalisation_costs_no_operation(interpreter):
    names = [op["op_name"] for op in interpreter._get_ops_details()]
    before_first_convolution = names[: names.index("CONV_2D")]
    assert set(before_first_convolution) <= {"QUANTIZE", "PAD"}
    assert "DEQUANTIZE" not in names


def test_outputs_are_named_int8_tensors_with_a_scale_each(outputs, finished_run):
    rows, columns = read_card(finished_run.model).map_hw()
    assert {name: details["shape"].tolist() for name, details in outputs.items()} == {
        "heatmap": [1, rows, columns, 4],
        "offset": [1, rows, columns, 8],
    }
    assert all(details["dtype"] is np.int8 for details in outputs.values())
    assert outputs["heatmap"]["quantization"] != outputs["offset"]["quantization"]


def test_offsets_are_clipped_so_that_their_scale_is_fine(outputs):
    scale, zero_point = outputs["offset"]["quantization"]
    assert 0 < scale <= 2 / 255 + 1e-6
    assert (-128 - zero_point) * scale >= -1.01
    assert (127 - zero_point) * scale <= 1.01


def test_every_weight_is_quantized(interpreter):
    """Kernels are int8 and biases int32; a float tensor would mean an operation that runs in float."""
    assert {np.dtype(tensor["dtype"]).name for tensor in interpreter.get_tensor_details()} <= {
        "int8",
        "int32",
        "uint8",
    }
