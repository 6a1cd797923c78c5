"""Labels that are probably wrong, told by the other frames. numpy only, and no N x N table: `inspect` is quick.

How a swap of left and right is found: every frame is turned and scaled onto the others by points that a swap does not
move, unpaired keypoints and the middle of each pair (Procrustes analysis, Gower 1975). The frames whose pose is then
most alike say which way a pair should point; one that points the other way is probably swapped. Points are complex
numbers here, so that turning and scaling is one multiplication.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgepose.types import Skeleton

C128 = NDArray[np.complex128]
F64 = NDArray[np.float64]

_REFERENCES = 200  # frames that all others are compared with
_ALIKE = 0.25  # of them, those most alike, tell what is usual
_FEWEST = 8  # frames that must tell
# How much nearer a pair is to the usual one after swapping than before. Open field's 93 frames: the one that is swapped
# has 6.4, all others less than 0.25; with 20 % swapped on purpose all were found, and no other.
_SWAP_RATIO = 2.0
_UNCLEAR = 0.15  # of the frames between that and its inverse: such a pair points anywhere, as walking paws do
_FAR = 1.5  # times the distance that nine of ten frames have, to every other label


def swapped_pairs(xy_px: F64, skeleton: Skeleton) -> list[tuple[int, tuple[str, str]]]:
    """(frame, flip pair) where left and right are probably swapped; xy_px (N, K, 2), NaN = not labelled.

    Tells nothing of skeletons without two points that a swap leaves in place, nor of fewer than 9 frames.
    """
    z = xy_px[..., 0] + 1j * xy_px[..., 1]
    pairs = [(skeleton.keypoints.index(a), skeleton.keypoints.index(b)) for a, b in skeleton.flip_pairs]
    paired = {k for pair in pairs for k in pair}
    alone = [k for k in range(z.shape[1]) if k not in paired]
    steady = np.column_stack([z[:, alone], *[z[:, pair].mean(axis=1) for pair in pairs]])
    references = np.unique(np.linspace(0, len(z) - 1, min(len(z), _REFERENCES)).round().astype(int))
    turn, apart = _onto(steady, references)
    found = []
    for name, (left, right) in zip(skeleton.flip_pairs, pairs, strict=True):
        ratio = _swap_ratio(z[:, right] - z[:, left], references, turn, apart)
        unclear = (ratio > 1 / _SWAP_RATIO) & (ratio < _SWAP_RATIO)
        if unclear.sum() <= _UNCLEAR * np.isfinite(ratio).sum():
            found += [(int(i), name) for i in np.flatnonzero(ratio > _SWAP_RATIO)]
    return sorted(found)


def _onto(points: C128, references: NDArray[np.intp]) -> tuple[C128, F64]:
    """turn[i, r]: the factor that maps differences within reference r onto frame i. apart[i, r]: how badly that fits,
    0 to 1 (squared Procrustes distance), inf where they share fewer than two points; points (N, P), NaN = none."""
    here = np.isfinite(points).astype(np.float64)
    p = np.where(here > 0, points, 0)
    q, there = p[references], here[references]
    shared = here @ there.T
    with np.errstate(divide="ignore", invalid="ignore"):
        sum_p, sum_q = p @ there.T, here @ q.T
        cross = p @ q.conj().T - sum_p * sum_q.conj() / shared
        spread_p = np.abs(p) ** 2 @ there.T - np.abs(sum_p) ** 2 / shared
        spread_q = here @ (np.abs(q) ** 2).T - np.abs(sum_q) ** 2 / shared
        turn, apart = cross / spread_q, 1 - np.abs(cross) ** 2 / (spread_p * spread_q)
    unknown = (shared < 2) | ~np.isfinite(turn) | ~np.isfinite(apart)
    turn[unknown], apart[unknown] = 0, np.inf
    apart[references, np.arange(len(references))] = np.inf  # not itself
    return turn, apart


def _swap_ratio(across: C128, references: NDArray[np.intp], turn: C128, apart: F64) -> F64:
    """(N,): how far `across`, from left to right, is from what is usual, over how far it would be when swapped.

    NaN where it is not labelled or too few frames tell."""
    usable = np.where(np.isfinite(across[references]), apart, np.inf)
    how_many = min(max(_FEWEST, int(_ALIKE * len(references))), len(references) - 1)
    nearest = np.argpartition(usable, how_many, axis=1)[:, :how_many]
    told = np.isfinite(np.take_along_axis(usable, nearest, axis=1))
    usual_across = np.nan_to_num(across[references])[nearest]
    expected = np.where(told, np.take_along_axis(turn, nearest, axis=1) * usual_across, np.nan)
    ratio = np.full(len(across), np.nan)
    rows = np.flatnonzero((told.sum(axis=1) >= _FEWEST) & np.isfinite(across))
    if len(rows):
        usual = np.nanmedian(expected.real[rows], axis=1) + 1j * np.nanmedian(expected.imag[rows], axis=1)
        ratio[rows] = np.abs(across[rows] - usual) / np.maximum(np.abs(across[rows] + usual), 1e-9)
    return ratio


def far_labels(xy_px: F64) -> list[tuple[int, int]]:
    """(frame, keypoint) of labels that are unusually far from every other label of their frame: slips of the mouse.

    xy_px (N, K, 2). A frame in which this holds for half of the labels shows a nearer animal, and is left out.
    """
    apart = np.linalg.norm(xy_px[:, :, None] - xy_px[:, None], axis=-1)  # (N, K, K)
    apart[:, np.arange(apart.shape[1]), np.arange(apart.shape[1])] = np.nan
    often = np.isfinite(apart).sum(axis=0) > _FEWEST
    usual = np.full(often.shape, np.nan)
    if often.any():
        usual[often] = np.nanpercentile(apart[:, often], 90, axis=0)
    ratio = np.where(np.isfinite(apart / usual), apart / usual, np.inf)
    far = (ratio.min(axis=2) > _FAR) & (np.isfinite(ratio).sum(axis=2) >= 2)
    far &= far.sum(axis=1, keepdims=True) * 2 < np.isfinite(xy_px).all(axis=2).sum(axis=1, keepdims=True)
    return [(int(i), int(k)) for i, k in np.argwhere(far)]


def alike(keys: Sequence[Hashable]) -> list[list[int]]:
    """The places of each key that comes more than once."""
    places: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        places.setdefault(key, []).append(i)
    return [group for group in places.values() if len(group) > 1]
