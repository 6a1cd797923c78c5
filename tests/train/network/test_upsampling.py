"""Upsampling for the Edge TPU equals bilinear resizing in float and in int8, and keeps the coordinate rule."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf  # noqa: TID251
from keras import layers

from edgepose.geometry.coordinates import cell_to_px
from edgepose.inference.runtime import open_runtime
from edgepose_train.export.tflite_graph import read_graph
from edgepose_train.network.upsampling import upsample_2x
from edgepose_train.quiet import quiet

SHAPE = (1, 5, 7, 6)
# TensorFlow warns of this where inputs and outputs are float; they need no range.
float_ends = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected")


def _models():
    """Returns two models with the same convolutions and one kind of upsampling each."""
    before, after = layers.Conv2D(SHAPE[3], 1, activation="relu6"), layers.Conv2D(3, 1)
    built = []
    for enlarge in (layers.UpSampling2D(2, interpolation="bilinear"), upsample_2x):
        source = keras.Input(SHAPE[1:], batch_size=1)
        built.append(keras.Model(source, after(enlarge(before(source)))))
    return built


@pytest.fixture(scope="module")
def models():
    keras.utils.set_random_seed(0)
    return _models()


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(1).normal(0, 2, (20, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize(("h", "w", "channels"), [(5, 7, 3), (1, 4, 1), (2, 2, 8)])
def test_equal_to_bilinear_resizing_also_at_the_border(h, w, channels):
    picture = np.random.default_rng(0).normal(size=(2, h, w, channels)).astype(np.float32)
    expected = layers.UpSampling2D(2, interpolation="bilinear")(picture)
    source = keras.Input((h, w, channels))
    np.testing.assert_allclose(keras.Model(source, upsample_2x(source))(picture), expected, atol=2e-6)


def test_a_ramp_keeps_its_pixel_coordinates():
    """Cells whose value is their own pixel coordinate have that value at half the stride, too."""
    coarse = np.array([cell_to_px(float(x), 16) for x in range(6)], np.float32)
    source = keras.Input((4, 6, 1))
    fine = keras.Model(source, upsample_2x(source))(np.tile(coarse, (4, 1))[None, :, :, None])
    expected = [cell_to_px(float(x), 8) for x in range(12)]
    np.testing.assert_allclose(np.array(fine)[0, 3, 1:-1, 0], expected[1:-1], atol=1e-4)


def test_its_kernel_is_not_trained():
    source = keras.Input((5, 7, 3))
    assert keras.Model(source, upsample_2x(source)).trainable_weights == []


@float_ends
def test_int8_is_as_close_to_float_as_resizing_is(models, pictures):
    rms = []
    for model in models:
        interpreter = open_runtime(_int8(model, pictures), 1, "made").interpreter
        source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        errors = []
        for picture in pictures:
            interpreter.set_tensor(source, picture)
            interpreter.invoke()
            errors.append(interpreter.get_tensor(result) - np.array(model(picture)))
        rms.append(float(np.sqrt(np.mean(np.square(errors)))))
    resized, transposed = rms
    assert 0 < transposed < 1.3 * resized


@float_ends
def test_int8_graph_has_no_resizing_and_no_operation_that_computes_shapes(models, pictures):
    graph = read_graph(_int8(models[1], pictures), "made")
    kinds = [op.kind for op in graph.ops]
    assert kinds == ["QUANTIZE", "CONV_2D", "TRANSPOSE_CONV", "MUL", "CONV_2D", "DEQUANTIZE"]


def _int8(model, pictures):
    """Converts the model to int8 with float inputs and outputs."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([picture] for picture in pictures)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with quiet():
        return bytes(converter.convert())
