"""Forms words that messages share: a number with its noun, a list that stays short, what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_MOST_CHARS = 200
_NAMED = 5  # things that a message names before it only counts the others


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Returns `1 image` or `2 images`. Give `plural` where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listing(things: Sequence[str]) -> str:
    """Returns `a, b, c`, or the first five and `and 3 more`."""
    more = f" and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    return ", ".join(things[:_NAMED]) + more


def printable(text: str) -> str:
    """Returns foreign text as a part of one line: control characters become spaces, and a long text is cut."""
    text = _CONTROL.sub(" ", text[: 2 * _MOST_CHARS]).strip()
    return text if len(text) <= _MOST_CHARS else text[: _MOST_CHARS - 1] + "…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the end of an error message: the known name that is most like `name`, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"
