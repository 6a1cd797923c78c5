"""`edgepose-train merge CORRECTED PROJECT`: adds corrected labels to the project that is trained on."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from edgepose.errors import UsageError
from edgepose.system.progress import progress_bar
from edgepose.system.wording import count, listing
from edgepose_train.labels.dataset import Dataset
from edgepose_train.labels.deeplabcut import has_labels
from edgepose_train.labels.device_frames import bring, device_tables
from edgepose_train.labels.machine_labels import unchecked_problem
from edgepose_train.labels.merge import Merged, add_video_paths, merge
from edgepose_train.labels.project_files import CONFIG
from edgepose_train.labels.reading import read_dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Adds labelled frames to a DeepLabCut project: images, label files and config.yaml. What the project has "
        "stays as it is, and its label files are backed up. Predictions that nobody changed are no labels. "
        "Frames that a device saved, and nobody has corrected yet, are added to be corrected in the project."
    )
    parser.epilog = "example:\n  edgepose-train merge round2 my-project"
    text = "the corrected output of `suggest`, any labelled data set, or a folder copied from a device"
    parser.add_argument("corrected", type=Path, metavar="CORRECTED", help=text)
    parser.add_argument("project", type=Path, metavar="PROJECT", help="the DeepLabCut project that gets the labels")
    parser.add_argument("--force", action="store_true", help="where both label a frame, overwrite the project's labels")
    text = "also add predictions that nobody changed, because you have checked all frames"
    parser.add_argument("--unchanged", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    """Returns 0 when every label is in the project, and 1 when some had to be left out."""
    if not (args.project / CONFIG).is_file():
        raise UsageError(f"{args.project}: has no {CONFIG}; give the DeepLabCut project that is to get the labels")
    if args.project.resolve() == args.corrected.resolve():
        raise UsageError(f"{args.project}: is both, so there is nothing to merge; fit it")
    if not has_labels(args.corrected) and (tables := device_tables(args.corrected)):
        return _bring(args, tables)
    source = _source(args)
    with progress_bar() as progress:
        task = progress.add_task("merging", total=len(source.images))
        merged = merge(source, args.project, overwrite=args.force, on_image=partial(progress.advance, task))
    if (args.corrected / CONFIG).is_file():
        add_video_paths(args.corrected, args.project, source.images)
    _report(args, merged)
    return 1 if merged.clashes or (merged.conflicts and not args.force) else 0


def _bring(args: argparse.Namespace, tables: list[Path]) -> int:
    """Adds what a device saved, in which nothing is corrected yet. Returns 1 when something had to be left out."""
    brought, clashes = bring(tables, args.project)
    for folder, number in brought.items():
        print(f"{folder}: {count(number, 'frame')} with predictions to be corrected")
    if clashes:
        print(f"{count(len(clashes), 'frame')} left out, the project has another picture: {listing(clashes)}")
    print(
        "\nNext: drop such a folder onto napari-deeplabcut, move or delete the points that are wrong, save with\n"
        f"Ctrl+S; then edgepose-train fit {args.project} -o RUN2 --weights RUN   (RUN: the folder of the last model)"
    )
    return 1 if clashes else 0


def _source(args: argparse.Namespace) -> Dataset:
    """Returns the corrected labels, with those that nobody changed where the user wants them."""
    source = read_dataset(args.corrected, keep_unlabelled=args.unchanged)
    for problem in source.problems:
        if not args.unchanged or problem != unchecked_problem(len(source.unchecked)):
            print(f"problem: {problem}", file=sys.stderr)
    images = source.images + source.unchecked if args.unchanged else source.images
    return replace(source, images=tuple(image for image in images if np.isfinite(image.xy_px).any()))


def _report(args: argparse.Namespace, merged: Merged) -> None:
    print(f"{args.project}: {count(len(merged.added), 'frame')} added")
    if merged.equal:
        print(f"{count(len(merged.equal), 'frame')} with the same labels, in the project already")
    if merged.conflicts:
        kept = "overwritten" if args.force else "not changed (--force overwrites their labels)"
        print(f"{count(len(merged.conflicts), 'frame')} with other labels {kept}: {listing(merged.conflicts)}")
    if merged.clashes:
        n = count(len(merged.clashes), "frame")
        print(f"{n} left out, the project has another picture of that name: {listing(merged.clashes)}")
    if merged.backup:
        print(f"the label files as they were: {merged.backup}")
    print(f"\nNext: edgepose-train fit {args.project} -o RUN2 --weights RUN   (RUN: the folder of the last model)")
