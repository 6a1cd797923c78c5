"""Smooths the path of every keypoint: jumps are removed, gaps are filled, and one of three filters is applied.

- median: a running median over 0.2 s. It keeps steps and removes single errors.
- one-euro: Casiez, Roussel & Vogel, "1€ Filter", CHI 2012. It uses no later frame, so it lags a little, and is what a
  live system could show.
- kalman: the Kalman filter of a point with constant velocity, disturbed by white acceleration, and then backwards in
  time as in Rauch, Tung & Striebel, AIAA Journal 3(8), 1965. It uses all frames and fills a gap along the movement. How
  noisy a keypoint is, and how much it accelerates, is measured for each keypoint by maximum likelihood.

Arrays (N, K, 2) are the x and y of K keypoints over N frames; NaN means that a keypoint was not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgepose.types import F64

Method: TypeAlias = Literal["median", "one-euro", "kalman"]

_MEDIAN_S = 0.2  # window of the running median
_JUMP_S = 0.15  # window in which a jump is found: a keypoint that comes back later has moved
_JUMP_LENGTHS = 0.25  # a jump is at least so many body lengths from the window's median
_JUMP_MADS = 3 * 1.4826  # and so many median absolute deviations: 3 standard deviations where errors are normal
_MIN_CUTOFF_HZ, _BETA, _SPEED_CUTOFF_HZ = 2.0, 10.0, 2.0  # One-Euro; beta in Hz for each body length per second
ACCELERATIONS = np.logspace(-5, 1, 13)  # ratios of acceleration to measurement noise, see `likeliest_density`


def smooth(xy: F64, time_s: F64, method: Method, max_gap_s: float, length_px: float) -> F64:
    """Smooths the paths of keypoints.

    Jumps are removed. Gaps of at most `max_gap_s` between two points are filled. Longer ones stay NaN, and so do the
    frames before the first and after the last point.

    Args:
        xy: (N, K, 2) pixels.
        time_s: (N,), rising.
        length_px: the animal's length, which jumps and speeds are measured by.
    """
    if len(xy) < 2:
        return xy.copy()
    frame_s = float(np.median(np.diff(time_s)))
    kept = without_jumps(xy, frame_s, length_px)
    bridged = bridge(kept, time_s, max_gap_s + frame_s)
    if method == "median":
        found = _running_median(bridged, _half_window(_MEDIAN_S, frame_s))
    elif method == "one-euro":
        found = one_euro(bridged, time_s, length_px)
    else:
        density = likeliest_density(kept, time_s, length_px, ACCELERATIONS[:, None] / frame_s**3)
        found = kalman(kept, time_s, density, length_px)
    return np.where(np.isnan(bridged), np.nan, found)


def without_jumps(xy: F64, frame_s: float, length_px: float) -> F64:
    """Replaces a keypoint that jumps for a moment by NaN: Hampel's identifier (JASA 69, 1974) in a moving window."""
    half = _half_window(_JUMP_S, frame_s)
    median = _running_median(xy, half)
    distance = np.linalg.norm(xy - median, axis=2, keepdims=True)
    # These are the distances of a window's points to that window's median, not to the medians of their own windows.
    spread = _running_median(xy, half, about=median)
    limit = np.maximum(_JUMP_LENGTHS * length_px, _JUMP_MADS * spread)
    return np.where(distance > limit, np.nan, xy)


def bridge(xy: F64, time_s: F64, longest_s: float) -> F64:
    """Fills gaps (N, K, 2) by straight lines between points that are at most `longest_s` apart."""
    seen = _seen(xy)
    row = np.arange(len(xy))[:, None]
    before = np.maximum.accumulate(np.where(seen, row, -1), axis=0)
    after = np.minimum.accumulate(np.where(seen, row, len(xy))[::-1], axis=0)[::-1]
    inside = (before >= 0) & (after < len(xy))
    before, after = np.where(inside, before, 0), np.where(inside, after, 0)
    apart = time_s[after] - time_s[before]
    inside &= ~seen & (apart <= longest_s + 1e-9)
    part = ((time_s[:, None] - time_s[before]) / np.where(apart > 0, apart, 1.0))[..., None]
    start, end = (np.take_along_axis(xy, at[..., None], axis=0) for at in (before, after))
    return np.where(inside[..., None], start + part * (end - start), xy)


