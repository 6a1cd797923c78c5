"""Bilinear upsampling by two, in operations that the Edge TPU runs at every size.

The coordinate rule asks for half-pixel centres. The Edge TPU's list of operations does not promise to map TFLite's
RESIZE_BILINEAR with half-pixel centres ("might not be mapped ... to avoid loss in precision"), and the compilers up to
version 15 refuse it. A transposed convolution with a fixed kernel gives the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers
from numpy.typing import NDArray

# With half-pixel centres, each output pixel lies at 1/4 or 3/4 of the way between two input pixels.
_TAPS = np.array([1, 3, 3, 1], np.float32) / 4


def upsample_2x(x: Any) -> Any:
    """Enlarges a Keras tensor (N, h, w, C), whose h, w and C are known, to (N, 2h, 2w, C).

    The result equals `UpSampling2D(2, interpolation="bilinear")`: pixel i of the input is centred on pixel 2i + 1/2 of
    the output. Bilinear resizing repeats the border, where the convolution sees zeros. So the outermost rows and
    columns of the convolution have 3/4 of their value, and the last multiplication corrects that. The kernel is a
    weight that is not trained.
    """
    _, h, w, channels = x.shape
    enlarged = layers.Conv2DTranspose(
        channels, 4, strides=2, padding="same", use_bias=False, kernel_initializer=_kernel, trainable=False
    )(x)
    return enlarged * np.outer(_border_gain(h), _border_gain(w))[None, :, :, None]


def _kernel(shape: tuple[int, ...], dtype: Any = None) -> NDArray[np.float32]:
    """Returns a kernel of `shape` (4, 4, C, C) that enlarges each channel by itself."""
    kernel = np.zeros(shape, dtype or np.float32)
    channel = np.arange(shape[2])
    kernel[:, :, channel, channel] = np.outer(_TAPS, _TAPS)[..., None]
    return kernel


def _border_gain(cells: int) -> NDArray[np.float32]:
    gain = np.ones(2 * cells, np.float32)
    gain[[0, -1]] = 4 / 3
    return gain
