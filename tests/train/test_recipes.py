"""Sizes of the model's input, from the frames or from `--input`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.core.errors import UsageError
from edgepose_train.network import parse_backbone
from edgepose_train.recipes import RECIPES, SIZE_STEP, input_size, parse_size

SIDE = st.integers(8, 4000)


@given(st.sampled_from(sorted(RECIPES)), SIDE, SIDE)
def test_input_fits_the_trunk_and_never_enlarges_the_frames(name, w, h):
    recipe = RECIPES[name]
    for side, of_frame in zip(input_size(recipe, (w, h)), (w, h), strict=True):
        assert side % SIZE_STEP == 0
        assert 4 * SIZE_STEP <= side <= max(4 * SIZE_STEP, min(recipe.long_side, of_frame) + SIZE_STEP / 2)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_a_recipe_fits_together(recipe):
    parse_backbone(recipe.backbone)
    assert recipe.long_side % SIZE_STEP == recipe.crop % SIZE_STEP == 0
    assert recipe.stride in {4, 8, 16}


def test_input_is_given_as_width_and_height():
    assert parse_size("320x240") == parse_size("320X240") == (320, 240)


@pytest.mark.parametrize("text", ["", "320", "320x", "320x240x3", "321x240", "48x64", "-320x240", "3.2e2x240", "0x0"])
def test_any_other_input_is_refused_in_one_line(text):
    with pytest.raises(UsageError, match=r"^--input .*: give WIDTHxHEIGHT, multiples of 16 from 64 up") as error:
        parse_size(text)
    assert len(str(error.value).splitlines()) == 1
