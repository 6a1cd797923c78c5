"""Trained float network to int8 `.tflite` and the card that goes with it."""

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
    ModelCard,
    ModelFile,
    ModelFiles,
    ModelOutput,
    Training,
    sha256_of,
)
from edgepose.types import U8
from edgepose_train.labels.dataset import Dataset
from edgepose_train.quiet import quiet
from edgepose_train.training.samples import RESIZE
from edgepose_train.training.trainer import Plan, to_input


def to_int8(model: keras.Model, pictures: list[U8]) -> bytes:
    """The `.tflite` file: uint8 RGB in, int8 `heatmap` and `offset` out, found by name.

    pictures: model inputs (H, W, 3) uint8 of the user's own frames, which set the range of every tensor.
    The normalisation to -1..1 needs no operation: it is the scale of the quantized input.
    """
    # Offsets are trained to lie in -1..1 near a keypoint and are anything elsewhere; clipped, that "elsewhere"
    # does not coarsen the one scale that the whole tensor has.
    clipped = keras.ops.clip(model.output["offset"], -1.0, 1.0)
    shipped = keras.Model(model.input, {"heatmap": model.output["heatmap"], "offset": clipped})
    # One picture at a time: the Edge TPU's compiler refuses tensors whose sizes are open.
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
        # One black and one white pixel: the input's range is then exactly 0..255, whatever the frames hold.
        full = picture.copy()
        full[0, 0], full[0, 1] = 0, 255
        yield [to_input(full[None])]


def make_card(dataset: Dataset, model: bytes, picture: U8, plan: Plan, training: Training) -> ModelCard:
    """The card of `model`, its golden output computed from `picture` (H, W, 3), without scores yet."""
    h, w = picture.shape[:2]
    unchecked = Golden(png=_golden_png(picture), heatmap_sha256="", offset_sha256="", keypoints=())
    card = ModelCard(
        name=dataset.name,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        skeleton=dataset.skeleton,
        input=ModelInput(size_wh=(w, h), channels=3, resize=RESIZE),
        output=ModelOutput(stride=plan.stride, offset_scale=plan.offset_scale),
        files=ModelFiles(ModelFile("model.tflite", sha256_of(model))),
        golden=unchecked,
        training=training,
    )
    with quiet():  # the runtime says once that it uses its fast kernels
        golden = compute_golden(model, card)
    return msgspec.structs.replace(card, golden=golden)


def _golden_png(picture: U8) -> str:
    """A model input (H, W, 3), stored small enough for the card; the card enlarges it by repeating pixels."""
    h, w = picture.shape[:2]
    small = cv2.resize(picture, (-(-w // GOLDEN_REPEAT), -(-h // GOLDEN_REPEAT)), interpolation=cv2.INTER_AREA)
    ok, png = cv2.imencode(".png", small, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert ok
    return base64.b64encode(png.tobytes()).decode()
