"""Computes what a network costs from its description, as `network.build` builds it."""

from __future__ import annotations

from dataclasses import dataclass

from edgepose_train.network.backbone import Backbone, Head

# The blocks of each MobileNet up to stride 16: channels at alpha 1, and stride.
_V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), *[(512, 2)], *[(512, 1)] * 5)
_V2_BLOCKS = (*[(24, 2), (24, 1)], *[(32, 2)], *[(32, 1)] * 2, *[(64, 2)], *[(64, 1)] * 3, *[(96, 1)] * 3)
_V2_EXPANSION = 6


@dataclass(slots=True)
class NetworkCost:
    """The cost of one frame.

    Attributes:
        macs: multiply-accumulate operations.
        written: numbers that the operations write; each of them passes through memory.
    """

    macs: int = 0
    written: int = 0

    def add(self, cells: int, channels: int, macs_each: int = 0) -> int:
        """Adds an operation that writes `cells` x `channels` numbers for `macs_each` each; returns the channels."""
        self.macs += cells * channels * macs_each
        self.written += cells * channels
        return channels


def network_cost(backbone: Backbone, head: Head, input_wh: tuple[int, int]) -> NetworkCost:
    """Returns the cost of the int8 file; `input_wh` is the size of the input, multiples of 16."""
    pixels = input_wh[0] * input_wh[1]
    cost = NetworkCost()
    cost.add(pixels, 3)  # the conversion from uint8 to int8
    taps = (_v1 if backbone.version == 1 else _v2)(cost, backbone.alpha, backbone.blocks, pixels)
    width = head.width
    cost.add(pixels // 256, width, taps[16])
    for at in (8, 4):
        if at < head.stride:
            break
        cells = pixels // at**2
        cost.add(cells, width)  # the upsampling
        cost.add(cells, width, taps[at])
        cost.add(cells, width)  # the sum
        cost.add(cells, width, 9)
        cost.add(cells, width, width)
    cost.add(pixels // head.stride**2, 3 * head.keypoints, width)
    return cost


def _v1(cost: NetworkCost, alpha: float, blocks: int, pixels: int) -> dict[int, int]:
    """Adds the trunk; returns the channels of the layer that the head takes at each stride."""
    cells = pixels // 4
    channels = cost.add(cells, int(32 * alpha), 27)
    taps = {}
    for out, stride in _V1_BLOCKS[:blocks]:
        cells //= stride**2
        cost.add(cells, channels, 9)
        channels = cost.add(cells, int(out * alpha), channels)
        taps[round((pixels / cells) ** 0.5)] = channels
    return taps


def _v2(cost: NetworkCost, alpha: float, blocks: int, pixels: int) -> dict[int, int]:
    """Does the same as `_v1`. The head takes the expansions before the stride changes."""
    cells = pixels // 4
    channels = cost.add(cells, _of_eight(32 * alpha), 27)
    cost.add(cells, channels, 9)
    channels = cost.add(cells, _of_eight(int(16 * alpha)), channels)
    taps = {}
    for base, stride in _V2_BLOCKS[: blocks - 1]:  # of the last block only the expansion is used
        out = _of_eight(int(base * alpha))
        wide = cost.add(cells, _V2_EXPANSION * channels, channels)
        if stride == 2:
            taps[round((pixels / cells) ** 0.5)] = wide
        cells //= stride**2
        cost.add(cells, wide, 9)
        cost.add(cells, out, wide)
        if stride == 1 and channels == out:
            cost.add(cells, out)  # the residual connection
        channels = out
    taps[16] = cost.add(cells, _V2_EXPANSION * channels, channels)
    return taps


def _of_eight(channels: float) -> int:
    """Rounds to a multiple of 8 as MobileNetV2 does, to a value at most a tenth below `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
