"""Measures of an animal over time, from its keypoints: distances, angles, speeds, and time in zones.

A keypoint that was not seen is NaN.
"""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.geometry.zones import inside
from edgepose.types import F32, F64, Column, Skeleton

MIDDLE = "centre"
"""The name of the animal's middle in tables and plots, where another one is that of a keypoint."""
_THIN = 1e-5  # an area whose width is a smaller share of its length is a line
_SMALL = 1.0  # only an area that is smaller, in square pixels or millimetres, may be a line


def centre(xy: F64, keypoint: int | None = None) -> F64:
    """Returns where the animal is in each frame, (N, 2): its middle, or one keypoint.

    The middle is the centre of the area that the outermost keypoints enclose, so that many keypoints on the head do not
    draw it there. A keypoint that is twice as far from the others as the animal is long is in a wrong place and does
    not count. The middle is NaN where fewer than half of the keypoints are seen.

    Args:
        xy: (N, K, 2) positions.
        keypoint: index of the keypoint; None gives the middle.
    """
    if keypoint is not None:
        return xy[:, keypoint]
    seen: NDArray[np.bool_] = np.asarray(np.isfinite(xy).all(axis=2))
    enough = seen.sum(axis=1) * 2 >= max(1, xy.shape[1])
    found = np.full((len(xy), 2), np.nan)
    if not enough.any():
        return found
    points = np.where(seen[..., None], xy, np.nan)[enough]
    origins = np.nanmedian(points, axis=1)
    apart = (points - origins[:, None]).astype(np.float32)
    away = np.linalg.norm(apart, axis=2)
    near = away <= 2 * np.median(np.nanmax(away, axis=1))
    found[enough] = origins + [_middle(frame[inner]) for frame, inner in zip(apart, near, strict=True)]
    return found


def _middle(xy: F32) -> tuple[float, float]:
    """Returns the centre of the area of the convex hull of points (K, 2); of points in a line, the middle of it."""
    if not len(xy):
        return np.nan, np.nan
    hull = cv2.convexHull(xy)
    moments = cv2.moments(hull)
    (_, (w, h), _) = cv2.minAreaRect(hull) if moments["m00"] < _SMALL else (None, (1.0, 1.0), None)
    if min(w, h) <= _THIN * max(w, h):
        x, y = (hull.min(axis=(0, 1)) + hull.max(axis=(0, 1))) / 2
        return float(x), float(y)
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]


def durations(time_s: F64) -> F64:
    """Returns how long each frame lasts, (N,) seconds: until the next one; the last one as long as most do."""
    return np.append(np.diff(time_s), np.median(np.diff(time_s)) if len(time_s) > 1 else 0.0)


def speed(xy: F64, time_s: F64) -> F64:
    """Returns the speed of a point in each frame, (N,), in units of `xy` (N, 2) per second.

    It is measured from the frame before to the frame after. Where one of these does not show the point, this frame
    takes its place. NaN where neither shows it, or this frame does not. time_s: (N,), rising.
    """
    if len(xy) < 2:
        return np.full(len(xy), np.nan)
    seen: NDArray[np.bool_] = np.asarray(np.isfinite(xy).all(axis=1))
    row = np.arange(len(xy))
    before, after = np.maximum(row - 1, 0), np.minimum(row + 1, len(xy) - 1)
    before, after = np.where(seen[before], before, row), np.where(seen[after], after, row)
    known = seen & (after > before)
    apart_s = np.where(known, time_s[after] - time_s[before], 1.0)
    return np.where(known, np.linalg.norm(xy[after] - xy[before], axis=1) / apart_s, np.nan)


