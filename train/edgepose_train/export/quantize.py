"""Turns a trained float network into an int8 flatbuffer and the card that goes with it."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any

import cv2
import keras
import msgspec
import tensorflow as tf

from edgepose.errors import EdgeposeError
from edgepose.geometry.letterbox import ModelInput
from edgepose.inference.estimator import compute_golden
from edgepose.inference.model_card import (
    GOLDEN_REPEAT,
    Golden,
    KeypointOutput,
    ModelCard,
    Training,
    sha256_of,
)
from edgepose.system.wording import printable
from edgepose.types import U8
from edgepose_train.labels.dataset import Dataset
from edgepose_train.network.network import to_input
from edgepose_train.network.recipes import RESIZE
from edgepose_train.quiet import quiet


def to_int8(model: keras.Model, pictures: list[U8]) -> bytes:
    """Returns the bytes of a `.tflite` file that takes uint8 RGB and gives int8 `heatmap` and `offset` by name.

    The normalisation to -1..1 needs no operation, because it is the scale of the quantized input.

    Args:
        model: the float network, with input (N, H, W, 3) in -1..1.
        pictures: model inputs (H, W, 3) uint8 of the user's own frames. They set the range of every tensor.

    Raises:
        EdgeposeError: the converter fails.
    """
    # Near a keypoint, offsets are trained to lie in -1..1; elsewhere they may have any value. Clipping keeps the
    # single scale of the tensor fine.
    clipped = keras.ops.clip(model.output["offset"], -1.0, 1.0)
    shipped = keras.Model(model.input, {"heatmap": model.output["heatmap"], "offset": clipped})
    # The batch is fixed to 1, because the Edge TPU's compiler refuses tensors whose sizes are open.
    picture = keras.Input(batch_shape=(1, *model.input_shape[1:]))
    shipped = keras.Model(picture, shipped(picture))
    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(shipped)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _calibration(pictures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.int8
        try:
            return bytes(converter.convert())
        except Exception as exc:
            raise EdgeposeError(f"quantization failed: {str(exc).strip().splitlines()[0]}") from exc


def _calibration(pictures: list[U8]) -> Iterator[list[Any]]:
    for picture in pictures:
        # With one black and one white pixel, the input's range is exactly 0..255 in every picture.
        full = picture.copy()
        full[0, 0], full[0, 1] = 0, 255
        yield [to_input(full[None])]


def make_card(dataset: Dataset, model: bytes, picture: U8, output: KeypointOutput, training: Training) -> ModelCard:
    """Returns the card of `model`, still without scores; its golden output is computed from `picture` (H, W, 3)."""
    h, w = picture.shape[:2]
    unchecked = Golden(png=_golden_png(picture), heatmap_sha256="", offset_sha256="", keypoints=())
    card = ModelCard(
        name=printable(dataset.name),
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        skeleton=dataset.skeleton,
        input=ModelInput(size_wh=(w, h), channels=3, resize=RESIZE),
        outputs=(output,),
        sha256=sha256_of(model),
        golden=unchecked,
        training=training,
    )
    return msgspec.structs.replace(card, golden=compute_golden(model, card))


def _golden_png(picture: U8) -> str:
    """Returns a model input (H, W, 3) as base64 of a small PNG; the card enlarges it again by repeating pixels."""
    h, w = picture.shape[:2]
    small = cv2.resize(picture, (-(-w // GOLDEN_REPEAT), -(-h // GOLDEN_REPEAT)), interpolation=cv2.INTER_AREA)
    ok, png = cv2.imencode(".png", small, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert ok
    return base64.b64encode(png.tobytes()).decode()
