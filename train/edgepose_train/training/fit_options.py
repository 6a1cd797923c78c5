"""The options of a fit that decide its result, besides the data."""

from __future__ import annotations

from dataclasses import dataclass

from edgepose_train.network.recipes import Recipe


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Everything that decides the result of a fit, besides the data.

    Attributes:
        recipe_name: the name of the recipe, or of the board that the network was chosen for.
        recipe: the recipe.
        weights: the first weights, as `fit --weights` takes them.
        seed: decides the split and all random choices of the training.
        input_wh: width and height of the model's input; None to choose them by the recipe.
        epochs: how often each labelled image is shown; None for the recipe's number.
        by_video: test on whole videos.
        follow: also train on views as large as in a window that follows the animal.
    """

    recipe_name: str
    recipe: Recipe
    weights: str
    seed: int
    input_wh: tuple[int, int] | None = None
    epochs: int | None = None
    by_video: bool = False
    follow: bool = False
