"""`edgepose-train convert SRC DST`: labels from one program's format into another's."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from edgepose.system.wording import count
from edgepose_train.labels.convert import convert
from edgepose_train.labels.dataset import is_labelled
from edgepose_train.labels.reading import DATASET_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  edgepose-train convert maze-Ann-2024-05-01 maze.pkg.slp     # DeepLabCut to SLEAP, images inside\n"
        "  edgepose-train convert labels.slp maze-Ann-2024-05-01       # SLEAP to a DeepLabCut project\n"
        "  edgepose-train convert labels.slp maze.json                 # to COCO keypoints, images in maze-images/\n\n"
        "Nothing that exists is overwritten."
    )
    parser.add_argument("source", type=Path, metavar="DATASET", help=DATASET_HELP)
    text = "a .slp, .pkg.slp or .json file, whose ending chooses the format, or a folder for a DeepLabCut project"
    parser.add_argument("destination", type=Path, metavar="OUTPUT", help=text)


def run(args: argparse.Namespace) -> int:
    console = Console(highlight=False)
    dataset, notes = convert(args.source, args.destination)
    for problem in dataset.problems:
        console.print(f"[yellow]problem:[/] {escape(problem)}", soft_wrap=True)
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    labels = sum(int(is_labelled(image.xy_px).sum()) for image in dataset.images)
    found = f"{count(len(dataset.images), 'image')}, {count(labels, 'label')}"
    console.print(escape(f"{args.destination}: {found}"), soft_wrap=True)
    return 0
