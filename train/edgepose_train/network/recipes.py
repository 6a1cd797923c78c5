"""Lists the recipes of `fit --recipe`, and computes the size of the model's input.

benchmarks/README.md has the errors that the recipes reach, train/EXPERIMENTS.md the reasons for their numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from edgepose.errors import UsageError
from edgepose.geometry.letterbox import ResizeMode


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network and how it is trained.

    Attributes:
        backbone: the trunk, unless `--backbone` names another one.
        animal_px: model pixels that the animal's longer side should span.
        pixels: the smallest and the largest number of pixels of the model's input.
        crop: the side of a training view in model pixels.
        width: channels of the head.
        steps: batches to train on; `min_epochs` asks for more where the data set is large.
        learning_rate: the highest learning rate of the schedule.
        batch: views in a batch.
        stride: model pixels per heatmap cell.
        min_epochs: how often each labelled image is shown at least.
        edge_tpu: every operation must run on a Coral Edge TPU.
    """

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
    # The model inside the package is small enough to ship with it.
    "demo": Recipe("mobilenet_v1_0.25", 60, (76_800, 76_800), 160, 32, 2000, 2e-3),
}
SIZE_STEP = 16  # the trunk halves the picture four times
LEAST_SIDE = 64
RESIZE: ResizeMode = "letterbox"  # how frames are brought to the model's input


def input_size(recipe: Recipe, frame_wh: tuple[int, int], animal_px: float) -> tuple[int, int]:
    """Returns the (w, h) of the model's input at which the animal spans what the recipe asks for.

    The input has the frame's shape and keeps the recipe's bounds on pixels. Frames are never enlarged.

    Args:
        recipe: the recipe.
        frame_wh: width and height of the frames.
        animal_px: frame pixels that the animal's longer side spans, NaN where that is unknown.
    """
    area = math.prod(frame_wh)
    fewest, most = (math.sqrt(bound / area) for bound in recipe.pixels)
    wanted = math.sqrt(fewest * most) if math.isnan(animal_px) else recipe.animal_px / max(animal_px, 1.0)
    return scaled_size(frame_wh, min(1.0, max(fewest, min(most, wanted))))


def recipe_for(backbone: str, width: int, stride: int, animal_px: float, edge_tpu: bool) -> Recipe:
    """Returns the recipe for a network that `--target` has chosen, trained like the recipe with that kind of MobileNet.

    animal_px is the number of model pixels that the animal's longer side spans.
    """
    base = RECIPES["fast" if "v1" in backbone else "balanced"]
    crop = max(base.crop, math.ceil(1.6 * animal_px / SIZE_STEP) * SIZE_STEP)
    return replace(base, backbone=backbone, width=width, stride=stride, crop=crop, edge_tpu=edge_tpu)


def scaled_size(frame_wh: tuple[int, int], scale: float) -> tuple[int, int]:
    """Returns the frame's size times `scale`, with sides that are multiples of `SIZE_STEP`."""
    w, h = (max(LEAST_SIDE, round(side * scale / SIZE_STEP) * SIZE_STEP) for side in frame_wh)
    return w, h


def parse_size(text: str) -> tuple[int, int]:
    """Reads a size such as `320x240`; raises UsageError where it is not one that the network can have."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(
        part.isdecimal() and int(part) % SIZE_STEP == 0 and int(part) >= 64 for part in parts
    ):
        raise UsageError(f"--input {text}: give WIDTHxHEIGHT, multiples of {SIZE_STEP} from 64 up, such as 320x240")
    return int(parts[0]), int(parts[1])
