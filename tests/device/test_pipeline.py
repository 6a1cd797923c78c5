"""The loop: what is skipped, what waits, how it ends."""

from __future__ import annotations

import threading
import time
from types import FrameType
from typing import Any

import pytest
from brokers import wait_until
from fakes import FakeCamera, FakeEstimator, ListDelivery

from edgepose.clock import boot_id, boot_us
from edgepose.core.errors import BrokerError, CameraError
from edgepose.core.recent import RECENT, Recent
from edgepose.handover import Handover
from edgepose.pipeline import POSE_QUEUE, Pipeline


def run(camera: FakeCamera, estimator: FakeEstimator, delivery: ListDelivery) -> Pipeline:
    pipeline = Pipeline(camera, estimator, delivery, "cage-07")
    pipeline.run(threading.Event())
    return pipeline


def test_a_file_that_waits_loses_no_frame() -> None:
    delivery, camera = ListDelivery(), FakeCamera(200)
    pipeline = run(camera, FakeEstimator(), delivery)
    assert [message.frame for message in delivery.messages] == list(range(200))
    assert [message.keypoints["snout"].x for message in delivery.messages] == list(range(200))
    assert (pipeline.captured, pipeline.poses) == (200, 200)
    assert sum(pipeline.skipped.values()) + sum(pipeline.dropped.values()) == 0
    assert camera.closed


def test_a_live_camera_skips_to_the_newest_frame_and_counts_the_rest() -> None:
    gate, delivery = threading.Event(), ListDelivery()
    camera = FakeCamera(50, live=True)
    pipeline = Pipeline(camera, FakeEstimator(gate), delivery, "cage-07")
    thread = threading.Thread(target=pipeline.run, args=(threading.Event(),))
    thread.start()
    wait_until(lambda: camera.closed, "the camera to end")
    gate.set()
    thread.join(10)
    assert delivery.messages[-1].frame == 49
    assert len(delivery.messages) <= 2  # the one in work when the gate was shut, and the newest
    assert pipeline.skipped == {"newer_frame": 50 - len(delivery.messages), "rate": 0}


def test_a_full_delivery_costs_a_live_camera_its_oldest_poses_and_counts_them() -> None:
    gate = threading.Event()
    delivery = ListDelivery(gate)
    camera = FakeCamera(POSE_QUEUE + 100, live=True, period_s=0.001)
    pipeline = Pipeline(camera, FakeEstimator(), delivery, "cage-07")
    thread = threading.Thread(target=pipeline.run, args=(threading.Event(),))
    thread.start()
    wait_until(lambda: camera.closed, "the camera to end")
    gate.set()
    thread.join(10)
    assert pipeline.poses == len(delivery.messages) + pipeline.dropped["delivery_full"]
    assert pipeline.dropped["delivery_full"] > 0
    assert delivery.messages[-1].frame == POSE_QUEUE + 99


def test_a_full_delivery_makes_a_file_wait() -> None:
    gate = threading.Event()
    delivery = ListDelivery(gate)
    pipeline = Pipeline(FakeCamera(POSE_QUEUE * 3), FakeEstimator(), delivery, "cage-07")
    thread = threading.Thread(target=pipeline.run, args=(threading.Event(),))
    thread.start()
    wait_until(lambda: pipeline.poses > POSE_QUEUE, "the queue to fill")
    gate.set()
    thread.join(10)
    assert len(delivery.messages) == POSE_QUEUE * 3


