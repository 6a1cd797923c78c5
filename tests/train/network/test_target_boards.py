"""Boards' estimates against the published times they rest on; what is chosen for a frame rate and an animal."""

from __future__ import annotations

from importlib import resources
from itertools import pairwise

import pytest
from rich.console import Console

from edgepose.errors import UsageError
from edgepose_train.network.network_cost import Cost, network_cost
from edgepose_train.network.target_boards import (
    ANIMAL_PX,
    LONGEST_SIDE,
    SHARE,
    TARGETS,
    choose,
    input_size,
    speed,
    speed_table,
)

OPEN_FIELD = ((640, 480), 112.0, 4)
# Counted in the int8 files of both networks at 224x224; the times are those of google/XNNPACK's README.
MOBILENET_V1, MOBILENET_V2 = Cost(568_740_352, 5_197_247), Cost(300_774_272, 7_048_304)


@pytest.mark.parametrize(
    ("board", "v1_ms", "v2_ms"),
    [("pi-3", 46, 30), ("pi-4", 24, 17), ("pi-zero-2w", 46 * 1.4, 30 * 1.4), ("pi-5", 24 * 4 / 17, 4.0)],
)
def test_estimates_are_the_published_times(board, v1_ms, v2_ms):
    assert TARGETS[board].estimate_ms(MOBILENET_V1) == pytest.approx(v1_ms, rel=0.01)
    assert TARGETS[board].estimate_ms(MOBILENET_V2) == pytest.approx(v2_ms, rel=0.01)


def test_corals_posenets():
    """MobileNetV1 0.75 at stride 16 is 455 million at 224x224: 325 published, the last two blocks at four times the
    cells, without the classifier."""
    for pixels, ms in ((353 * 481, 5.8), (481 * 641, 10.3), (721 * 1281, 32.4)):
        cost = Cost(round(455e6 * pixels / 224**2))
        assert TARGETS["coral"].estimate_ms(cost) - 3.0 == pytest.approx(ms, rel=0.05)


# --- input size ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame_wh", "animal_px", "span_px", "expected"),
    [
        ((640, 480), 112, 112, (640, 480)),
        ((640, 480), 112, 56, (320, 240)),
        ((640, 480), 50, 120, (640, 480)),  # never enlarged
        ((832, 747), 220, 110, (416, 368)),
        ((1920, 1080), 400, 400, (640, 352)),  # bounded
        ((250, 250), 200, 120, (144, 144)),
        ((250, 250), 60, 120, (256, 256)),  # the frame itself, to the nearest multiple
        ((900, 90), 60, 120, (640, 64)),
    ],
)
def test_input_follows_the_animal(frame_wh, animal_px, span_px, expected):
    assert input_size(frame_wh, animal_px, span_px) == expected


@pytest.mark.parametrize("frame_wh", [(640, 480), (253, 911), (1936, 1216), (70, 70)])
@pytest.mark.parametrize("animal_px", [5.0, 33.3, 180.0, 900.0])
def test_inputs_are_multiples_of_16_within_bounds(frame_wh, animal_px):
    for side, frame_side in zip(input_size(frame_wh, animal_px), frame_wh, strict=True):
        assert side % 16 == 0
        assert 64 <= side <= min(LONGEST_SIDE, max(64, frame_side))


# --- choice --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_the_default_rate_is_met_with_room_to_spare(target):
    choice = choose(target, target.fps, *OPEN_FIELD)
    assert choice.estimate_ms <= SHARE * 1000 / target.fps
    assert ANIMAL_PX[0] - 3 <= choice.animal_px <= ANIMAL_PX[1]  # rounding to 16 may cost a few pixels


def test_the_estimate_is_that_of_the_network_that_was_chosen():
    choice = choose(TARGETS["pi-4"], 30, *OPEN_FIELD)
    assert choice.estimate_ms == TARGETS["pi-4"].estimate_ms(_cost(choice))


def test_more_frames_a_second_never_buy_more_computing():
    choices = [choose(TARGETS["pi-4"], fps, *OPEN_FIELD) for fps in (5, 10, 20, 40, 60)]
    assert all(a.estimate_ms >= b.estimate_ms for a, b in pairwise(choices))
    assert choices[0].backbone == "mobilenet_v2_1"
    assert choices[-1].backbone == "mobilenet_v1_0.25:8"


def test_faster_boards_get_more():
    names = ("pi-zero-2w", "pi-3", "pi-4", "pi-5")
    costs = [TARGETS["pi-4"].estimate_ms(_cost(choose(TARGETS[name], 20, *OPEN_FIELD))) for name in names]
    assert all(a <= b for a, b in pairwise(costs))
    assert costs[0] < costs[-1]


def _cost(choice) -> Cost:
    from edgepose_train.network.network import parse_backbone

    return network_cost(parse_backbone(choice.backbone), (4, choice.stride, choice.width), choice.input_wh)


def test_a_large_animal_needs_no_more_input_than_a_small_one_in_a_smaller_frame():
    near, far = choose(TARGETS["pi-4"], 30, (1280, 960), 224, 4), choose(TARGETS["pi-4"], 30, *OPEN_FIELD)
    assert near == far


def test_an_animal_of_unknown_size_is_taken_for_half_a_frame():
    assert choose(TARGETS["pi-4"], 30, (640, 480), float("nan"), 4) == choose(TARGETS["pi-4"], 30, (640, 480), 320, 4)


def test_what_no_network_can_do_is_one_line_with_a_rate_that_works():
    with pytest.raises(UsageError, match=r"^--target pi-zero-2w: no network fits 500 fps there.* or less$") as caught:
        choose(TARGETS["pi-zero-2w"], 500, *OPEN_FIELD)
    possible = float(str(caught.value).split("--fps ")[1].split()[0])
    assert choose(TARGETS["pi-zero-2w"], possible, *OPEN_FIELD).backbone == "mobilenet_v1_0.25:8"


# --- what a model costs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo():
    return speed((resources.files("edgepose") / "demo" / "demo.tflite").read_bytes(), "demo.tflite")


def test_a_file_is_measured_here_and_estimated_on_every_board(demo):
    assert demo.macs == 60_499_200
    assert demo.here_ms > 0.1
    ms = {row.board: row.ms for row in demo.boards}
    assert ms.keys() == TARGETS.keys()
    assert ms["pi-zero-2w"] > ms["pi-3"] > ms["pi-4"] > ms["pi-5"] > 0


def test_no_time_is_told_for_a_coral_that_would_leave_it_to_the_cpu(demo):
    coral = next(row for row in demo.boards if row.board == "coral")
    assert coral.ms is None
    assert coral.basis == "needs a fit with --target coral"


def test_the_table_fits_a_terminal_and_marks_estimates(demo):
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(speed_table(demo))
    lines = captured.get().splitlines()
    assert len(lines) == 1 + 1 + len(TARGETS) + 2  # heading, this machine, boards, two lines of caption
    assert [line.split()[1].startswith("~") for line in lines[2 : 2 + len(TARGETS)]].count(False) == 1  # the coral
    assert "nothing was measured" in captured.get()
