"""Finds labels that are probably wrong, by comparing the frames of a data set.

How a swap of left and right is found: every frame is turned and scaled onto other frames by points that a swap does
not move, which are the unpaired keypoints and the middle of each pair (Procrustes analysis, Gower 1975,
doi:10.1007/BF02291478). The frames whose pose is then most similar show which way a pair should point; a pair that
points the other way is probably swapped. Points are complex numbers here, so that turning and scaling is one
multiplication. No table has N x N entries, so that `inspect` stays quick.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgepose.types import Skeleton

C128 = NDArray[np.complex128]
F64 = NDArray[np.float64]

_REFERENCES = 200  # frames with which every frame is compared
_NEAREST = 0.25  # share of the references that is used: those with the most similar pose
_FEWEST = 8  # references that must be usable
# After swapping, a pair must be this many times nearer to the expected one than before. In open field's 93 frames, the
# pair that is swapped has 6.4 and all others have less than 0.25. With 20 % swapped on purpose all were found, and no
# other.
_SWAP_RATIO = 2.0
_UNCLEAR = 0.15  # share of frames between that ratio and its inverse; with more, the pair points anywhere, like paws
_FAR = 1.5  # times the 90th percentile of the distance to every other label


def swapped_pairs(xy_px: F64, skeleton: Skeleton) -> list[tuple[int, tuple[str, str]]]:
    """Finds the pairs in which left and right are probably swapped.

    Args:
        xy_px: (N, K, 2), NaN where a keypoint is not labelled.
        skeleton: names and pairs of the K keypoints.

    Returns:
        (frame, flip pair) for each. The list is empty for fewer than 9 frames, and for a skeleton without two points
        that a swap leaves where they are.
    """
    z = xy_px[..., 0] + 1j * xy_px[..., 1]
    pairs = [(skeleton.keypoints.index(a), skeleton.keypoints.index(b)) for a, b in skeleton.flip_pairs]
    paired = {k for pair in pairs for k in pair}
    unpaired = [k for k in range(z.shape[1]) if k not in paired]
    unmoved = np.column_stack([z[:, unpaired], *[z[:, pair].mean(axis=1) for pair in pairs]])
    references = np.unique(np.linspace(0, len(z) - 1, min(len(z), _REFERENCES)).round().astype(int))
    rotation, distance = _procrustes(unmoved, references)
    found = []
    for name, (left, right) in zip(skeleton.flip_pairs, pairs, strict=True):
        ratio = _swap_ratio(z[:, right] - z[:, left], references, rotation, distance)
        unclear = (ratio > 1 / _SWAP_RATIO) & (ratio < _SWAP_RATIO)
        if unclear.sum() <= _UNCLEAR * np.isfinite(ratio).sum():
            found += [(int(i), name) for i in np.flatnonzero(ratio > _SWAP_RATIO)]
    return sorted(found)


def _procrustes(points: C128, references: NDArray[np.intp]) -> tuple[C128, F64]:
    """Aligns each of R references with each of N frames.

    Args:
        points: (N, P), NaN where a point is missing.
        references: (R,) numbers of frames.

    Returns:
        rotation (N, R), the complex factor that maps differences within the reference onto the frame; and distance
        (N, R), the squared Procrustes distance that is left, 0 to 1, infinite where they share fewer than two points.
    """
    has_p = np.isfinite(points).astype(np.float64)
    p = np.where(has_p > 0, points, 0)
    q, has_q = p[references], has_p[references]
    shared = has_p @ has_q.T
    with np.errstate(divide="ignore", invalid="ignore"):
        sum_p, sum_q = p @ has_q.T, has_p @ q.T
        cross = p @ q.conj().T - sum_p * sum_q.conj() / shared
        spread_p = np.abs(p) ** 2 @ has_q.T - np.abs(sum_p) ** 2 / shared
        spread_q = has_p @ (np.abs(q) ** 2).T - np.abs(sum_q) ** 2 / shared
        rotation, distance = cross / spread_q, 1 - np.abs(cross) ** 2 / (spread_p * spread_q)
    unknown = (shared < 2) | ~np.isfinite(rotation) | ~np.isfinite(distance)
    rotation[unknown], distance[unknown] = 0, np.inf
    distance[references, np.arange(len(references))] = np.inf  # a frame is not compared with itself
    return rotation, distance


def _swap_ratio(left_to_right: C128, references: NDArray[np.intp], rotation: C128, distance: F64) -> F64:
    """Returns (N,): the distance of a pair from the expected one, divided by that of the swapped pair.

    It is NaN where the pair is not labelled, or too few references are usable.
    """
    usable = np.where(np.isfinite(left_to_right[references]), distance, np.inf)
    n_nearest = min(max(_FEWEST, int(_NEAREST * len(references))), len(references) - 1)
    nearest = np.argpartition(usable, n_nearest, axis=1)[:, :n_nearest]
    is_known = np.isfinite(np.take_along_axis(usable, nearest, axis=1))
    in_references = np.nan_to_num(left_to_right[references])[nearest]
    aligned = np.where(is_known, np.take_along_axis(rotation, nearest, axis=1) * in_references, np.nan)
    ratio = np.full(len(left_to_right), np.nan)
    rows = np.flatnonzero((is_known.sum(axis=1) >= _FEWEST) & np.isfinite(left_to_right))
    if len(rows):
        expected = np.nanmedian(aligned.real[rows], axis=1) + 1j * np.nanmedian(aligned.imag[rows], axis=1)
        swapped_px = np.abs(left_to_right[rows] + expected)
        ratio[rows] = np.abs(left_to_right[rows] - expected) / np.maximum(swapped_px, 1e-9)
    return ratio


def outlier_labels(xy_px: F64) -> list[tuple[int, int]]:
    """Finds labels that are unusually far from every other label of their frame, such as slips of the mouse.

    A frame in which half of the labels are so shows a nearer animal, and is left out.

    Args:
        xy_px: (N, K, 2), NaN where a keypoint is not labelled.

    Returns:
        (frame, keypoint) for each.
    """
    distance = np.linalg.norm(xy_px[:, :, None] - xy_px[:, None], axis=-1)  # (N, K, K)
    distance[:, np.arange(distance.shape[1]), np.arange(distance.shape[1])] = np.nan
    often = np.isfinite(distance).sum(axis=0) > _FEWEST
    usual = np.full(often.shape, np.nan)
    if often.any():
        usual[often] = np.nanpercentile(distance[:, often], 90, axis=0)
    ratio = np.where(np.isfinite(distance / usual), distance / usual, np.inf)
    far = (ratio.min(axis=2) > _FAR) & (np.isfinite(ratio).sum(axis=2) >= 2)
    far &= far.sum(axis=1, keepdims=True) * 2 < np.isfinite(xy_px).all(axis=2).sum(axis=1, keepdims=True)
    return [(int(i), int(k)) for i, k in np.argwhere(far)]


def duplicates(keys: Sequence[Hashable]) -> list[list[int]]:
    """Returns the positions of each key that occurs more than once."""
    positions: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        positions.setdefault(key, []).append(i)
    return [group for group in positions.values() if len(group) > 1]
