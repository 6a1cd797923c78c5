"""Finds left/right pairs of keypoints by their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}
# The side is the word anywhere in a name (leftear, paw1_left), or one letter at an end (lpaw, earL), between
# separators (ear_L_tip) or in camel case (frontLPaw). A wrong guess needs a keypoint with exactly the partner's name,
# so guessing is safe.
_SIDE = re.compile(r"(?i:left|right)|^[lrLR]|[lrLR]$|(?<=[^A-Za-z])[lrLR](?=[^A-Za-z])|(?<=[a-z0-9])[LR](?=[A-Z])")


def find_flip_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Returns the (left, right) keypoints that change places in a mirror image."""
    pairs = [
        (name, other)
        for name in names
        for match in _SIDE.finditer(name)
        if match[0].lower() in {"left", "l"} and (other := _with_other_side(name, match)) in names
    ]
    # A name with two possible partners (ll, lr, rl, rr) does not show which of its letters is the side.
    times = Counter(name for pair in pairs for name in pair)
    return tuple(pair for pair in pairs if all(times[name] == 1 for name in pair))


def _with_other_side(name: str, match: re.Match[str]) -> str:
    side = _OTHER_SIDE[match[0].lower()]
    if match[0].isupper():
        side = side.upper()
    elif match[0][0].isupper():
        side = side.capitalize()
    return name[: match.start()] + side + name[match.end() :]
