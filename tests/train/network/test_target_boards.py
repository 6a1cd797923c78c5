"""The boards' estimates are the published times; which network is chosen for a frame rate and an animal."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edgepose.errors import UsageError
from edgepose_train.network.network_cost import NetworkCost
from edgepose_train.network.target_boards import (
    ANIMAL_PX,
    LONGEST_SIDE,
    NETWORK_SHARE,
    TARGET_BOARDS,
    choose_network,
    input_size,
)

OPEN_FIELD = ((640, 480), 112.0, 4)
# Counted in the int8 files of both networks at 224x224; the times are those of google/XNNPACK's README.
MOBILENET_V1, MOBILENET_V2 = NetworkCost(568_740_352, 5_197_247), NetworkCost(300_774_272, 7_048_304)


@pytest.mark.parametrize(
    ("board", "v1_ms", "v2_ms"),
    [("pi-3", 46, 30), ("pi-4", 24, 17), ("pi-zero-2w", 46 * 1.4, 30 * 1.4), ("pi-5", 24 * 4 / 17, 4.0)],
)
def test_estimates_are_the_published_times(board, v1_ms, v2_ms):
    assert TARGET_BOARDS[board].estimate_ms(MOBILENET_V1) == pytest.approx(v1_ms, rel=0.01)
    assert TARGET_BOARDS[board].estimate_ms(MOBILENET_V2) == pytest.approx(v2_ms, rel=0.01)


def test_corals_posenets():
    """MobileNetV1 0.75 at stride 16 needs 455 million multiply-accumulates at 224x224.

    Those are the published 325 million with the last two blocks at four times the cells and without the classifier.
    """
    for pixels, ms in ((353 * 481, 5.8), (481 * 641, 10.3), (721 * 1281, 32.4)):
        cost = NetworkCost(round(455e6 * pixels / 224**2))
        assert TARGET_BOARDS["coral"].estimate_ms(cost) - 3.0 == pytest.approx(ms, rel=0.05)


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


@pytest.mark.parametrize("board", TARGET_BOARDS.values(), ids=TARGET_BOARDS.keys())
def test_the_default_rate_is_reached_with_room_for_everything_else(board):
    choice = choose_network(board, board.fps, *OPEN_FIELD)
    assert choice.estimate_ms <= NETWORK_SHARE * 1000 / board.fps
    assert ANIMAL_PX[0] - 3 <= choice.animal_px <= ANIMAL_PX[1]  # rounding to 16 may cost a few pixels


def test_the_estimate_is_that_of_the_network_that_was_chosen():
    choice = choose_network(TARGET_BOARDS["pi-4"], 30, *OPEN_FIELD)
    assert choice.estimate_ms == TARGET_BOARDS["pi-4"].estimate_ms(_cost(choice))


def test_a_higher_frame_rate_never_gives_a_slower_network():
    choices = [choose_network(TARGET_BOARDS["pi-4"], fps, *OPEN_FIELD) for fps in (5, 10, 20, 40, 60)]
    assert all(a.estimate_ms >= b.estimate_ms for a, b in pairwise(choices))
    assert str(choices[0].network.backbone) == "mobilenet_v2_1"
    assert str(choices[-1].network.backbone) == "mobilenet_v1_0.25:8"


def test_faster_boards_get_slower_networks():
    names = ("pi-zero-2w", "pi-3", "pi-4", "pi-5")
    costs = [
        TARGET_BOARDS["pi-4"].estimate_ms(_cost(choose_network(TARGET_BOARDS[name], 20, *OPEN_FIELD))) for name in names
    ]
    assert all(a <= b for a, b in pairwise(costs))
    assert costs[0] < costs[-1]


def _cost(choice) -> NetworkCost:
    return choice.network.cost(choice.input_wh, 4)


def test_a_large_animal_needs_no_more_input_than_a_small_one_in_a_smaller_frame():
    near, far = (
        choose_network(TARGET_BOARDS["pi-4"], 30, (1280, 960), 224, 4),
        choose_network(TARGET_BOARDS["pi-4"], 30, *OPEN_FIELD),
    )
    assert near == far


def test_an_animal_of_unknown_size_is_assumed_to_fill_half_a_frame():
    assert choose_network(TARGET_BOARDS["pi-4"], 30, (640, 480), float("nan"), 4) == choose_network(
        TARGET_BOARDS["pi-4"], 30, (640, 480), 320, 4
    )


def test_what_no_network_can_do_is_one_line_with_a_rate_that_works():
    with pytest.raises(
        UsageError, match=r"^--target pi-zero-2w: no network reaches 500 fps there.* or less$"
    ) as caught:
        choose_network(TARGET_BOARDS["pi-zero-2w"], 500, *OPEN_FIELD)
    possible = float(str(caught.value).split("--fps ")[1].split()[0])
    choice = choose_network(TARGET_BOARDS["pi-zero-2w"], possible, *OPEN_FIELD)
    assert str(choice.network.backbone) == "mobilenet_v1_0.25:8"
