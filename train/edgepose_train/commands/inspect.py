"""`edgepose-train inspect`: what is in a data set, what is wrong with it, and whether it can be trained on."""

from __future__ import annotations

import argparse
import math
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgepose.system.arguments import STDOUT, add_json_argument, check_output, write_json
from edgepose.system.wording import count
from edgepose_train.labels.dataset import FEWEST_IMAGES, Dataset
from edgepose_train.labels.reading import DATASET_HELP, read_dataset
from edgepose_train.labels.summary import FEW_LABELS, DatasetSummary, summarise, warnings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, metavar="DATASET", help=DATASET_HELP)
    add_json_argument(parser)
    parser.epilog = "example:\n  edgepose-train inspect openfield-Pranav-2018-10-30"


def run(args: argparse.Namespace) -> int:
    """Returns 0 when the data set can be trained on, and 1 when not."""
    check_output(args.json, force=args.force, option="--json")
    dataset = read_dataset(args.dataset)
    summary = summarise(dataset)
    is_enough = summary.n_different >= FEWEST_IMAGES
    if args.json != STDOUT:
        console = Console(highlight=False)
        _print(console, dataset, summary)
        _print_verdict(console, dataset, summary, is_enough)
    write_json(args.json, _as_json(dataset, summary, is_enough))
    return 0 if is_enough else 1


def _print(console: Console, dataset: Dataset, summary: DatasetSummary) -> None:
    skeleton = dataset.skeleton
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    colours = {0: "colour", len(dataset.images): "grey"}.get(summary.n_grey, f"{summary.n_grey} of them grey")
    sizes = Counter({f"{w}x{h}": n for (w, h), n in summary.sizes_wh.items()})
    facts.add_row("images", f"{len(dataset.images)}, {_counted(sizes)}, {colours}")
    facts.add_row("videos", escape(_counted(summary.videos)))
    facts.add_row("animal", _animal(summary))
    facts.add_row(
        "left/right", escape(", ".join(f"{a}/{b}" for a, b in skeleton.flip_pairs)) or "no pairs in the names"
    )
    facts.add_row("skeleton", escape(", ".join(f"{a}-{b}" for a, b in skeleton.edges)) or "no edges")
    console.print(f"[bold]{escape(dataset.name)}[/]")
    console.print(facts)
    console.print(_keypoint_table(dataset, summary))
    for problem in (*dataset.problems, *summary.faults()):
        console.print(f"[yellow]problem:[/] {escape(problem)}", soft_wrap=True)


def _print_verdict(console: Console, dataset: Dataset, summary: DatasetSummary, is_enough: bool) -> None:
    advice = warnings(dataset, summary) + ["see the problems above"] * bool(dataset.problems or summary.faults())
    if not is_enough:
        found = count(summary.n_different, "different image")
        console.print(f"[bold red]Cannot be trained on:[/] {found} cannot be split into train, validation and test")
    elif advice:
        console.print(f"[bold yellow]Can be trained on, with a warning:[/] {escape('; '.join(advice))}")
    else:
        console.print("[bold green]Ready to train.[/]")


def _keypoint_table(dataset: Dataset, summary: DatasetSummary) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("keypoint")
    for heading in ("labels", "missing"):
        table.add_column(heading, justify="right")
    for name, labels in zip(dataset.skeleton.keypoints, summary.labels.sum(axis=0).tolist(), strict=True):
        missing = 1 - labels / len(dataset.images)
        style = "yellow" if labels < FEW_LABELS else ""
        table.add_row(escape(name), str(labels), f"{missing:.0%}", style=style)
    total, possible = int(summary.labels.sum()), summary.labels.size
    table.add_row("all", str(total), f"{1 - total / possible:.1%}", style="dim")
    return table


def _animal(summary: DatasetSummary) -> str:
    if np.isnan(summary.animal_px):
        return "size unknown: no image has two labels"
    shorter = min(min(size) for size in summary.sizes_wh)
    return f"{summary.animal_px:.0f} px long (median box of the labels), {summary.animal_px / shorter:.0%} of the image"


def _counted(counts: Counter[str]) -> str:
    """Returns `a (40), b (15)`, without the count where there is only one."""
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{name} ({n})" for name, n in counts.most_common())


def _as_json(dataset: Dataset, summary: DatasetSummary, is_enough: bool) -> dict[str, object]:
    labels = summary.labels.sum(axis=0).tolist()
    return {
        "name": dataset.name,
        "can_be_trained_on": is_enough,
        "warnings": warnings(dataset, summary),
        "problems": [*dataset.problems, *summary.faults()],
        "n_images": len(dataset.images),
        "n_different": summary.n_different,
        "n_grey": summary.n_grey,
        "sizes_wh": [{"size_wh": size_wh, "n_images": n} for size_wh, n in summary.sizes_wh.most_common()],
        "videos": dict(summary.videos.most_common()),
        "animal_px": None if math.isnan(summary.animal_px) else summary.animal_px,
        "keypoints": dict(zip(dataset.skeleton.keypoints, labels, strict=True)),
        "flip_pairs": dataset.skeleton.flip_pairs,
        "edges": dataset.skeleton.edges,
    }
