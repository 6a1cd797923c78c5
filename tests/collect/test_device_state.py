"""What a subscriber concludes from a device's messages: gaps, repetitions, a daemon that restarts."""

from __future__ import annotations

import pytest
from mouse_messages import pose, status, truth, without

from edgepose.collect.device_state import DeviceState
from edgepose.protocol.messages import Message


def feed(state: DeviceState, *messages: Message) -> DeviceState:
    for message in messages:
        state.update(message, 1.0)
    return state


def test_counts_gaps_and_takes_a_pose_once():
    first, again, gap, lost = pose(0), pose(0), pose(4, seq=101), pose(6, seq=103)
    state = feed(DeviceState("cage-07", truth), first, again, gap, lost)
    assert (state.poses, state.frames, state.lost, state.skipped()) == (3, 7, 1, 3)


def test_another_run_counts_anew():
    state = feed(DeviceState("cage-07", truth), status(), pose(500), status(run="2"), pose(0, seq=10**9))
    assert (state.poses, state.frames, state.lost) == (1, 1, 0)
    # the same without its /status: frames begin again
    feed(state, pose(1, seq=10**9 + 1), pose(0, seq=2 * 10**9))
    assert (state.poses, state.lost) == (1, 0)


def test_a_will_that_comes_late_is_no_news():
    state = feed(DeviceState("cage-07"), status(run="2"), status(run="1", state="offline"))
    assert state.status == status(run="2")
    feed(state, status(run="2", state="offline"))
    assert state.status == status(run="2", state="offline")
    feed(state, status(run="3"))
    assert state.status == status(run="3")


def test_poses_without_some_keypoints_count_and_have_errors_of_the_others():
    sparse = without(pose(1, off_px=5.0), "snout", "tailbase")
    state = feed(DeviceState("cage-07", truth), pose(0, off_px=3.0), sparse, without(pose(2), *truth(2)))
    assert (state.poses, state.lost) == (3, 0)
    assert state.error_px() == pytest.approx({"snout": 3.0, "leftear": 4.0, "rightear": 4.0, "tailbase": 3.0})
    assert state.mean_error_px() == pytest.approx(3.5)
    assert len(state.trail) == 2


def test_without_a_truth_there_is_no_error():
    state = feed(DeviceState("cage-07"), pose(0))
    assert (state.error_px(), state.mean_error_px()) == ({}, None)