def measures(xy: F64, unit: str, time_s: F64, skeleton: Skeleton, keypoint: int | None = None) -> dict[str, F64]:
    """Returns columns (N,) by name; each name ends in its unit.

    The columns are where the animal is, its speed, and the distance that it has covered, named after the point that
    stands for it: `centre` or a keypoint; the speed of each keypoint; the length
    of each edge of the skeleton; and the angle, 0 to 180 degrees, between each two edges that meet. Where two measures
    would have one name, because `tail_base` and `paw` read like `tail` and `base_paw`, the later one in the order of
    the skeleton's edges gets a number. A gap adds nothing to the distance. Noise adds some in every frame, so smooth
    first.

    Args:
        xy: (N, K, 2) positions.
        unit: of `xy`, `px` or `mm`.
        time_s: (N,), rising.
        skeleton: the names of the K keypoints, and the edges.
        keypoint: index of the one that stands for the animal; None takes its middle.
    """
    middle, point = centre(xy, keypoint), MIDDLE if keypoint is None else skeleton.keypoints[keypoint]
    steps = np.nan_to_num(np.linalg.norm(np.diff(middle, axis=0), axis=1))
    columns = [
        (f"{point}_x", unit, middle[:, 0]),
        (f"{point}_y", unit, middle[:, 1]),
        (f"{point}_speed", f"{unit}_s", speed(middle, time_s)),
        (f"{point}_distance", unit, np.concatenate([[0.0], np.cumsum(steps)])[: len(xy)]),
    ]
    for k, name in enumerate(skeleton.keypoints):
        if k == keypoint:
            continue
        columns.append((f"{name}_speed", f"{unit}_s", speed(xy[:, k], time_s)))
    for a, b in _edges(skeleton):
        name = f"length_{skeleton.keypoints[a]}_{skeleton.keypoints[b]}"
        columns.append((name, unit, np.linalg.norm(xy[:, a] - xy[:, b], axis=1)))
    for one, joint, other in _joints(skeleton):
        names = "_".join(skeleton.keypoints[k] for k in (one, joint, other))
        columns.append((f"angle_{names}", "deg", _angle_deg(xy[:, one] - xy[:, joint], xy[:, other] - xy[:, joint])))
    found: dict[str, F64] = {}
    for name, ending, values in columns:
        column, number = f"{name}_{ending}", 2
        while column in found:
            column, number = f"{name}_{number}_{ending}", number + 1
        found[column] = values
    return found


def zone_times(centre_xy: F64, time_s: F64, zones: dict[str, F64], point: str = MIDDLE) -> dict[str, Column]:
    """Returns a table with one row for each zone, by column.

    The columns are the zone's name, the point that stands for the animal, how often the animal entered the zone, for
    how many seconds it was there, which share that is of the time in which it was seen, and when it was there first
    (NaN: never). A frame counts until the next one. An animal that is seen again in the zone where it was seen last has
    not entered it; one that is in a zone from the start has.

    Args:
        centre_xy: (N, 2) pixels of the frame, NaN where the animal was not seen.
        time_s: (N,), rising.
        zones: corners (P, 2) by name, in pixels of the frame.
        point: what `centre_xy` is: `centre` or a keypoint.
    """
    frame_s = durations(time_s)
    seen = np.isfinite(centre_xy).all(axis=1)
    there = [inside(centre_xy[seen], corners) for corners in zones.values()]
    seconds = np.array([frame_s[seen][here].sum() for here in there])
    total_s = frame_s[seen].sum()
    return {
        "zone": list(zones),
        "point": [point] * len(zones),
        "entries": np.array([int(here[:1].sum() + (~here[:-1] & here[1:]).sum()) for here in there], np.int64),
        "time_s": seconds.round(6),
        "share": seconds / total_s if total_s else np.full(len(seconds), np.nan),
        "first_s": np.array([time_s[seen][here.argmax()] if here.any() else np.nan for here in there]),
    }


def _edges(skeleton: Skeleton) -> list[tuple[int, int]]:
    """Returns each edge of the skeleton once, as indices of keypoints."""
    return list({frozenset(edge): edge for edge in skeleton.edge_indices()}.values())


def _joints(skeleton: Skeleton) -> list[tuple[int, int, int]]:
    """Returns, for each two edges that share a keypoint, the indices of one end, this keypoint and the other end."""
    found = []
    for first, second in combinations(_edges(skeleton), 2):
        if len(shared := set(first) & set(second)) == 1:
            joint = shared.pop()
            found.append((sum(first) - joint, joint, sum(second) - joint))
    return found


def _angle_deg(one: F64, other: F64) -> F64:
    """Returns the angle between two vectors (N, 2), 0 to 180 degrees."""
    cross = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    return np.asarray(np.degrees(np.abs(np.arctan2(cross, (one * other).sum(axis=1)))))
