"""An earlier run's network as the beginning of a new one: labels were added or corrected, the animal is the same."""

from __future__ import annotations

from pathlib import Path

import keras

from edgepose.errors import EdgeposeError
from edgepose.inference.model_card import read_card
from edgepose_train.network import network
from edgepose_train.training import checkpoint


def start_from(folder: str, target: keras.Model) -> None:
    """Sets the weights of `target` to those of the finished run in `folder`, and says so. Where it has other keypoints
    only the layers that do not depend on them are taken. Raises EdgeposeError when the network is another one."""
    run = Path(folder)
    card = read_card(run / "model.tflite")
    recipe = card.training.settings.get("recipe", {})
    groups = checkpoint.read(run / "checkpoint.npz")[0]
    try:
        head = network.Head(len(card.skeleton.keypoints), recipe["stride"], recipe["width"], recipe["edge_tpu"])
        backbone = network.parse_backbone(recipe["backbone"])
        source = network.build(backbone, head, card.input.size_wh, "given")
        source.set_weights(groups["best"])
    except (KeyError, ValueError) as exc:
        raise EdgeposeError(f"--weights {folder}: its checkpoint and model.json do not fit together ({exc})") from None
    left = network.copy_weights(source, target)
    if left > len(target.layers) // 2:
        raise EdgeposeError(
            f"--weights {folder}: a network of another kind ({backbone}); give its --recipe or --backbone"
        )
    what = "all weights" if not left else f"the weights of all but {left} layers, as the keypoints are others,"
    print(f"starting with {what} of {run.name}", flush=True)