def test_seq_counts_by_one_and_a_later_start_begins_above() -> None:
    first, second = ListDelivery(), ListDelivery()
    before = boot_us()
    run(FakeCamera(30), FakeEstimator(), first)
    run(FakeCamera(30), FakeEstimator(), second)
    seqs = [message.seq for message in first.messages]
    assert seqs == list(range(seqs[0], seqs[0] + 30))
    assert before <= seqs[0]
    assert seqs[-1] < second.messages[0].seq
    assert {message.boot for message in first.messages + second.messages} == {boot_id()}


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(
    ("camera_error", "estimator_error", "delivery_error"),
    [
        (CameraError("unplugged"), None, None),
        (None, ValueError("odd"), None),
        (None, None, BrokerError("gone")),
    ],
    ids=["camera", "estimator", "delivery"],
)
def test_a_stage_that_fails_ends_the_pipeline_with_its_error(
    live: bool,
    camera_error: Exception | None,
    estimator_error: Exception | None,
    delivery_error: Exception | None,
) -> None:
    camera = FakeCamera(500, live=live, period_s=0.0005 * live, error=camera_error)
    pipeline = Pipeline(camera, FakeEstimator(error=estimator_error), ListDelivery(error=delivery_error), "cage-07")
    error = camera_error or estimator_error or delivery_error
    assert error is not None
    with pytest.raises(type(error), match=str(error)):
        pipeline.run(threading.Event())
    assert camera.closed


@pytest.mark.parametrize("stage", ["_infer", "_publish"])
def test_a_failure_is_told_however_late_its_thread_notes_it(stage: str) -> None:
    def dawdle(frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code.co_name == stage:
            time.sleep(0.3)  # between what ends the pipeline and what says why

    error = ValueError("odd")
    estimator = FakeEstimator(error=error if stage == "_infer" else None)
    delivery = ListDelivery(error=error if stage == "_publish" else None)
    threading.setprofile(dawdle)
    try:
        with pytest.raises(ValueError, match="odd"):
            run(FakeCamera(5), estimator, delivery)
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]


def test_stop_hands_over_what_is_inside() -> None:
    stop, delivery = threading.Event(), ListDelivery()
    camera = FakeCamera(10**9, period_s=0.001)
    pipeline = Pipeline(camera, FakeEstimator(), delivery, "cage-07")
    thread = threading.Thread(target=pipeline.run, args=(stop,))
    thread.start()
    wait_until(lambda: len(delivery.messages) > 5, "some poses")
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert camera.closed
    assert [message.frame for message in delivery.messages] == list(range(pipeline.captured))


def test_stop_does_not_wait_for_a_camera_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepose.pipeline.STOP_GRACE_S", 0.05)
    release, stop = threading.Event(), threading.Event()

    class Stuck(FakeCamera):
        def read(self) -> None:
            release.wait(20)

    stop.set()
    pipeline = Pipeline(Stuck(1, live=True), FakeEstimator(), ListDelivery(), "cage-07")
    thread = threading.Thread(target=pipeline.run, args=(stop,))
    thread.start()
    thread.join(10)
    ended = not thread.is_alive()
    release.set()
    assert ended


def test_latency_is_never_negative_and_the_stages_are_measured() -> None:
    delivery = ListDelivery()
    pipeline = run(FakeCamera(RECENT + 50), FakeEstimator(), delivery)
    assert min(message.latency_ms for message in delivery.messages) >= 0
    for stage in pipeline.stages.values():
        p50, p95, p99 = stage.percentiles()
        assert 0 < p50 <= p95 <= p99


def test_recent_keeps_the_last_and_tells_their_rate() -> None:
    recent = Recent()
    assert recent.percentiles() == (0, 0, 0)
    assert recent.per_second(1.0) == 0
    for i in range(RECENT * 2):
        recent.add(i / 10)
    assert recent.percentiles()[0] == pytest.approx((RECENT * 1.5 - 0.5) / 10)
    assert recent.per_second(RECENT * 2 / 10) == pytest.approx(10, rel=0.01)


def test_a_closed_handover_gives_what_it_holds_and_takes_no_more() -> None:
    handover = Handover[int](2, newest_wins=True)
    assert [handover.put(i) for i in range(3)] == [True] * 3
    handover.close()
    assert not handover.put(9)
    assert [handover.get(), handover.get(), handover.get()] == [1, 2, None]
    assert handover.displaced == 1
