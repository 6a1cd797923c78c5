"""Bilinear upsampling by two, in operations that an Edge TPU maps whatever the size.

TFLite's RESIZE_BILINEAR with half-pixel centres, which the coordinate rule asks for, is what the Edge TPU's list
reserves ("might not be mapped ... to avoid loss in precision") and what its compilers up to 15 refuse. The same
numbers come from a transposed convolution with a fixed kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers
from numpy.typing import NDArray

# Between two cells at 3/4 and 1/4 of the way: what half-pixel centres give when the size doubles.
_TAPS = np.array([1, 3, 3, 1], np.float32) / 4


def upsample_2x(x: Any) -> Any:
    """Keras tensor (N, h, w, C), all but N known, to (N, 2h, 2w, C). Adds one weight, the kernel, which is not trained.

    The output is that of `UpSampling2D(2, interpolation="bilinear")`: pixel i of the input is centred on pixel
    2i + 1/2 of the output. Bilinear resizing repeats the border where the convolution sees zeros, so its outermost
    rows and columns get 3/4 of their value, which the last multiplication gives back.
    """
    _, h, w, channels = x.shape
    enlarged = layers.Conv2DTranspose(
        channels, 4, strides=2, padding="same", use_bias=False, kernel_initializer=_kernel, trainable=False
    )(x)
    return enlarged * np.outer(_border_gain(h), _border_gain(w))[None, :, :, None]


def _kernel(shape: tuple[int, ...], dtype: Any = None) -> NDArray[np.float32]:
    """(4, 4, C, C): each channel by itself."""
    kernel = np.zeros(shape, dtype or np.float32)
    channel = np.arange(shape[2])
    kernel[:, :, channel, channel] = np.outer(_TAPS, _TAPS)[..., None]
    return kernel


def _border_gain(cells: int) -> NDArray[np.float32]:
    gain = np.ones(2 * cells, np.float32)
    gain[[0, -1]] = 4 / 3
    return gain
