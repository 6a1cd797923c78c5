"""The size of the model's input, from the frames or from `--input`."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.errors import UsageError
from edgepose_train.network.backbone import parse_backbone
from edgepose_train.network.recipes import LEAST_SIDE, RECIPES, SIZE_STEP, input_size, parse_size, recipe_for

SIDE = st.integers(8, 4000)


@given(st.sampled_from(sorted(RECIPES)), SIDE, SIDE, st.floats(1, 4000) | st.just(math.nan))
def test_input_fits_the_trunk_and_never_enlarges_the_frames(name, w, h, animal_px):
    recipe = RECIPES[name]
    found = input_size(recipe, (w, h), animal_px)
    for side, of_frame in zip(found, (w, h), strict=True):
        assert side % SIZE_STEP == 0
        assert LEAST_SIDE <= side <= max(LEAST_SIDE, of_frame + SIZE_STEP / 2)


@pytest.mark.parametrize("name", ["balanced", "accurate"])
def test_input_follows_the_animal_within_bounds(name):
    recipe, frame_wh = RECIPES[name], (1600, 1200)
    fewest, most = recipe.pixels
    areas = [math.prod(input_size(recipe, frame_wh, animal_px)) for animal_px in (900, 300, 150, 100, 20)]
    assert areas == sorted(areas)
    assert areas[0] == pytest.approx(fewest, rel=0.05)
    assert areas[-1] == pytest.approx(most, rel=0.05)
    span = 1600 * recipe.animal_px / math.sqrt(math.sqrt(fewest * most) * 4 / 3)  # lies between the bounds
    w, _ = input_size(recipe, frame_wh, span)
    assert span * w / 1600 == pytest.approx(recipe.animal_px, rel=0.02)
    assert fewest < math.prod(input_size(recipe, frame_wh, math.nan)) < most


def test_a_network_for_a_board_sees_the_whole_animal():
    small, large = (recipe_for("mobilenet_v1_0.25", 24, 8, animal_px, True) for animal_px in (50, 200))
    assert small.crop == RECIPES["fast"].crop
    assert large.crop >= 1.6 * 200
    assert large.crop % SIZE_STEP == 0
    assert (large.backbone, large.width, large.stride, large.edge_tpu) == ("mobilenet_v1_0.25", 24, 8, True)
    assert recipe_for("mobilenet_v2_0.5", 32, 8, 50, False).learning_rate == RECIPES["balanced"].learning_rate


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_a_recipe_fits_together(recipe):
    parse_backbone(recipe.backbone)
    assert recipe.crop % SIZE_STEP == 0
    assert recipe.pixels[0] <= recipe.pixels[1]
    assert recipe.stride in {4, 8, 16}


def test_input_is_given_as_width_and_height():
    assert parse_size("320x240") == parse_size("320X240") == (320, 240)


@pytest.mark.parametrize("text", ["", "320", "320x", "320x240x3", "321x240", "48x64", "-320x240", "3.2e2x240", "0x0"])
def test_any_other_input_is_refused_in_one_line(text):
    with pytest.raises(UsageError, match=r"^--input .*: give WIDTHxHEIGHT, multiples of 16 from 64 up") as error:
        parse_size(text)
    assert len(str(error.value).splitlines()) == 1
