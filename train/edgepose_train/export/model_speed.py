"""Measures how fast a `.tflite` file is on this machine, and estimates it for every board."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from edgepose.inference.runtime import open_runtime
from edgepose_train.export.edgetpu import audit_graph
from edgepose_train.export.tflite_graph import read_graph
from edgepose_train.network.network_cost import NetworkCost
from edgepose_train.network.target_boards import NETWORK_SHARE, TARGET_BOARDS


@dataclass(frozen=True, slots=True)
class BoardSpeed:
    """The estimate for one board.

    Attributes:
        board: the board's name.
        ms: milliseconds per frame, None where the board cannot run all of the model.
        basis: what the estimate rests on.
    """

    board: str
    ms: float | None
    basis: str


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """The costs of a model.

    Attributes:
        macs: multiply-accumulates per frame.
        parameter_bytes: bytes of all weights.
        here_ms: median milliseconds per frame on this machine with one thread, measured.
        runtime: the runtime that was measured.
        boards: the estimates for all boards.
    """

    macs: int
    parameter_bytes: int
    here_ms: float
    runtime: str
    boards: tuple[BoardSpeed, ...]


def measure_speed(model: bytes, where: str) -> ModelSpeed:
    """Measures a `.tflite` file on this machine and estimates its time on every board.

    `where` is the file's name, for errors. Raises ModelError when the file does not run.
    """
    graph = read_graph(model, where)
    runtime = open_runtime(model, 1, where)
    cost = NetworkCost(graph.macs, sum(tensor.size for op in graph.ops for tensor in op.outputs))
    refusals = audit_graph(graph).refusals
    boards = []
    for board in TARGET_BOARDS.values():
        if board.name == "coral" and refusals:
            boards.append(BoardSpeed(board.name, None, "needs a fit with --target coral"))
        else:
            boards.append(BoardSpeed(board.name, board.estimate_ms(cost), board.basis))
    here_ms = _median_ms(runtime.interpreter)
    return ModelSpeed(graph.macs, graph.parameter_bytes, here_ms, runtime.describe(), tuple(boards))


def _median_ms(interpreter: Any) -> float:
    """Returns the median of twenty runs, after three runs to warm up."""
    times = []
    for _ in range(23):
        start = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[3:])


def speed_rows(speed: ModelSpeed) -> Iterator[tuple[str, str, str, str]]:
    """Yields board, milliseconds per frame, frame rate and basis as texts; estimates begin with ~."""
    yield (
        "this machine",
        f"{speed.here_ms:.1f}",
        f"{1000 * NETWORK_SHARE / speed.here_ms:.0f} fps",
        "measured, one thread",
    )
    for row in speed.boards:
        if row.ms is None:
            yield row.board, "-", "-", row.basis
        else:
            yield row.board, f"~{row.ms:.1f}", f"~{1000 * NETWORK_SHARE / row.ms:.0f} fps", row.basis


def speed_table(speed: ModelSpeed) -> Table:
    """Returns a table: milliseconds per frame, and the frame rate that leaves room for everything else."""
    table = Table(
        box=None,
        padding=(0, 2),
        pad_edge=False,
        caption="The frame rate leaves time for everything besides the network.\n"
        "~ estimate, from published times of other networks; nothing was measured on these boards",
        caption_justify="left",
    )
    table.add_column("board", no_wrap=True)
    table.add_column("ms a frame", justify="right")
    table.add_column("frame rate", justify="right")
    table.add_column(style="dim")
    for row in speed_rows(speed):
        table.add_row(*row)
    return table
