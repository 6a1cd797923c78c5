"""Words that messages share: a number with its noun, and a list that does not become too long."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 5  # things that a message names before it only counts the others


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def listing(things: Sequence[str]) -> str:
    """`a, b, c`, or the first five and `and 3 more`."""
    more = f" and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    return ", ".join(things[:_NAMED]) + more
