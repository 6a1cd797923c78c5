"""Finds left/right pairs of keypoints by their names, and keypoints of one side that have no partner."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}
# Wherever in a name the side may be. A wrong guess needs a keypoint with exactly the partner's name, so it is rare.
_SIDE = re.compile(r"(?i:left|right|l|r)")
# What certainly is a side: a word (not in `upright`), a letter of its own (ear_l, L_ear, legL4), or two (FL, LH).
_CLEAR_SIDE = re.compile(
    r"(?i:(?<!c)left|(?<![bp])right)|(?<![A-Za-z])[lrLR](?![A-Za-z])|(?<=[a-z0-9])[LR](?![a-z])"
    r"|(?<![A-Za-z])(?:[LR][FHB]|[FHB][LR])(?![A-Za-z])|(?<![A-Za-z])[LR](?=[A-Z][a-z])"
)


def find_flip_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Returns the (left, right) keypoints that change places in a mirror image."""
    pairs = _candidates(names)
    # A name with two possible partners (ll, lr, rl, rr) does not show which of its letters is the side.
    times = Counter(name for pair in pairs for name in pair)
    return tuple(pair for pair in pairs if all(times[name] == 1 for name in pair))


def without_partner(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Returns the keypoints of one side that are in none of the pairs. With any, a mirrored view would be wrong."""
    paired = {name for pair in pairs for name in pair}
    unclear = {name for pair in _candidates(names) for name in pair}
    return [name for name in names if name not in paired and (name in unclear or _CLEAR_SIDE.search(name))]


def _candidates(names: Sequence[str]) -> list[tuple[str, str]]:
    return list(
        dict.fromkeys(
            (name, other)
            for name in names
            for match in _SIDE.finditer(name)
            if match[0].lower() in {"left", "l"} and (other := _with_other_side(name, match)) in names
        )
    )


def _with_other_side(name: str, match: re.Match[str]) -> str:
    side = _OTHER_SIDE[match[0].lower()]
    if match[0].isupper():
        side = side.upper()
    elif match[0][0].isupper():
        side = side.capitalize()
    return name[: match.start()] + side + name[match.end() :]
