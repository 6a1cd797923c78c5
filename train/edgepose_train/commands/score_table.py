"""The table of pixel errors that `fit` and `evaluate` print."""

from __future__ import annotations

from rich.table import Table

from edgepose.core.card import Score


def score_table(scores: dict[str, Score], title: str) -> Table:
    """One column per score (float, int8); a row per keypoint, then mean, median and 95th percentile."""
    first = next(iter(scores.values()))
    table = Table(title=f"px error on {first.n_frames} {title} ({first.n_points} points)", title_justify="left")
    table.add_column("keypoint")
    for name in scores:
        table.add_column(name, justify="right")
    for keypoint in first.per_keypoint:
        table.add_row(keypoint, *(_px(score.per_keypoint[keypoint]) for score in scores.values()))
    table.add_section()
    for label in ("mean", "median", "p95"):
        table.add_row(label, *(_px(getattr(score, f"{label}_px")) for score in scores.values()))
    return table


def _px(value: float | None) -> str:
    return "no label" if value is None else f"{value:.2f}"
