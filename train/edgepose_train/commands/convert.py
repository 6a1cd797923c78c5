"""`edgepose-train convert SRC DST`: labels from one program's format into another's."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  edgepose-train convert maze-Ann-2024-05-01 maze.pkg.slp     # DeepLabCut to SLEAP, images inside\n"
        "  edgepose-train convert labels.slp maze-Ann-2024-05-01       # SLEAP to a DeepLabCut project\n"
        "  edgepose-train convert labels.slp maze.json                 # to COCO keypoints, images in maze-images/\n\n"
        "What is there already is never written over."
    )
    parser.add_argument("source", type=Path, help="DeepLabCut project, CSV or H5; SLEAP .slp; COCO keypoints .json")
    parser.add_argument(
        "destination", type=Path, help="its ending tells the format: .slp, .pkg.slp, .json, else a DeepLabCut folder"
    )


def run(args: argparse.Namespace) -> int:
    from edgepose_train.labels.convert import convert

    console = Console(highlight=False)
    dataset, notes = convert(args.source, args.destination)
    for problem in dataset.problems:
        console.print(f"[yellow]problem:[/] {escape(problem)}", soft_wrap=True)
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    labels = sum(int(np.isfinite(image.xy_px).all(axis=1).sum()) for image in dataset.images)
    console.print(escape(f"{args.destination}: {len(dataset.images)} images, {labels} labels"), soft_wrap=True)
    return 0
