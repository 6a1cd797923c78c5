"""Estimates how long a network takes on each board, and chooses the network to train for one.

This project has measured nothing on a Raspberry Pi. The rates below are fitted to published times of int8 MobileNets,
so an estimate is valid for a board that uses all its cores, is cool and does nothing else. The camera, heat and other
programs take additional time; `NETWORK_SHARE` leaves room for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from edgepose.errors import UsageError
from edgepose_train.network.backbone import Backbone, Head
from edgepose_train.network.network_cost import NetworkCost, network_cost
from edgepose_train.network.recipes import scaled_size


@dataclass(frozen=True, slots=True)
class TargetBoard:
    """A board, and the rates that estimate how long a network takes on it.

    Attributes:
        name: the name that `--target` takes.
        fps: the frame rate that `--target` aims at unless `--fps` gives another one.
        mac_ms: milliseconds per million multiply-accumulates.
        written_ms: milliseconds per million numbers written.
        fixed_ms: milliseconds per frame that do not depend on the network.
        basis: where the rates come from, for the reader of a report.
    """

    name: str
    fps: float
    mac_ms: float
    written_ms: float
    fixed_ms: float
    basis: str

    def estimate_ms(self, cost: NetworkCost) -> float:
        """Estimates how many milliseconds the network alone takes for one frame."""
        return self.fixed_ms + self.mac_ms * cost.macs / 1e6 + self.written_ms * cost.written / 1e6


# Milliseconds per million multiply-accumulates and per million numbers written, each pair from two published times
# (google/XNNPACK README, int8 at 224x224, all cores): MobileNetV1 1.0, which is 569 million multiply-accumulates and
# 5.2 million numbers written, and MobileNetV2 1.0, which is 301 and 7.0 million.
_PI_3_MAC_MS, _PI_3_WRITTEN_MS = 0.0687, 1.329  # 46 and 30 ms on a Pi 3B+
_PI_4_MAC_MS, _PI_4_WRITTEN_MS = 0.0331, 0.999  # 24 and 17 ms on a Pi 4, 64-bit
_ZERO_2W_CLOCK = 1.4  # a Zero 2 W has the cores of a Pi 3B+, at 1.0 instead of 1.4 GHz
_PI_5_GAIN = 4.0 / 17  # MobileNetV2 1.0 int8 takes 4.0 ms on a Pi 5 (learn.arm.com, ExecuTorch with XNNPACK)

TARGET_BOARDS = {
    board.name: board
    for board in (
        TargetBoard(
            "pi-zero-2w",
            10,
            _PI_3_MAC_MS * _ZERO_2W_CLOCK,
            _PI_3_WRITTEN_MS * _ZERO_2W_CLOCK,
            0,
            "as a Pi 3B+, by its clock",
        ),
        TargetBoard("pi-3", 15, _PI_3_MAC_MS, _PI_3_WRITTEN_MS, 0, "published times, Pi 3B+"),
        TargetBoard("pi-4", 30, _PI_4_MAC_MS, _PI_4_WRITTEN_MS, 0, "published times, 64-bit"),
        TargetBoard(
            "pi-5", 30, _PI_4_MAC_MS * _PI_5_GAIN, _PI_4_WRITTEN_MS * _PI_5_GAIN, 0, "as a Pi 4, by one published time"
        ),
        # PoseNet (MobileNetV1 0.75 at stride 16) takes 5.8, 10.3 and 32.4 ms at 353x481, 481x641 and 721x1281
        # (coral.ai). That is 3.8 ms per billion multiply-accumulates. Over USB 3 a Pi 4 takes 3 ms more, because
        # MobileNetV2 takes 4.5 ms there.
        TargetBoard("coral", 30, 0.0038, 0, 3.0, "published times, on USB 3"),
        # Measured on one core by benchmarks/board_speed.py.
        TargetBoard("desktop", 30, 0.0047, 0.36, 0, "an x86 core with AVX-512 VNNI"),
    )
}

NETWORK_SHARE = 0.6  # the part of the time between two frames that the network may take


@dataclass(frozen=True, slots=True)
class CandidateNetwork:
    """A network that `--target` may choose.

    Attributes:
        backbone: the trunk.
        width: channels of the head.
        stride: model pixels per heatmap cell.
        relative_error: its px error, divided by that of MobileNetV2 1.0 at the same input. It was measured on
            DeepLabCut's open field with five splits of the frames. Each network was trained as `recipe_for` says, at
            another input (EXPERIMENTS.md), and `ERROR_EXPONENT` converted its error to one common input.
    """

    backbone: Backbone
    width: int
    stride: int
    relative_error: float

    def cost(self, input_wh: tuple[int, int], keypoints: int) -> NetworkCost:
        """Returns what one frame costs at this size of the input."""
        return network_cost(self.backbone, Head(keypoints, self.stride, self.width), input_wh)


CANDIDATES = (
    CandidateNetwork(Backbone(2, 1.0, 13), 64, 8, 1.0),
    CandidateNetwork(Backbone(1, 0.5, 7), 32, 8, 1.05),
    CandidateNetwork(Backbone(1, 0.25, 8), 24, 8, 1.2),
)

# Model pixels that the animal's longer side may span. Above the upper bound, the scatter of the labels (a fortieth of
# the animal) is larger than a pixel, so a finer input shows nothing else. Below the lower bound, an eye or an ear is
# smaller than one cell of a stride of 8.
ANIMAL_PX = (60.0, 120.0)
# The error, in lengths of the animal, falls with this power of the pixels that the animal spans. Measured: 0.33 from 90
# to 112 pixels with MobileNetV2 1.0 (same data, five splits), and 0.4 to 0.7 from 48 to 112 pixels in earlier single
# runs.
ERROR_EXPONENT = 0.45
LONGEST_SIDE = 640


@dataclass(frozen=True, slots=True)
class InputSizeChoice:
    """The network and the input size that `--target` has chosen.

    Attributes:
        network: the network.
        input_wh: width and height of the model's input.
        animal_px: model pixels that the animal's longer side spans.
        estimate_ms: estimated milliseconds of the network per frame on the board.
    """

    network: CandidateNetwork
    input_wh: tuple[int, int]
    animal_px: float
    estimate_ms: float


def input_size(frame_wh: tuple[int, int], animal_px: float, span_px: float = ANIMAL_PX[1]) -> tuple[int, int]:
    """Returns the (w, h) of a model input of the frame's shape in which the animal spans `span_px`.

    The animal spans fewer where the frame has fewer (frames are never enlarged) or where a side would be longer than
    `LONGEST_SIDE`. Sides are multiples of 16.

    Args:
        frame_wh: width and height of the frames.
        animal_px: frame pixels that the animal's longer side spans.
        span_px: model pixels that it should span.
    """
    return scaled_size(frame_wh, min(1.0, span_px / animal_px, LONGEST_SIDE / max(frame_wh)))


def choose_network(
    board: TargetBoard, fps: float, frame_wh: tuple[int, int], animal_px: float, keypoints: int
) -> InputSizeChoice:
    """Returns the network with the smallest expected error that takes at most `NETWORK_SHARE` / fps on the board.

    Args:
        board: the board.
        fps: the wanted frame rate.
        frame_wh: width and height of the labelled frames.
        animal_px: the longer side of the box round a frame's labels, median over frames, in frame pixels. It is NaN
            where no frame has two labels; then the animal is assumed to fill half of the frame.
        keypoints: the number of keypoints.

    Raises:
        UsageError: no network is fast enough.
    """
    animal_px = max(frame_wh) / 2 if math.isnan(animal_px) else animal_px
    budget_ms = 1000 * NETWORK_SHARE / fps
    choices = list(_choices(board, frame_wh, animal_px, keypoints))
    fitting = [(error, choice) for error, choice in choices if choice.estimate_ms <= budget_ms]
    if not fitting:
        fastest = min(choice.estimate_ms for _, choice in choices)
        raise UsageError(
            f"--target {board.name}: no network reaches {fps:g} fps there; the fastest takes about {fastest:.0f} ms, "
            f"so give --fps {math.floor(10_000 * NETWORK_SHARE / fastest) / 10:g} or less"
        )
    return min(fitting, key=lambda pair: (pair[0], pair[1].estimate_ms))[1]


def _choices(
    board: TargetBoard, frame_wh: tuple[int, int], animal_px: float, keypoints: int
) -> Iterator[tuple[float, InputSizeChoice]]:
    """Yields every candidate at every input size that comes into question, with its expected error."""
    sizes = {input_size(frame_wh, animal_px, span) for span in range(round(ANIMAL_PX[0]), round(ANIMAL_PX[1]) + 1)}
    for input_wh in sizes:
        spanned = animal_px * min(side / of for side, of in zip(input_wh, frame_wh, strict=True))
        for candidate in CANDIDATES:
            estimate_ms = board.estimate_ms(candidate.cost(input_wh, keypoints))
            choice = InputSizeChoice(candidate, input_wh, round(spanned, 1), estimate_ms)
            yield candidate.relative_error * spanned**-ERROR_EXPONENT, choice
