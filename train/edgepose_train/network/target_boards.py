"""Boards: how long a model takes there, and which model to train for one.

Nothing was measured on a Raspberry Pi by this project. The rates below are fitted to published times of int8
MobileNets, so a board's estimate is that of all its cores, idle and cool; the camera, the heat and whatever else runs
come on top. `SHARE` leaves room for them.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from edgepose.errors import UsageError
from edgepose.inference.runtime import open_runtime
from edgepose_train.export.edgetpu import audit
from edgepose_train.export.tflite_graph import read_graph
from edgepose_train.network.network_cost import Cost, network_cost
from edgepose_train.network.recipes import scaled_size


@dataclass(frozen=True, slots=True)
class Target:
    """ms = fixed_ms + mac_ms x million multiply-accumulates + written_ms x million numbers written.

    fps: what `--target` aims at unless another rate is stated. basis: where the rates come from.
    """

    name: str
    fps: float
    mac_ms: float
    written_ms: float
    fixed_ms: float
    basis: str

    def estimate_ms(self, cost: Cost) -> float:
        """One frame through the network, by itself."""
        return self.fixed_ms + self.mac_ms * cost.macs / 1e6 + self.written_ms * cost.written / 1e6


# Two rates from two published times each (google/XNNPACK README, int8 at 224x224, all cores): MobileNetV1 1.0, which is
# 569 million multiply-accumulates and 5.2 million numbers written, and MobileNetV2 1.0, which is 301 and 7.0.
_XNNPACK_PI_3B_PLUS = (0.0687, 1.329)  # 46 and 30 ms
_XNNPACK_PI_4 = (0.0331, 0.999)  # 24 and 17 ms, 64-bit
_ZERO_2W_CLOCK = 1.4  # the cores of a Pi 3B+, at 1.0 instead of 1.4 GHz
_PI_5_GAIN = 4.0 / 17  # MobileNetV2 1.0 int8 takes 4.0 ms on a Pi 5 (learn.arm.com, ExecuTorch with XNNPACK)

TARGETS = {
    target.name: target
    for target in (
        Target(
            "pi-zero-2w", 10, *(rate * _ZERO_2W_CLOCK for rate in _XNNPACK_PI_3B_PLUS), 0, "as a Pi 3B+, by its clock"
        ),
        Target("pi-3", 15, *_XNNPACK_PI_3B_PLUS, 0, "published times, Pi 3B+"),
        Target("pi-4", 30, *_XNNPACK_PI_4, 0, "published times, 64-bit"),
        Target("pi-5", 30, *(rate * _PI_5_GAIN for rate in _XNNPACK_PI_4), 0, "as a Pi 4, by one published time"),
        # PoseNet, MobileNetV1 0.75 at stride 16, takes 5.8, 10.3 and 32.4 ms at 353x481, 481x641 and 721x1281
        # (coral.ai), which is 3.8 ms a billion; over USB 3 a Pi 4 takes 3 ms more (MobileNetV2 in 4.5 ms).
        Target("coral", 30, 0.0038, 0, 3.0, "published times, on USB 3"),
        # One core, AVX-512 VNNI: benchmarks/board_speed.py.
        Target("desktop", 30, 0.0047, 0.36, 0, "an x86 core with AVX-512 VNNI"),
    )
}

SHARE = 0.6  # of the time between two frames that the network may take


_ALL_BLOCKS = {1: 11, 2: 13}  # of MobileNet v1 and v2, up to stride 16


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network worth training. backbone: version, alpha and blocks, as `network.Backbone`. error: its px error against
    that of MobileNetV2 1.0 at the same input: DeepLabCut's open field, five splits of the frames, each trained as
    `recipe_for` says at another input (EXPERIMENTS.md) and brought to one by `ERROR_EXPONENT`."""

    backbone: tuple[int, float, int]
    width: int
    stride: int
    error: float

    @property
    def name(self) -> str:
        """As `--backbone` takes it."""
        version, alpha, blocks = self.backbone
        return f"mobilenet_v{version}_{alpha:g}" + (f":{blocks}" if blocks != _ALL_BLOCKS[version] else "")

    def cost(self, input_wh: tuple[int, int], keypoints: int) -> Cost:
        return network_cost(self.backbone, (keypoints, self.stride, self.width), input_wh)


CANDIDATES = (
    Candidate((2, 1.0, 13), 64, 8, 1.0),
    Candidate((1, 0.5, 7), 32, 8, 1.05),
    Candidate((1, 0.25, 8), 24, 8, 1.2),
)

# Model pixels that the animal's long side may span. Above the upper bound the labels' own scatter, a fortieth of the
# animal, is larger than a pixel and finer input shows only that; below the lower one an eye or an ear is less than
# one cell of a stride of 8.
ANIMAL_PX = (60.0, 120.0)
# The error, in the animal's lengths, falls with this power of the pixels that it spans: 0.33 from 90 to 112 pixels with
# MobileNetV2 1.0 (same data, five splits); 0.4 to 0.7 from 48 to 112 in earlier, single runs.
ERROR_EXPONENT = 0.45
LONGEST_SIDE = 640


