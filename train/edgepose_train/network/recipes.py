"""Recipes: what `--recipe` chooses. benchmarks/README.md has what they reach, EXPERIMENTS.md why they are so."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from edgepose.errors import UsageError


@dataclass(frozen=True, slots=True)
class Recipe:
    """backbone: trunk, unless --backbone names another. animal_px: model pixels that the animal's longer side should
    span. pixels: fewest and most of the model's input. crop: side of a training view. steps: batches; `min_epochs`
    asks for more where the data set is large. edge_tpu: every operation must run on a Coral."""

    backbone: str
    animal_px: float
    pixels: tuple[int, int]
    crop: int
    width: int
    steps: int
    learning_rate: float
    batch: int = 8
    stride: int = 8
    min_epochs: int = 40
    edge_tpu: bool = False


RECIPES = {
    "fast": Recipe("mobilenet_v1_0.5:7", 60, (68_096, 68_096), 160, 32, 4000, 3e-3),
    "balanced": Recipe("mobilenet_v2_1.0", 90, (180_000, 310_000), 192, 64, 2000, 1e-3),
    "accurate": Recipe("mobilenet_v2_1.0", 123, (200_000, 480_000), 256, 64, 2000, 1e-3),
    # The model inside the package: small enough to ship with it.
    "demo": Recipe("mobilenet_v1_0.25", 60, (76_800, 76_800), 160, 32, 2000, 2e-3),
}
SIZE_STEP = 16  # the trunk halves the picture four times
LEAST_SIDE = 64


def input_size(recipe: Recipe, frame_wh: tuple[int, int], animal_px: float) -> tuple[int, int]:
    """Model input of the frames' shape, in which an animal whose longer side spans `animal_px` of the frame spans
    what the recipe wants, within its bounds on pixels. animal_px: NaN where unknown. Frames are never enlarged."""
    area = math.prod(frame_wh)
    fewest, most = (math.sqrt(bound / area) for bound in recipe.pixels)
    wanted = math.sqrt(fewest * most) if math.isnan(animal_px) else recipe.animal_px / max(animal_px, 1.0)
    return scaled_size(frame_wh, min(1.0, max(fewest, min(most, wanted))))


def recipe_for(backbone: str, width: int, stride: int, animal_px: float, edge_tpu: bool) -> Recipe:
    """For a network that `--target` chose. animal_px: model pixels that the animal spans. How long and how fast it
    learns is as with the recipe of its kind."""
    base = RECIPES["fast" if "v1" in backbone else "balanced"]
    crop = max(base.crop, math.ceil(1.6 * animal_px / SIZE_STEP) * SIZE_STEP)
    return replace(base, backbone=backbone, width=width, stride=stride, crop=crop, edge_tpu=edge_tpu)


def scaled_size(frame_wh: tuple[int, int], scale: float) -> tuple[int, int]:
    """Sides as multiples of `SIZE_STEP`, which letterboxing fills."""
    w, h = (max(LEAST_SIDE, round(side * scale / SIZE_STEP) * SIZE_STEP) for side in frame_wh)
    return w, h


def parse_size(text: str) -> tuple[int, int]:
    """`320x240`. Raises UsageError."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(
        part.isdecimal() and int(part) % SIZE_STEP == 0 and int(part) >= 64 for part in parts
    ):
        raise UsageError(f"--input {text}: give WIDTHxHEIGHT, multiples of {SIZE_STEP} from 64 up, such as 320x240")
    return int(parts[0]), int(parts[1])
