"""`edgepose-train evaluate MODEL DATASET`: the pixel error of the file that ships."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from edgepose.errors import UsageError
from edgepose.inference.model_card import Score
from edgepose_train.commands.score_table import print_scores
from edgepose_train.labels.reading import DATASET_HELP, read_dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example:\n  edgepose-train evaluate RUN/model.tflite my-project --json score.json\n\n"
        "Frames that the model was trained on, or chosen by, are told by their content and left out."
    )
    parser.add_argument("model", type=Path, help="the .tflite file, its card beside it")
    parser.add_argument("dataset", type=Path, help=DATASET_HELP)
    parser.add_argument("--all", action="store_true", help="score every frame, also those it was trained on")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers as JSON")


def run(args: argparse.Namespace) -> int:
    from edgepose_train.evaluation.evaluate import evaluate

    if args.json and not args.json.absolute().parent.is_dir():
        raise UsageError(f"--json {args.json}: there is no folder {args.json.parent}; make it first")
    scores = evaluate(args.model, read_dataset(args.dataset), every_frame=args.all)
    if args.json:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(_report(scores, args.all)), indent=2))
    frames = "frames, ALSO THOSE IT WAS TRAINED ON" if args.all else "frames it was not trained on"
    print_scores(scores, frames)
    return 0


def _report(scores: dict[str, Score], every_frame: bool) -> dict[str, object]:
    report: dict[str, object] = msgspec.to_builtins(scores["int8"])
    report |= {name: msgspec.to_builtins(score) for name, score in scores.items() if name != "int8"}
    return report | {"all_frames": True} if every_frame else report
