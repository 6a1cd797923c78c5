"""Builds the network: a MobileNet trunk that ends at stride 16, and a slim upsampling head with two outputs.

`heatmap` (logits) and `offset` stay separate tensors to the end, because an int8 tensor has only one scale. The trunk
(Howard et al. 2017, Sandler et al. 2018) ends where it still has stride 16: its last stage (stride 32, and the
1280-channel convolution of MobileNetV2) costs more than the rest of a small model and is too coarse to place a
keypoint.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import keras
from keras import layers

from edgepose.errors import EdgeposeError, UsageError
from edgepose.system.progress import progress_bar
from edgepose_train.network.backbone import Backbone, Head
from edgepose_train.network.upsampling import upsample_2x

# Keras' MobileNetV2 uses 0.999, which leaves the moving statistics useless after a few hundred steps.
BATCH_NORM_MOMENTUM = 0.9
# The last layer of the first blocks. These blocks find edges and colours, which they have learnt well from ImageNet,
# and they cost most of a training step. So their weights stay fixed.
_LAST_FROZEN = {1: "conv_pw_2_relu", 2: "block_2_add"}


def build(backbone: Backbone, head: Head, size_wh: tuple[int, int], weights: str) -> keras.Model:
    """Builds the network for one input size; its weights fit every other size too.

    The input is float (N, H, W, 3) in -1..1, with sides that are multiples of 16. The outputs are
    {"heatmap": (N, h, w, K) logits, "offset": (N, h, w, 2K)} with h = H / stride, w = W / stride.

    Args:
        backbone: the trunk.
        head: the head.
        size_wh: width and height of the input.
        weights: the trunk's first weights: "imagenet" (downloads them), "none", a `.h5` file, a folder of such files,
            or "given" for weights that the caller sets later. Unless it is "none", the trunk's batch normalisation and
            first blocks are frozen.

    Raises:
        EdgeposeError: the weights cannot be downloaded, or do not fit the backbone.
        UsageError: there are no such weights.
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
    # Few cells of a heatmap are near a keypoint. A bias that says so from the start saves the first hundred steps.
    prior = keras.initializers.Constant(-3.0)
    heatmap = layers.Conv2D(head.keypoints, 1, name="heatmap_conv", bias_initializer=prior)(x)
    offset = layers.Conv2D(2 * head.keypoints, 1, name="offset_conv")(x)
    return keras.Model(trunk.input, {"heatmap": heatmap, "offset": offset})


def copy_weights(source: keras.Model, target: keras.Model) -> int:
    """Copies the weights of every layer of `source` into the layer of `target` with the same name and shapes.

    A layer has the same name whatever the keypoints are. Returns how many layers of `target` were not changed.
    """
    by_name = {layer.name: layer.get_weights() for layer in source.layers}
    unchanged = 0
    for layer in target.layers:
        weights = by_name.get(layer.name, [])
        if [w.shape for w in layer.get_weights()] == [w.shape for w in weights]:
            layer.set_weights(weights)
        else:
            unchanged += 1
    return unchanged


def to_input(pixels: Any) -> Any:
    """Normalises uint8 pixels, an array or tensor of any shape, to the float -1..1 that the network takes."""
    return keras.ops.cast(pixels, "float32") / 127.5 - 1.0


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
        return _imagenet(make, backbone, shape)
    path = _weights_file(Path(weights), backbone)
    model = make(input_shape=shape, alpha=backbone.alpha, include_top=False, weights=None)
    try:
        model.load_weights(path)
    except Exception as exc:
        raise EdgeposeError(
            f"{path}: not weights of {backbone.trunk} without top ({str(exc).splitlines()[0]})"
        ) from None
    return model


def _imagenet(make: Any, backbone: Backbone, shape: tuple[int, int, int]) -> keras.Model:
    """Keras downloads the weights when it needs them for the first time."""
    keras.config.disable_interactive_logging()  # it would print the URL and a bar of its own
    try:
        with warnings.catch_warnings(), progress_bar() as bar:
            warnings.simplefilter("ignore")  # Keras warns that the weights come from another size; they fit every size
            bar.add_task("loading the ImageNet weights", total=None)
            return make(input_shape=shape, alpha=backbone.alpha, include_top=False, weights="imagenet")
    # Keras raises a bare Exception where urllib fails, and ValueError where such weights do not exist.
    except Exception as exc:
        text = str(exc)
        url = re.search(r"https://\S+\.h5", text)
        why = str(getattr(exc.__context__, "reason", "")) or (text.splitlines() or [repr(exc)])[0]
        copy = f"{url[0]} on another computer and give it with --weights FILE" if url else "them"
        raise EdgeposeError(
            f"cannot download the ImageNet weights of {backbone.trunk} ({why}); download {copy}, "
            "or give --weights none to train from scratch"
        ) from None


# Our own form (version, alpha, and the size that it was trained at), then the two forms of the files that Keras
# downloads.
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
    """Returns `path` if it is a file, or the file in this folder whose name fits the backbone."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"--weights {path}: no such file or folder; or give imagenet, or none")
    files = sorted(path.glob("*.h5"))
    for file in files:
        if _version_and_alpha(file.name) == backbone[:2]:
            return file
    raise UsageError(
        f"--weights {path}: no weights of {backbone.trunk} there "
        f"(found: {', '.join(f.name for f in files) or 'no .h5 file'})"
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
