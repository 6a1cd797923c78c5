"""Smoothing over time, against paths whose truth is known and a textbook's Kalman smoother."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from edgepose.pose import smoothing
from edgepose.pose.smoothing import Method, bridge, smooth, without_jumps

FPS, LENGTH_PX = 30.0, 100.0
METHODS = get_args(Method)


def walk(count=300) -> tuple[np.ndarray, np.ndarray]:
    """Two keypoints, (N, 2, 2), and the times: no faster than 1.3 body lengths a second."""
    time_s = np.arange(count) / FPS
    snout = 300 + np.stack([150 * np.sin(0.8 * time_s), 100 * np.cos(0.5 * time_s)], axis=1)
    return np.stack([snout, snout + np.array([60.0, 20.0])], axis=1), time_s


def noisy(xy, sigma_px=2.0) -> np.ndarray:
    return xy + np.random.default_rng(0).normal(0, sigma_px, xy.shape)


def rms(xy, truth) -> float:
    return float(np.sqrt(np.nanmean((xy - truth) ** 2)))


@pytest.mark.parametrize("method", ["median", "kalman"])
def test_noise_gets_less(method):
    truth, time_s = walk()
    seen = noisy(truth)
    found = smooth(seen, time_s, method, 0.5, LENGTH_PX)
    assert np.isfinite(found).all()
    assert rms(found, truth) < 0.85 * rms(seen, truth)


def test_one_euro_calms_what_rests_and_follows_what_moves():
    truth, time_s = walk()
    resting = np.full_like(truth, 80.0)
    found = smooth(noisy(resting), time_s, "one-euro", 0.5, LENGTH_PX)
    assert rms(found, resting) < 0.75 * rms(noisy(resting), resting)
    found = smooth(noisy(truth), time_s, "one-euro", 0.5, LENGTH_PX)
    assert rms(found, truth) < 1.1 * rms(noisy(truth), truth)


def test_kalman_gets_nearest_to_a_smooth_path():
    truth, time_s = walk()
    found = {method: rms(smooth(noisy(truth), time_s, method, 0.5, LENGTH_PX), truth) for method in METHODS}
    assert found["kalman"] < 0.6 * min(found["median"], found["one-euro"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("frames", [1, 2])
def test_a_jump_and_back_is_removed(method, frames):
    truth, time_s = walk()
    seen = noisy(truth, 0.5)
    seen[100 : 100 + frames, 0] += [80, -60]
    found = smooth(seen, time_s, method, 0.5, LENGTH_PX)
    assert np.linalg.norm(found - truth, axis=2).max() < 10


@pytest.mark.parametrize("method", METHODS)
def test_a_move_that_lasts_is_kept(method):
    xy = np.full((90, 1, 2), 50.0)
    xy[45:] += 80
    found = smooth(noisy(xy, 0.2), np.arange(90) / FPS, method, 0.5, LENGTH_PX)
    assert np.linalg.norm(found[60:] - xy[60:], axis=2).max() < 10
    assert np.linalg.norm(found[:35] - xy[:35], axis=2).max() < 10


@pytest.mark.parametrize("method", METHODS)
def test_short_gaps_are_bridged_and_long_ones_and_the_ends_are_not(method):
    truth, time_s = walk()
    seen = noisy(truth, 0.5)
    unseen = {"start": slice(0, 4), "short": slice(50, 65), "long": slice(120, 137), "end": slice(290, 300)}
    for where in unseen.values():
        seen[where, 0] = np.nan
    found = smooth(seen, time_s, method, 0.5, LENGTH_PX)  # 15 frames are half a second
    for name, where in unseen.items():
        assert np.isfinite(found[where, 0]).all() == (name == "short"), name
    assert np.isfinite(found[:, 1]).all()
    assert np.linalg.norm(found[50:65, 0] - truth[50:65, 0], axis=1).max() < 15


def test_no_gap_is_bridged_when_none_is_allowed():
    seen, time_s = walk(20)
    seen[7, 0] = np.nan
    assert np.isnan(smooth(seen, time_s, "kalman", 0.0, LENGTH_PX)[7, 0]).all()


@pytest.mark.parametrize("method", METHODS)
def test_what_was_never_seen_stays_unknown(method):
    xy, time_s = walk(60)
    xy[:, 1] = np.nan
    found = smooth(xy, time_s, method, 0.5, LENGTH_PX)
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(found[:, 0]).all()
    assert np.isnan(smooth(np.full((60, 2, 2), np.nan), time_s, method, 0.5, LENGTH_PX)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_very_short_videos(method, count):
    xy, time_s = walk(count)
    found = smooth(xy, time_s, method, 0.5, LENGTH_PX)
    assert found.shape == xy.shape
    assert found is not xy
    np.testing.assert_allclose(found, xy, atol=8)


def test_the_input_is_left_alone():
    xy, time_s = walk(50)
    xy[20] += 300
    before = xy.copy()
    for method in METHODS:
        smooth(xy, time_s, method, 0.5, LENGTH_PX)
    np.testing.assert_array_equal(xy, before)


def test_a_still_keypoint_stays_where_it_is():
    xy, time_s = np.full((100, 1, 2), 42.0), np.arange(100) / FPS
    for method in METHODS:
        np.testing.assert_allclose(smooth(xy, time_s, method, 0.5, LENGTH_PX), 42.0, atol=1e-6)


def test_one_euro_uses_no_later_frame():
    truth, time_s = walk(200)
    seen = noisy(truth)
    whole = smoothing.one_euro(seen, time_s, LENGTH_PX)
    np.testing.assert_array_equal(smoothing.one_euro(seen[:120], time_s[:120], LENGTH_PX), whole[:120])


def test_gaps_are_bridged_in_a_straight_line_of_time():
    """Frames that were skipped leave uneven steps."""
    time_s = np.array([0.0, 0.1, 0.4, 0.5])
    xy = np.array([[0.0, 0], [np.nan, np.nan], [np.nan, np.nan], [50.0, 100]])[:, None]
    np.testing.assert_allclose(bridge(xy, time_s, 0.5)[:, 0], [[0, 0], [10, 20], [40, 80], [50, 100]])
    np.testing.assert_array_equal(bridge(xy, time_s, 0.49), xy)


def test_a_movement_is_no_jump_however_fast():
    xy = np.stack([np.linspace(0, 3000, 60), np.zeros(60)], axis=1)[:, None]  # 15 body lengths a second
    np.testing.assert_array_equal(without_jumps(xy, 1 / FPS, LENGTH_PX), xy)


# --- the textbook's ----------------------------------------------------------------------------------------


def rauch_tung_striebel(z, time_s, density, first_variance):
    """The smoother of one coordinate z (N,) in matrices: Bar-Shalom, Estimation with Applications (2001), 8.6."""
    h = np.array([[1.0, 0.0]])
    state, p = np.array([z[np.isfinite(z)][0], 0.0]), np.eye(2) * first_variance
    filtered, predicted = [], []
    for i, measured in enumerate(z):
        step = time_s[i] - time_s[i - 1] if i else 0.0
        f = np.array([[1.0, step], [0.0, 1.0]])
        q = density * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])
        state, p = f @ state, f @ p @ f.T + q
        predicted.append((state, p, f))
        if np.isfinite(measured):
            gain = p @ h.T / (h @ p @ h.T + 1.0)
            state = state + (gain * (measured - h @ state)).ravel()
            p = (np.eye(2) - gain @ h) @ p
        filtered.append((state, p))
    found, later = np.empty(len(z)), filtered[-1][0]
    found[-1] = later[0]
    for i in range(len(z) - 2, -1, -1):
        ahead, p_ahead, f = predicted[i + 1]
        state, p = filtered[i]
        later = state + p @ f.T @ np.linalg.inv(p_ahead) @ (later - ahead)
        found[i] = later[0]
    return found


@pytest.mark.parametrize("density", [3.0, 3000.0])
def test_kalman_is_that_of_the_textbook(density):
    truth, time_s = walk(80)
    seen = noisy(truth)
    seen[30:36] = np.nan
    time_s = time_s + np.random.default_rng(3).uniform(0, 0.01, 80)  # a camera that is not quite regular
    found = smoothing.kalman(seen, time_s, np.full(2, density), LENGTH_PX)
    for keypoint in range(2):
        for axis in range(2):
            expected = rauch_tung_striebel(seen[:, keypoint, axis], time_s, density, 100 * LENGTH_PX**2)
            np.testing.assert_allclose(found[:, keypoint, axis], expected, atol=1e-6)


def test_a_noisier_keypoint_is_smoothed_more():
    truth, time_s = walk()
    seen = truth + np.random.default_rng(0).normal(0, 1, truth.shape) * np.array([[[1.0], [12.0]]])
    found = smoothing.likeliest_density(seen, time_s, LENGTH_PX, smoothing.ACCELERATIONS[:, None] * FPS**3)
    assert found[0] > 3 * found[1]
