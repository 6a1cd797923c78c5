"""Warm start: a new run begins with the weights of an earlier one, because labels were added or corrected."""

from __future__ import annotations

from pathlib import Path

import keras

from edgepose.errors import EdgeposeError
from edgepose.inference.model_file import NETWORK, read_card
from edgepose_train.network import network
from edgepose_train.network.backbone import Head, parse_backbone
from edgepose_train.training import checkpoint


def start_from(folder: str, target: keras.Model) -> None:
    """Sets the weights of `target` to those of the finished run in `folder`, and prints that.

    Where the run has other keypoints, the layers that depend on the keypoints are not changed.

    Raises:
        EdgeposeError: the run has another network, or its files do not belong together.
    """
    run = Path(folder)
    card = read_card(run / NETWORK)
    recipe = card.training.settings.get("recipe", {})
    groups = checkpoint.read(run / checkpoint.CHECKPOINT)[0]
    try:
        head = Head(len(card.skeleton.keypoints), recipe["stride"], recipe["width"], recipe["edge_tpu"])
        backbone = parse_backbone(recipe["backbone"])
        source = network.build(backbone, head, card.input.size_wh, "given")
        source.set_weights(groups["best"])
    except (KeyError, ValueError) as exc:
        raise EdgeposeError(f"--weights {folder}: its checkpoint and {NETWORK} do not fit together ({exc})") from None
    unchanged = network.copy_weights(source, target)
    if unchanged > len(target.layers) // 2:
        raise EdgeposeError(
            f"--weights {folder}: a network of another kind ({backbone}); give its --recipe or --backbone"
        )
    what = f"the weights of all but {unchanged} layers (the keypoints are different)" if unchanged else "all weights"
    print(f"starting with {what} of {run.name}", flush=True)
