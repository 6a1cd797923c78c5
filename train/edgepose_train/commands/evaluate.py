"""`edgepose-train evaluate MODEL DATASET`: the px error of the file that ships."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from edgepose.inference.model_card import Score
from edgepose.system.arguments import STDOUT, add_json_argument, check_output, model_path, write_json
from edgepose_train.commands.score_table import print_scores
from edgepose_train.evaluation.evaluate import evaluate
from edgepose_train.labels.reading import DATASET_HELP, read_dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.description = (
        "Measures the px error of a model with the code that runs on the device. Frames that the model was trained on "
        "or chosen by are left out; their pixels identify them."
    )
    parser.epilog = (
        "examples:\n  edgepose-train evaluate RUN my-project\n"
        "  edgepose-train evaluate model.tflite my-project --json score.json"
    )
    parser.add_argument("model", type=model_path, help="a .tflite file, or the folder of a fit")
    parser.add_argument("dataset", type=Path, help=DATASET_HELP)
    parser.add_argument("--all", action="store_true", help="use every frame, also those that it was trained on")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the errors and returns the exit status."""
    check_output(args.json, force=args.force, option="--json")
    scores = evaluate(args.model, read_dataset(args.dataset), every_frame=args.all)
    write_json(args.json, _report(scores, args.all))
    if args.json != STDOUT:
        print_scores(scores, ", ALSO THOSE IT WAS TRAINED ON" if args.all else " it was not trained on")
    return 0


def _report(scores: dict[str, Score], every_frame: bool) -> dict[str, object]:
    """Returns the fields of the int8 score, and the other scores by name."""
    report: dict[str, object] = msgspec.to_builtins(scores["int8"])
    report |= {name: msgspec.to_builtins(score) for name, score in scores.items() if name != "int8"}
    return report | {"all_frames": True} if every_frame else report
