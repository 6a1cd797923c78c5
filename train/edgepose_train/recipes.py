"""Recipes: what `--recipe` chooses. benchmarks/README.md has what they reach; `accurate` has no result yet."""

from __future__ import annotations

from dataclasses import dataclass

from edgepose.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Recipe:
    """backbone: trunk, unless --backbone names another. long_side: input pixels of the frame's longer side.
    crop: side of a training view. steps: batches; `min_epochs` asks for more where the data set is large."""

    backbone: str
    long_side: int
    crop: int
    width: int
    steps: int
    batch: int = 8
    stride: int = 8
    learning_rate: float = 1e-3
    min_epochs: int = 40


RECIPES = {
    "fast": Recipe("mobilenet_v1_0.5", long_side=384, crop=160, width=32, steps=2000),
    "balanced": Recipe("mobilenet_v2_1.0", long_side=448, crop=192, width=64, steps=2000),
    "accurate": Recipe("mobilenet_v2_1.0", long_side=640, crop=256, width=64, steps=4000),
    # The model inside the package: small enough to ship with it.
    "demo": Recipe("mobilenet_v1_0.25", long_side=320, crop=160, width=32, steps=2000),
}
SIZE_STEP = 16  # the trunk halves the picture four times


def input_size(recipe: Recipe, frame_wh: tuple[int, int]) -> tuple[int, int]:
    """Model input of the frames' shape; frames are never enlarged."""
    scale = min(1.0, recipe.long_side / max(frame_wh))
    w, h = (max(4, round(side * scale / SIZE_STEP)) * SIZE_STEP for side in frame_wh)
    return w, h


def parse_size(text: str) -> tuple[int, int]:
    """`320x240`. Raises UsageError."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(
        part.isdecimal() and int(part) % SIZE_STEP == 0 and int(part) >= 64 for part in parts
    ):
        raise UsageError(f"--input {text}: give WIDTHxHEIGHT, multiples of {SIZE_STEP} from 64 up, such as 320x240")
    return int(parts[0]), int(parts[1])
