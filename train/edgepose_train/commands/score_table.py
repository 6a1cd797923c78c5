"""The table of pixel errors that `fit` and `evaluate` print."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from edgepose.inference.model_card import Score


def print_scores(scores: dict[str, Score], frames: str) -> None:
    """A column per score (float, int8); a row per keypoint, then mean, median and 95th percentile."""
    first = next(iter(scores.values()))
    table = Table()
    table.add_column("keypoint")
    for name in scores:
        table.add_column(name, justify="right")
    for keypoint in first.per_keypoint:
        table.add_row(keypoint, *(_px(score.per_keypoint[keypoint]) for score in scores.values()))
    table.add_section()
    for label in ("mean", "median", "p95"):
        table.add_row(label, *(_px(getattr(score, f"{label}_px")) for score in scores.values()))
    console = Console()
    console.print(f"px error on {first.n_frames} {frames}, {first.n_points} labelled points:", highlight=False)
    console.print(table)


def _px(value: float | None) -> str:
    return "no label" if value is None else f"{value:.2f}"
