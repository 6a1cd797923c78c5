"""Describes a network by its trunk and head, for names and costs; this needs no TensorFlow."""

from __future__ import annotations

import re
from typing import NamedTuple

from edgepose.errors import UsageError

# The blocks of each MobileNet whose output has stride 16.
_BLOCKS = {1: range(6, 12), 2: range(7, 14)}


class Backbone(NamedTuple):
    """A MobileNet trunk.

    Attributes:
        version: 1 or 2, for MobileNetV1 or MobileNetV2.
        alpha: the width multiplier of the channels.
        blocks: the block after which the trunk ends. Fewer blocks at stride 16 leave time for a larger input.
    """

    version: int
    alpha: float
    blocks: int

    def __str__(self) -> str:
        shorter = f":{self.blocks}" if self.blocks != _BLOCKS[self.version].stop - 1 else ""
        return f"{self.trunk}{shorter}"

    @property
    def trunk(self) -> str:
        """Returns the name of the whole MobileNet, which decides the weights that fit."""
        return f"mobilenet_v{self.version}_{self.alpha:g}"

    def describe(self) -> str:
        """Returns the name in words, for a report."""
        shorter = f", without the blocks after {self.blocks}" if ":" in str(self) else ""
        return f"MobileNetV{self.version} with {100 * self.alpha:g} % of the channels{shorter}"

    def taps(self) -> dict[int, str]:
        """Returns the name of the layer that the head takes at each stride."""
        if self.version == 1:
            return {4: "conv_pw_3_relu", 8: "conv_pw_5_relu", 16: f"conv_pw_{self.blocks}_relu"}
        return {4: "block_3_expand_relu", 8: "block_6_expand_relu", 16: f"block_{self.blocks}_expand_relu"}


class Head(NamedTuple):
    """The layers between trunk and outputs.

    Attributes:
        keypoints: the number K of keypoints.
        stride: input pixels per output cell: 4, 8 or 16.
        width: channels between trunk and outputs.
        edge_tpu: upsample with operations that the Edge TPU runs itself; the numbers are the same.
    """

    keypoints: int
    stride: int
    width: int
    edge_tpu: bool = False


def parse_backbone(name: str) -> Backbone:
    """Reads the name of a backbone: `mobilenet_v2_0.5`, `MobileNetV2-0.5` or `v2_0.5`.

    A number after a colon (`v2_0.5:8`) says after which block the trunk ends.

    Raises:
        UsageError: the name is not that of a MobileNet, or the trunk cannot end there.
    """
    match = re.fullmatch(r"(?:mobilenet)?[_-]?v?([12])[_-]?(\d(?:\.\d+)?)(?::(\d+))?", name.lower())
    if not match or not 0.05 <= float(match[2]) <= 2:
        raise UsageError(f"--backbone {name}: not a MobileNet; give mobilenet_v1_ALPHA or mobilenet_v2_ALPHA")
    possible = _BLOCKS[int(match[1])]
    blocks = int(match[3] or possible.stop - 1)
    if blocks not in possible:
        raise UsageError(f"--backbone {name}: the trunk can end after blocks {possible.start} to {possible.stop - 1}")
    return Backbone(int(match[1]), float(match[2]), blocks)
