"""What keypoints over time say of the animal: distances, angles, speeds, and time in zones. NaN is not seen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgepose.geometry.zones import inside
from edgepose.types import F64, Skeleton

Columns: TypeAlias = dict[str, F64 | NDArray[np.int64] | Sequence[str]]


def centre(xy: F64) -> F64:
    """(N, 2): median of the keypoints (N, K, 2), along x and along y, of frames that show at least half of them, else
    NaN. A mean would follow every single keypoint that is lost to another place."""
    seen: NDArray[np.bool_] = np.asarray(np.isfinite(xy).all(axis=2))
    enough = seen.sum(axis=1) * 2 >= max(1, xy.shape[1])
    found = np.full((len(xy), 2), np.nan)
    found[enough] = np.nanmedian(np.where(seen[..., None], xy, np.nan)[enough], axis=1)
    return found


def speed(xy: F64, time_s: F64) -> F64:
    """Pixels per second of a point (N, 2), between the frames before and after; where one of them does not show the
    point, between the other and this one. NaN where there is no neighbour, or the point itself is not seen."""
    if len(xy) < 2:
        return np.full(len(xy), np.nan)
    seen: NDArray[np.bool_] = np.asarray(np.isfinite(xy).all(axis=1))
    row = np.arange(len(xy))
    before, after = np.maximum(row - 1, 0), np.minimum(row + 1, len(xy) - 1)
    before, after = np.where(seen[before], before, row), np.where(seen[after], after, row)
    known = seen & (after > before)
    apart_s = np.where(known, time_s[after] - time_s[before], 1.0)
    return np.where(known, np.linalg.norm(xy[after] - xy[before], axis=1) / apart_s, np.nan)


def measures(xy: F64, time_s: F64, skeleton: Skeleton, px_per_cm: float | None = None) -> dict[str, F64]:
    """One value for each frame, by column; the unit ends the name. xy: (N, K, 2) pixels. time_s: (N,), rising.

    The centre, its speed, and the distance that it has gone (a gap adds none; noise adds some in every frame, so smooth
    first); the speed of each keypoint; the length of each edge of the skeleton; the angle, 0 to 180 degrees, wherever
    two edges meet. With `px_per_cm` all in cm.
    """
    unit, scale = ("px", 1.0) if px_per_cm is None else ("cm", px_per_cm)
    middle = centre(xy)
    steps = np.nan_to_num(np.linalg.norm(np.diff(middle, axis=0), axis=1))
    found = {
        f"centre_x_{unit}": middle[:, 0] / scale,
        f"centre_y_{unit}": middle[:, 1] / scale,
        f"speed_{unit}_s": speed(middle, time_s) / scale,
        f"distance_{unit}": np.concatenate([[0.0], np.cumsum(steps)])[: len(xy)] / scale,
    }
    for place, name in enumerate(skeleton.keypoints):
        found[f"{name}_speed_{unit}_s"] = speed(xy[:, place], time_s) / scale
    for a, b in skeleton.edge_indices():
        name = f"length_{skeleton.keypoints[a]}_{skeleton.keypoints[b]}_{unit}"
        found[name] = np.linalg.norm(xy[:, a] - xy[:, b], axis=1) / scale
    for one, joint, other in _joints(skeleton):
        names = "_".join(skeleton.keypoints[k] for k in (one, joint, other))
        found[f"angle_{names}_deg"] = _angle_deg(xy[:, one] - xy[:, joint], xy[:, other] - xy[:, joint])
    return found


def zone_times(centre_xy: F64, time_s: F64, zones: dict[str, F64]) -> Columns:
    """One row for each zone, by column: entries, seconds, share of the seconds in which the animal was seen, and when
    it first was there (NaN: never). centre_xy: (N, 2). A frame counts until the next one. Not being seen for a while
    and coming back where it was is no entry; starting inside is one."""
    lasts = np.append(np.diff(time_s), np.median(np.diff(time_s)) if len(time_s) > 1 else 0.0)
    seen = np.isfinite(centre_xy).all(axis=1)
    there = [inside(centre_xy[seen], corners) for corners in zones.values()]
    seconds = np.array([lasts[seen][here].sum() for here in there])
    total_s = lasts[seen].sum()
    return {
        "zone": list(zones),
        "entries": np.array([int(here[:1].sum() + (~here[:-1] & here[1:]).sum()) for here in there], np.int64),
        "time_s": seconds.round(6),
        "share": seconds / total_s if total_s else np.full(len(seconds), np.nan),
        "first_s": np.array([time_s[seen][here.argmax()] if here.any() else np.nan for here in there]),
    }


def _joints(skeleton: Skeleton) -> list[tuple[int, int, int]]:
    """Pairs of edges that share a keypoint: (one end, what they share, the other end)."""
    found = []
    for first, second in combinations(skeleton.edge_indices(), 2):
        if len(shared := set(first) & set(second)) == 1:
            joint = shared.pop()
            found.append((sum(first) - joint, joint, sum(second) - joint))
    return found


def _angle_deg(one: F64, other: F64) -> F64:
    """Between two vectors (N, 2)."""
    cross = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    return np.asarray(np.degrees(np.abs(np.arctan2(cross, (one * other).sum(axis=1)))))
