"""`edgepose-train inspect`: what is in a data set, what is wrong with it, and whether it can be trained on."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgepose.geometry.coordinates import animal_px
from edgepose.system.wording import count, listing
from edgepose_train.labels.dataset import FEWEST_IMAGES, Dataset, is_labelled
from edgepose_train.labels.images import image_hash, pixel_digest, read_image
from edgepose_train.labels.label_qc import alike, far_labels, swapped_pairs
from edgepose_train.labels.reading import DATASET_HELP, read_dataset

FEW_IMAGES = 50
FEW_LABELS = 20


@dataclass(frozen=True)
class Summary:
    """What `summarise` finds in N images of K keypoints.

    labels: (N, K) True where labelled. sizes_wh, videos: how many images of each. grey, different: images.
    extent_px: median longer side of the box round an image's labels, NaN without two labels in any image.
    outside: labels beyond their image's edge; swapped: left/right pairs that are probably swapped; far: labels far from
    all others of their image; copies: images with the same picture. One text each.
    """

    labels: NDArray[np.bool_]
    sizes_wh: Counter[tuple[int, int]]
    videos: Counter[str]
    grey: int
    different: int
    extent_px: float
    outside: tuple[str, ...]
    swapped: tuple[str, ...]
    far: tuple[str, ...]
    copies: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, help=DATASET_HELP)
    parser.epilog = "example:\n  edgepose-train inspect openfield-Pranav-2018-10-30"


def run(args: argparse.Namespace) -> int:
    """0 when the data set can be trained on, 1 when not."""
    console = Console(highlight=False)
    dataset = read_dataset(args.dataset)
    summary = summarise(dataset)
    _print(console, dataset, summary)
    if summary.different < FEWEST_IMAGES:
        found = count(summary.different, "different image")
        console.print(f"[bold red]Cannot be trained on:[/] {found} cannot be split into train, validation and test")
        return 1
    warnings = _warnings(dataset, summary)
    verdict = "[bold yellow]Can be trained on, with a warning:[/] " if warnings else "[bold green]Ready to train.[/]"
    console.print(verdict + escape("; ".join(warnings)))
    return 0


def summarise(dataset: Dataset) -> Summary:
    """Reads every image once more, for its size. Raises DatasetError when one has gone meanwhile."""
    xy = np.stack([image.xy_px for image in dataset.images])
    names = [f"{image.video}/{image.path.name}" for image in dataset.images]
    sizes, grey, outside, pictures = [], 0, [], []
    for labelled, name in zip(dataset.images, names, strict=True):
        image = read_image(labelled.path)
        h, w = image.shape[:2]
        sizes.append((w, h))
        grey += bool((image == image[..., :1]).all())
        pictures.append(pixel_digest(image))
        # A pixel reaches half a pixel round its centre.
        beyond = ((labelled.xy_px < -0.5) | (labelled.xy_px > np.array([w, h]) - 0.5)).any(axis=1)
        outside += [f"{keypoint} in {name}" for keypoint in _names(dataset, np.asarray(beyond))]
    return Summary(
        is_labelled(xy),
        Counter(sizes),
        Counter(image.video for image in dataset.images),
        grey,
        len({image_hash(image.path) for image in dataset.images}),
        animal_px(xy),
        tuple(outside),
        tuple(f"{a}/{b} in {names[i]}" for i, (a, b) in swapped_pairs(xy, dataset.skeleton)),
        tuple(f"{dataset.skeleton.keypoints[k]} in {names[i]}" for i, k in far_labels(xy)),
        tuple(" = ".join(names[i] for i in group) + _disagreement(xy[group]) for group in alike(pictures)),
    )


def _disagreement(xy: NDArray[np.float64]) -> str:
    """Of the labels of one picture's copies; xy (copies, K, 2)."""
    both = np.isfinite(xy).all(axis=(0, 2))
    apart = np.linalg.norm(np.ptp(xy[:, both], axis=0), axis=1).max(initial=0.0)
    return f" (labels up to {apart:.1f} px apart)" if apart > 0 else ""


def _warnings(dataset: Dataset, summary: Summary) -> list[str]:
    warnings = []
    if len(dataset.images) < FEW_IMAGES:
        warnings.append(f"only {count(len(dataset.images), 'image')}; label {FEW_IMAGES} or more")
    counts = summary.labels.sum(axis=0)
    if never := _names(dataset, counts == 0):
        warnings.append(
            f"no label at all for {', '.join(never)}, so it cannot be learnt; label it, or take it out of config.yaml"
        )
    rare = _names(dataset, (counts > 0) & (counts < FEW_LABELS))
    if rare and len(dataset.images) >= FEW_LABELS:
        warnings.append(f"fewer than {FEW_LABELS} labels for {', '.join(rare)}")
    if dataset.problems or _faults(summary):
        warnings.append("see the problems above")
    return warnings


def _names(dataset: Dataset, which: NDArray[np.bool_]) -> list[str]:
    return [dataset.skeleton.keypoints[k] for k in np.flatnonzero(which)]


def _print(console: Console, dataset: Dataset, summary: Summary) -> None:
    skeleton = dataset.skeleton
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    colours = {0: "colour", len(dataset.images): "grey"}.get(summary.grey, f"{summary.grey} of them grey")
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
    for problem in (*dataset.problems, *_faults(summary)):
        console.print(f"[yellow]problem:[/] {escape(problem)}", soft_wrap=True)


def _faults(summary: Summary) -> list[str]:
    kinds = (
        (summary.outside, "label", "outside the image"),
        (summary.swapped, "left/right pair", "probably swapped, have a look"),
        (summary.far, "label", "far from all others, have a look"),
        (summary.copies, "picture", "there more than once"),
    )
    return [f"{count(len(found), noun)} {what}: {listing(found)}" for found, noun, what in kinds if found]


def _keypoint_table(dataset: Dataset, summary: Summary) -> Table:
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


def _animal(summary: Summary) -> str:
    if np.isnan(summary.extent_px):
        return "size unknown: no image has two labels"
    shorter = min(min(size) for size in summary.sizes_wh)
    return f"{summary.extent_px:.0f} px long (median box of the labels), {summary.extent_px / shorter:.0%} of the image"


def _counted(counts: Counter[str]) -> str:
    """`a (40), b (15)`; the count is left out where there is only one."""
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{name} ({n})" for name, n in counts.most_common())
