"""`edgepose-train fit DATASET -o RUN`: labelled frames to an int8 model."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

from edgepose.core.errors import EdgeposeError
from edgepose_train.commands.score_table import print_scores
from edgepose_train.datasets import read_dataset
from edgepose_train.quiet import quiet
from edgepose_train.recipes import RECIPES, parse_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example:\n  edgepose-train fit my-project -o RUN --recipe balanced\n\n"
        "Leaves RUN/model.tflite and its card RUN/model.json; copy both to the device.\n"
        "After Ctrl-C or a crash the same command goes on where it stopped."
    )
    parser.add_argument("dataset", type=Path, help="DeepLabCut project folder, or a CollectedData CSV or H5")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="folder for the result")
    parser.add_argument(
        "--recipe", choices=list(RECIPES), default="balanced", help="fast, balanced (default) or accurate"
    )
    parser.add_argument("--backbone", metavar="NAME", help="mobilenet_v1_ALPHA or mobilenet_v2_ALPHA")
    parser.add_argument(
        "--weights",
        default="imagenet",
        metavar="W",
        help="imagenet (default, downloads), none, a .h5 file, or a folder of such files",
    )
    parser.add_argument("--input", metavar="WxH", help="size of the model's input, such as 320x240")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="instead of the recipe's number")
    parser.add_argument("--seed", type=_seed, default=0, help="of the split and of the training (default 0)")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1 up")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 0 to {2**32 - 1}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    input_wh = parse_size(args.input) if args.input else None
    recipe = RECIPES[args.recipe]
    dataset = read_dataset(args.dataset)
    for problem in dataset.problems:
        print(f"problem: {problem}", file=sys.stderr)
    if importlib.util.find_spec("tensorflow") is None:
        raise EdgeposeError("training needs TensorFlow: pip install 'edgepose[train]'")
    with quiet():  # TensorFlow looks for GPUs, and reports at length that there are none
        import tensorflow as tf

        tf.config.list_logical_devices()
    from edgepose_train.fit import Settings, fit
    from edgepose_train.network import parse_backbone

    if args.backbone:
        parse_backbone(args.backbone)
        recipe = replace(recipe, backbone=args.backbone)
    card = fit(dataset, args.output, Settings(args.recipe, recipe, args.weights, args.seed, input_wh, args.epochs))
    print_scores(card.scores, "frames it never saw")
    model = args.output / "model.tflite"
    print(
        f"{model} ({model.stat().st_size / 1000:.0f} kB) and its card model.json are ready; "
        f"try them with: edgepose analyze {model} VIDEO -o poses.csv"
    )
    return 0