def _seen(xy: F64) -> NDArray[np.bool_]:
    """Returns which keypoints were seen, (N, K)."""
    return np.asarray(np.isfinite(xy).all(axis=2))


def _half_window(window_s: float, frame_s: float) -> int:
    """Returns how many frames a window has on either side: at least two, so that two wrong frames do not decide."""
    return max(2, round(window_s / frame_s / 2))


def _running_median(xy: F64, half: int, about: F64 | None = None) -> F64:
    """Returns the median over 2 * half + 1 frames, of x and of y, (N, K, 2); NaN where nothing is seen.

    about: (N, K, 2); if given, the result is the median distance of the window's points from it, (N, K, 1).
    """
    padded = np.pad(xy, ((half, half), (0, 0), (0, 0)), constant_values=np.nan)
    found = np.empty((*xy.shape[:2], 2 if about is None else 1))
    for k in range(xy.shape[1]):  # one keypoint after the other: the windows of all would fill the memory
        window = np.lib.stride_tricks.sliding_window_view(padded[:, k], 2 * half + 1, axis=0)  # (N, 2, W)
        if about is not None:
            window = np.linalg.norm(window - about[:, k, :, None], axis=1, keepdims=True)
        found[:, k] = _median_of_finite(window)
    return found


def _median_of_finite(values: F64) -> F64:
    """Returns the median over the last axis; NaN where nothing is finite, for which numpy's nanmedian would warn."""
    ordered = np.sort(values, axis=-1)  # NaN last
    count = np.isfinite(values).sum(axis=-1, keepdims=True)
    low, high = (np.take_along_axis(ordered, np.maximum(at, 0), axis=-1) for at in ((count - 1) // 2, count // 2))
    return np.asarray(np.where(count > 0, (low + np.where(count > 0, high, low)) / 2, np.nan)[..., 0])


def one_euro(xy: F64, time_s: F64, length_px: float) -> F64:
    """The One-Euro filter with the speed of the point in the plane, so that every direction is treated alike."""
    out = xy.copy()
    speed = np.zeros_like(xy[0])
    for i in range(1, len(xy)):
        step_s = time_s[i] - time_s[i - 1]
        fresh = np.isnan(out[i - 1])  # begins anew after a gap
        raw = np.where(fresh, 0.0, (xy[i] - out[i - 1]) / step_s)
        speed = np.where(fresh | np.isnan(raw), 0.0, speed + _weight(_SPEED_CUTOFF_HZ, step_s) * (raw - speed))
        cutoff = _MIN_CUTOFF_HZ + _BETA * np.linalg.norm(speed, axis=1, keepdims=True) / length_px
        out[i] = np.where(fresh, xy[i], out[i - 1] + _weight(cutoff, step_s) * (xy[i] - out[i - 1]))
    return out


def _weight(cutoff_hz: F64 | float, step_s: float) -> F64:
    """Returns the weight of the new value in a first-order low pass."""
    turn = 2 * np.pi * np.asarray(cutoff_hz) * step_s
    return np.asarray(turn / (turn + 1))


@dataclass(slots=True)
class _State:
    """Position and velocity (..., K, 2) and their covariance, the same for x and y: pp, pv, vv (..., K)."""

    position: F64
    velocity: F64
    pp: F64
    pv: F64
    vv: F64

    def predicted(self, step_s: float, density: F64) -> _State:
        """The state one step later. density: of the white acceleration, px²/s³."""
        return _State(
            self.position + step_s * self.velocity,
            self.velocity,
            self.pp + 2 * step_s * self.pv + step_s**2 * self.vv + density * step_s**3 / 3,
            self.pv + step_s * self.vv + density * step_s**2 / 2,
            self.vv + density * step_s,
        )

    def updated(self, xy: F64, seen: NDArray[np.bool_], noise: F64 | float) -> _State:
        """The state after a measurement. noise: its variance. Where a keypoint is not seen, the state stays."""
        error = np.where(seen[:, None], xy - self.position, 0.0)
        total = self.pp + noise
        gain_p, gain_v = (np.where(seen, part / total, 0.0) for part in (self.pp, self.pv))
        return _State(
            self.position + gain_p[..., None] * error,
            self.velocity + gain_v[..., None] * error,
            (1 - gain_p) * self.pp,
            (1 - gain_p) * self.pv,
            self.vv - gain_v * self.pv,
        )


def kalman(xy: F64, time_s: F64, density: F64, length_px: float) -> F64:
    """The Kalman filter and smoother.

    density: (K,), of the white acceleration, in units of the measurement's variance, which then is 1 and cancels.
    """
    seen = _seen(xy)
    state = _begin(xy, length_px, density)
    states = []
    for i in range(len(xy)):
        if i:
            state = state.predicted(time_s[i] - time_s[i - 1], density)
        state = state.updated(xy[i], seen[i], 1.0)
        states.append(state)
    out = np.empty_like(xy)
    later = state
    out[-1] = later.position
    for i in range(len(xy) - 2, -1, -1):
        later = _smoothed(states[i], later, time_s[i + 1] - time_s[i], density)
        out[i] = later.position
    return out


def _begin(xy: F64, length_px: float, density: F64) -> _State:
    """Begins at the first point that is seen, with a variance that is large compared with the animal."""
    first = np.isfinite(xy).all(axis=2).argmax(axis=0)
    position = np.nan_to_num(xy[first, np.arange(xy.shape[1])])
    position = np.broadcast_to(position, (*density.shape, 2))
    wide = np.full(density.shape, 100 * length_px**2)
    return _State(position, np.zeros_like(position), wide, np.zeros_like(wide), wide)


def _smoothed(state: _State, later: _State, step_s: float, density: F64) -> _State:
    """Returns the smoothed state of a frame, from its filtered state and the smoothed state of the next frame.

    The smoothed positions need no smoothed covariance, so that of the filtered state is passed on.
    """
    ahead = state.predicted(step_s, density)
    # gain = P F' / P_ahead, for F = [[1, step], [0, 1]], written out
    a, b = state.pp + step_s * state.pv, state.pv
    c, d = state.pv + step_s * state.vv, state.vv
    det = ahead.pp * ahead.vv - ahead.pv**2
    gain = [(a * ahead.vv - b * ahead.pv) / det, (b * ahead.pp - a * ahead.pv) / det]
    gain += [(c * ahead.vv - d * ahead.pv) / det, (d * ahead.pp - c * ahead.pv) / det]
    pp, pv, vp, vv = (part[..., None] for part in gain)
    off_p, off_v = later.position - ahead.position, later.velocity - ahead.velocity
    return _State(
        state.position + pp * off_p + pv * off_v,
        state.velocity + vp * off_p + vv * off_v,
        state.pp,
        state.pv,
        state.vv,
    )


def likeliest_density(xy: F64, time_s: F64, length_px: float, densities: F64) -> F64:
    """Returns for each keypoint the density under which its path is most likely, (K,).

    densities: (G, 1), in units of the measurement's variance, which is concentrated out of the likelihood (Harvey 1989,
    section 3.4).
    """
    density = np.broadcast_to(densities, (len(densities), xy.shape[1]))
    seen = _seen(xy)
    state = _begin(xy, length_px, density)
    squares, logs = np.zeros(density.shape), np.zeros(density.shape)
    for i in range(len(xy)):
        if i:
            state = state.predicted(time_s[i] - time_s[i - 1], density)
        total = state.pp + 1.0
        error = np.where(seen[i][:, None], xy[i] - state.position, 0.0)
        squares += (error**2).sum(axis=-1) / total
        logs += np.where(seen[i], 2 * np.log(total), 0.0)
        state = state.updated(xy[i], seen[i], 1.0)
    count = np.maximum(2 * seen.sum(axis=0), 1)
    cost = count * np.log(np.maximum(squares, 1e-12) / count) + logs
    return np.asarray(densities[cost.argmin(axis=0), 0])
