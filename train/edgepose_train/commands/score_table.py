"""Prints the table of px errors of `fit` and `evaluate`."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgepose.inference.model_card import Score
from edgepose.system.wording import count


def print_scores(scores: dict[str, Score], which: str) -> None:
    """Prints a column per score (float, int8), with a row per keypoint and rows for mean, median and 95th percentile.

    `which` says which frames were tested; it follows their number, such as ` it never saw`.
    """
    first = next(iter(scores.values()))
    table = Table()
    table.add_column("keypoint")
    for name in scores:
        table.add_column(name, justify="right")
    for keypoint in first.per_keypoint:
        table.add_row(escape(keypoint), *(_px(score.per_keypoint[keypoint]) for score in scores.values()))
    table.add_section()
    for label in ("mean", "median", "p95"):
        table.add_row(label, *(_px(getattr(score, f"{label}_px")) for score in scores.values()))
    console = Console()
    points = count(first.n_points, "labelled point")
    console.print(f"px error on {count(first.n_frames, 'frame')}{which}, {points}:", highlight=False)
    console.print(table)


def _px(value: float | None) -> str:
    return "no label" if value is None else f"{value:.2f}"