@dataclass(frozen=True, slots=True)
class InputSizeChoice:
    """What `--target` chose. animal_px: model pixels that the animal spans. estimate_ms: of the network, there."""

    backbone: str
    input_wh: tuple[int, int]
    stride: int
    width: int
    animal_px: float
    estimate_ms: float


def input_size(frame_wh: tuple[int, int], animal_px: float, span_px: float = ANIMAL_PX[1]) -> tuple[int, int]:
    """Model input of the frame's shape in which an animal of `animal_px` frame pixels spans `span_px`, or as many as
    there are: frames are never enlarged, and no side is longer than `LONGEST_SIDE`. Sides are multiples of 16."""
    return scaled_size(frame_wh, min(1.0, span_px / animal_px, LONGEST_SIDE / max(frame_wh)))


def choose(target: Target, fps: float, frame_wh: tuple[int, int], animal_px: float, keypoints: int) -> InputSizeChoice:
    """The network with the smallest expected error whose estimate fits `SHARE` of 1/fps on the board.

    frame_wh, animal_px: of the labelled frames; animal_px is the long side of the box round the labels, the median
    over frames, NaN where no frame has two labels: then the animal is taken for half a frame. Raises UsageError when
    none is fast enough.
    """
    animal_px = max(frame_wh) / 2 if math.isnan(animal_px) else animal_px
    budget_ms = 1000 * SHARE / fps
    choices = list(_choices(target, frame_wh, animal_px, keypoints))
    fitting = [(error, choice) for error, choice in choices if choice.estimate_ms <= budget_ms]
    if not fitting:
        fastest = min(choice.estimate_ms for _, choice in choices)
        raise UsageError(
            f"--target {target.name}: no network fits {fps:g} fps there; the fastest takes about {fastest:.0f} ms, so "
            f"give --fps {math.floor(10_000 * SHARE / fastest) / 10:g} or less"
        )
    return min(fitting, key=lambda found: (found[0], found[1].estimate_ms))[1]


def _choices(
    target: Target, frame_wh: tuple[int, int], animal_px: float, keypoints: int
) -> Iterable[tuple[float, InputSizeChoice]]:
    """Every candidate at every input size worth trying, with its expected error."""
    sizes = {input_size(frame_wh, animal_px, span) for span in range(round(ANIMAL_PX[0]), round(ANIMAL_PX[1]) + 1)}
    for input_wh in sizes:
        spanned = animal_px * min(side / of for side, of in zip(input_wh, frame_wh, strict=True))
        for candidate in CANDIDATES:
            estimate_ms = target.estimate_ms(candidate.cost(input_wh, keypoints))
            choice = InputSizeChoice(
                candidate.name, input_wh, candidate.stride, candidate.width, round(spanned, 1), estimate_ms
            )
            yield candidate.error * spanned**-ERROR_EXPONENT, choice


@dataclass(frozen=True, slots=True)
class BoardSpeed:
    """ms: estimate for one frame, None where the board cannot run all of the model. basis: what it rests on."""

    board: str
    ms: float | None
    basis: str


@dataclass(frozen=True, slots=True)
class Speed:
    """What a model costs. here_ms: median on this machine, one thread, measured. here: with which runtime."""

    macs: int
    parameter_bytes: int
    here_ms: float
    here: str
    boards: tuple[BoardSpeed, ...]


def speed(model: bytes, where: str) -> Speed:
    """Measures a `.tflite` on this machine and estimates it on every board. Raises ModelError when it does not run."""
    graph = read_graph(model, where)
    runtime = open_runtime(model, 1, where)
    cost = Cost(graph.macs, sum(tensor.size for op in graph.ops for tensor in op.outputs))
    refusals = audit(graph).refusals
    boards = []
    for target in TARGETS.values():
        if target.name == "coral" and refusals:
            boards.append(BoardSpeed(target.name, None, "needs a fit with --target coral"))
        else:
            boards.append(BoardSpeed(target.name, target.estimate_ms(cost), target.basis))
    return Speed(graph.macs, graph.parameter_bytes, _measure_ms(runtime.interpreter), runtime.describe(), tuple(boards))


def _measure_ms(interpreter: Any) -> float:
    """Median of twenty after three to warm up."""
    times = []
    for _ in range(23):
        start = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[3:])


def speed_table(found: Speed) -> Table:
    """For the terminal: a frame's time in the network, and the frame rate that leaves room for all the rest."""
    table = Table(
        box=None,
        padding=(0, 2),
        pad_edge=False,
        caption="~ estimate, from published times of other networks; nothing was measured on these boards",
        caption_justify="left",
    )
    table.add_column("board", no_wrap=True)
    table.add_column("ms a frame", justify="right")
    table.add_column("good for", justify="right")
    table.add_column(style="dim")
    here = BoardSpeed("this machine", found.here_ms, "measured, one thread")
    for row in (here, *found.boards):
        about = "" if row is here else "~"
        ms = "-" if row.ms is None else f"{about}{row.ms:.1f}"
        fps = "-" if row.ms is None else f"{about}{1000 * SHARE / row.ms:.0f} fps"
        table.add_row(row.board, ms, fps, row.basis)
    return table
