"""The network: a MobileNet trunk cut at stride 16, and a slim upsampling head with two outputs.

`heatmap` (logits) and `offset` stay separate tensors to the end, because int8 has one scale per tensor. The
trunk is cut where it still has stride 16: its last stage (stride 32, and the 1280-channel convolution of
MobileNetV2) costs more than all the rest of a small model and is too coarse to place a keypoint.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import keras
from keras import layers

from edgepose.core.errors import EdgeposeError, UsageError

# Keras' MobileNetV2 uses 0.999, which leaves the moving statistics useless after a few hundred steps.
BATCH_NORM_MOMENTUM = 0.9


class Backbone(NamedTuple):
    """version: 1 or 2, of MobileNet. alpha: its width multiplier."""

    version: int
    alpha: float

    def __str__(self) -> str:
        return f"mobilenet_v{self.version}_{self.alpha:g}"


# The layer each MobileNet offers at a stride, and the last layer of its first blocks: these find edges and
# colours, which ImageNet taught well, and cost most of a training step; so they stay as they are.
_TAPS = {
    1: {4: "conv_pw_3_relu", 8: "conv_pw_5_relu", 16: "conv_pw_11_relu"},
    2: {4: "block_3_expand_relu", 8: "block_6_expand_relu", 16: "block_13_expand_relu"},
}
_LAST_FROZEN = {1: "conv_pw_2_relu", 2: "block_2_add"}


def parse_backbone(name: str) -> Backbone:
    """`mobilenet_v2_0.5`, `MobileNetV2-0.5` or `v2_0.5`. Raises UsageError."""
    match = re.fullmatch(r"(?:mobilenet)?[_-]?v?([12])[_-]?(\d(?:\.\d+)?)", name.lower())
    if not match or not 0.05 <= float(match[2]) <= 2:
        raise UsageError(f"--backbone {name}: not a MobileNet; give mobilenet_v1_ALPHA or mobilenet_v2_ALPHA")
    return Backbone(int(match[1]), float(match[2]))


class Head(NamedTuple):
    """stride: input pixels per output cell (4, 8 or 16). width: channels between trunk and outputs."""

    keypoints: int
    stride: int
    width: int


def build(backbone: Backbone, head: Head, size_wh: tuple[int, int], weights: str) -> keras.Model:
    """Input float (N, H, W, 3) in -1..1, sides multiples of 16; outputs {"heatmap": (N, h, w, K) logits,
    "offset": (N, h, w, 2K)}. The weights are the same for every size.

    weights: "imagenet" (downloads), "none", a `.h5` file, or a folder of such files. With
    pretrained weights the trunk's batch norm and first blocks are frozen.
    """
    trunk = _trunk(backbone, size_wh, weights)
    _prepare(trunk, backbone, pretrained=weights != "none")
    taps = _TAPS[backbone.version]
    x = _conv(trunk.get_layer(taps[16]).output, head.width)
    for at in (8, 4)[: {16: 0, 8: 1, 4: 2}[head.stride]]:
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = layers.Add()([x, _conv(trunk.get_layer(taps[at]).output, head.width)])
        x = _norm(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        x = _conv(x, head.width)
    # The prior of a heatmap cell is low: starting the bias there spares the first hundred steps.
    heatmap = layers.Conv2D(head.keypoints, 1, name="heatmap_conv", bias_initializer=keras.initializers.Constant(-3.0))(
        x
    )
    offset = layers.Conv2D(2 * head.keypoints, 1, name="offset_conv")(x)
    return keras.Model(trunk.input, {"heatmap": heatmap, "offset": offset})


def _conv(x: Any, width: int) -> Any:
    return _norm(layers.Conv2D(width, 1, use_bias=False)(x))


def _norm(x: Any) -> Any:
    return layers.ReLU(6.0)(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x))


def _trunk(backbone: Backbone, size_wh: tuple[int, int], weights: str) -> keras.Model:
    make = keras.applications.MobileNet if backbone.version == 1 else keras.applications.MobileNetV2
    shape = (size_wh[1], size_wh[0], 3)
    if weights == "none":
        return make(input_shape=shape, alpha=backbone.alpha, include_top=False, weights=None)
    if weights == "imagenet":
        try:
            with warnings.catch_warnings():  # Keras says that the weights come from another size; they fit any
                warnings.simplefilter("ignore")
                return make(input_shape=shape, alpha=backbone.alpha, include_top=False, weights="imagenet")
        # Keras raises a bare Exception for what urllib raises, and ValueError where there are no such weights.
        except Exception as exc:
            reason = (str(exc).splitlines() or [repr(exc)])[0]
            raise EdgeposeError(
                f"cannot download the ImageNet weights of {backbone} ({reason}); give "
                "--weights FILE or FOLDER with weights you have, or --weights none to train from scratch"
            ) from None
    path = _weights_file(Path(weights), backbone)
    model = make(input_shape=shape, alpha=backbone.alpha, include_top=False, weights=None)
    try:
        model.load_weights(path)
    except Exception as exc:
        raise EdgeposeError(f"{path}: not weights of {backbone} without top ({str(exc).splitlines()[0]})") from None
    return model


# Version, alpha, and the size it was trained at; then the two kinds of name that Keras itself downloads.
_FILE_NAMES = (
    r"mobilenet_v(?P<version>[12])_(?P<alpha>\d(\.\d+)?)_\d+_.*no_top",
    r"mobilenet_(?P<alpha_x10>\d_\d)_\d+_tf_no_top",  # "7_5" is 0.75, "1_0" is 1.0
    r"mobilenet_v(?P<version>2)_weights_tf_dim_ordering_tf_kernels_(?P<alpha>\d(\.\d+)?)_\d+_no_top",
)
_KERAS_ALPHAS = {"1_0": 1.0, "7_5": 0.75, "5_0": 0.5, "2_5": 0.25}


def _backbone_of(file_name: str) -> Backbone | None:
    for pattern in _FILE_NAMES:
        if match := re.match(pattern, file_name):
            found = match.groupdict()
            if "alpha_x10" in found:
                return Backbone(1, _KERAS_ALPHAS.get(found["alpha_x10"], 0.0))
            return Backbone(int(found["version"]), float(found["alpha"]))
    return None


def _weights_file(path: Path, backbone: Backbone) -> Path:
    """The file itself, or the one of a folder whose name fits the backbone."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"--weights {path}: no such file or folder; or give imagenet, or none")
    files = sorted(path.glob("*.h5"))
    for file in files:
        if _backbone_of(file.name) == backbone:
            return file
    raise UsageError(
        f"--weights {path}: no weights of {backbone} there (found: {', '.join(f.name for f in files) or 'no .h5 file'})"
    )


def _prepare(trunk: keras.Model, backbone: Backbone, pretrained: bool) -> None:
    for layer in trunk.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
            layer.trainable = not pretrained
    if pretrained:
        for layer in trunk.layers:
            layer.trainable = False
            if layer.name == _LAST_FROZEN[backbone.version]:
                break
