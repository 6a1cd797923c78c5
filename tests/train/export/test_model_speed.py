"""How fast a model is here, and the estimates for the boards."""

from __future__ import annotations

from importlib import resources

import pytest
from rich.console import Console

from edgepose_train.export.model_speed import measure_speed, speed_table
from edgepose_train.network.target_boards import TARGET_BOARDS


@pytest.fixture(scope="module")
def demo():
    return measure_speed((resources.files("edgepose") / "demo" / "demo.tflite").read_bytes(), "demo.tflite")


def test_a_file_is_measured_here_and_estimated_on_every_board(demo):
    assert demo.macs == 60_499_200
    assert demo.here_ms > 0.1
    ms = {row.board: row.ms for row in demo.boards}
    assert ms.keys() == TARGET_BOARDS.keys()
    assert ms["pi-zero-2w"] > ms["pi-3"] > ms["pi-4"] > ms["pi-5"] > 0


def test_there_is_no_time_for_a_coral_that_cannot_run_all_operations(demo):
    coral = next(row for row in demo.boards if row.board == "coral")
    assert coral.ms is None
    assert coral.basis == "needs a fit with --target coral"


def test_the_table_fits_a_terminal_and_marks_estimates(demo):
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(speed_table(demo))
    lines = captured.get().splitlines()
    assert len(lines) == 1 + 1 + len(TARGET_BOARDS) + 3  # heading, this machine, boards, three lines of caption
    assert [line.split()[1].startswith("~") for line in lines[2 : 2 + len(TARGET_BOARDS)]].count(
        False
    ) == 1  # the coral
    assert "nothing was measured" in captured.get()
