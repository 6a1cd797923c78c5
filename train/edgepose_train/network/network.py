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

from edgepose.errors import EdgeposeError, UsageError
from edgepose_train.network.upsampling import upsample_2x

# Keras' MobileNetV2 uses 0.999, which leaves the moving statistics useless after a few hundred steps.
BATCH_NORM_MOMENTUM = 0.9


class Backbone(NamedTuple):
    """version: 1 or 2, of MobileNet. alpha: its width multiplier. blocks: where the trunk ends; fewer blocks at
    stride 16 leave time for a larger input."""

    version: int
    alpha: float
    blocks: int

    def __str__(self) -> str:
        shorter = f":{self.blocks}" if self.blocks != _BLOCKS[self.version].stop - 1 else ""
        return f"mobilenet_v{self.version}_{self.alpha:g}{shorter}"

    def taps(self) -> dict[int, str]:
        """The layer the trunk offers at each stride."""
        if self.version == 1:
            return {4: "conv_pw_3_relu", 8: "conv_pw_5_relu", 16: f"conv_pw_{self.blocks}_relu"}
        return {4: "block_3_expand_relu", 8: "block_6_expand_relu", 16: f"block_{self.blocks}_expand_relu"}


# Blocks of each MobileNet whose output has stride 16.
_BLOCKS = {1: range(6, 12), 2: range(7, 14)}
# The last layer of the first blocks: these find edges and colours, which ImageNet taught well, and cost most of
# a training step; so they stay as they are.
_LAST_FROZEN = {1: "conv_pw_2_relu", 2: "block_2_add"}


def parse_backbone(name: str) -> Backbone:
    """`mobilenet_v2_0.5`, `MobileNetV2-0.5` or `v2_0.5`; with `:8` the trunk ends after block 8. Raises UsageError."""
    match = re.fullmatch(r"(?:mobilenet)?[_-]?v?([12])[_-]?(\d(?:\.\d+)?)(?::(\d+))?", name.lower())
    if not match or not 0.05 <= float(match[2]) <= 2:
        raise UsageError(f"--backbone {name}: not a MobileNet; give mobilenet_v1_ALPHA or mobilenet_v2_ALPHA")
    possible = _BLOCKS[int(match[1])]
    blocks = int(match[3] or possible.stop - 1)
    if blocks not in possible:
        raise UsageError(f"--backbone {name}: the trunk can end after blocks {possible.start} to {possible.stop - 1}")
    return Backbone(int(match[1]), float(match[2]), blocks)


class Head(NamedTuple):
    """stride: input pixels per output cell (4, 8 or 16). width: channels between trunk and outputs.
    edge_tpu: upsample in operations that a Coral runs itself, to the same numbers."""

    keypoints: int
    stride: int
    width: int
    edge_tpu: bool = False


def build(backbone: Backbone, head: Head, size_wh: tuple[int, int], weights: str) -> keras.Model:
    """Input float (N, H, W, 3) in -1..1, sides multiples of 16; outputs {"heatmap": (N, h, w, K) logits,
    "offset": (N, h, w, 2K)}. The weights are the same for every size.

    weights: "imagenet" (downloads), "none", a `.h5` file, a folder of such files, or "given", for weights that are
    set later. With pretrained weights the trunk's batch norm and first blocks are frozen.
    """
    trunk = _trunk(backbone, size_wh, weights)
    _prepare(trunk, backbone, pretrained=weights != "none")
    taps = backbone.taps()
    x = _conv(trunk.get_layer(taps[16]).output, head.width, "head_16")
    for at in (8, 4)[: {16: 0, 8: 1, 4: 2}[head.stride]]:
        x = upsample_2x(x) if head.edge_tpu else layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = layers.Add()([x, _conv(trunk.get_layer(taps[at]).output, head.width, f"head_{at}")])
        depthwise = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"head_{at}_depthwise")
        x = _norm(depthwise(x), f"head_{at}_depthwise")
        x = _conv(x, head.width, f"head_{at}_mixed")
    # The prior of a heatmap cell is low: starting the bias there spares the first hundred steps.
    heatmap = layers.Conv2D(head.keypoints, 1, name="heatmap_conv", bias_initializer=keras.initializers.Constant(-3.0))(
        x
    )
    offset = layers.Conv2D(2 * head.keypoints, 1, name="offset_conv")(x)
    return keras.Model(trunk.input, {"heatmap": heatmap, "offset": offset})


def copy_weights(source: keras.Model, target: keras.Model) -> int:
    """Into every layer of `target` that has one of its name and shape in `source`; returns how many it left as they
    were. Layers are named alike whatever the keypoints are."""
    theirs = {layer.name: layer.get_weights() for layer in source.layers}
    left = 0
    for layer in target.layers:
        ours, found = layer.get_weights(), theirs.get(layer.name, [])
        if [w.shape for w in ours] == [w.shape for w in found]:
            layer.set_weights(found)
        else:
            left += 1
    return left


def _conv(x: Any, width: int, name: str) -> Any:
    return _norm(layers.Conv2D(width, 1, use_bias=False, name=name)(x), name)


def _norm(x: Any, name: str) -> Any:
    return layers.ReLU(6.0)(layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_bn")(x))


def _trunk(backbone: Backbone, size_wh: tuple[int, int], weights: str) -> keras.Model:
    make = keras.applications.MobileNet if backbone.version == 1 else keras.applications.MobileNetV2
    shape = (size_wh[1], size_wh[0], 3)
    if weights in {"none", "given"}:
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


def _version_and_alpha(file_name: str) -> tuple[int, float] | None:
    for pattern in _FILE_NAMES:
        if match := re.match(pattern, file_name):
            found = match.groupdict()
            if "alpha_x10" in found:
                return 1, _KERAS_ALPHAS.get(found["alpha_x10"], 0.0)
            return int(found["version"]), float(found["alpha"])
    return None


def _weights_file(path: Path, backbone: Backbone) -> Path:
    """The file itself, or the one of a folder whose name fits the backbone."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"--weights {path}: no such file or folder; or give imagenet, or none")
    files = sorted(path.glob("*.h5"))
    for file in files:
        if _version_and_alpha(file.name) == backbone[:2]:
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
