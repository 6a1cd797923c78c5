"""The loop: which frames are skipped, what waits, and how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from brokers import wait_until
from fakes import SIZE_WH, FakeCamera, FakeEstimator, ListDelivery, ListReporter

from edgepose.camera.supervisor import CameraSupervisor
from edgepose.config.schema import ViewConfig
from edgepose.daemon.observers import Observers
from edgepose.daemon.pipeline import POSE_QUEUE, Pipeline, PipelineTiming
from edgepose.errors import BrokerError, CameraError
from edgepose.geometry.masks import Masks
from edgepose.inference.viewer import Viewer
from edgepose.protocol.messages import Keypoint, Settings
from edgepose.system.clock import boot_id, boot_us
from edgepose.system.mailbox import Mailbox
from edgepose.system.reporter import Reporter
from edgepose.system.rolling_stats import RECENT, RollingStats
from edgepose.types import Frame, Pose


def new_pipeline(camera: Any, estimator: Any, delivery: Any, reporter: Reporter | None = None, **more: Any) -> Pipeline:
    return Pipeline(camera, estimator, delivery, "cage-07", reporter=reporter or Reporter(), **more)


def supervised(source: FakeCamera) -> CameraSupervisor:
    """The source as the daemon reads it: in a thread of its own, which displaces frames of a live source."""
    return CameraSupervisor(lambda: source, reporter=Reporter())


def run(camera: Any, estimator: FakeEstimator, delivery: ListDelivery) -> Pipeline:
    pipeline = new_pipeline(camera, estimator, delivery)
    pipeline.run(threading.Event())
    return pipeline


def test_a_file_that_waits_loses_no_frame() -> None:
    delivery, source = ListDelivery(), FakeCamera(200)
    camera = supervised(source)
    pipeline = run(camera, FakeEstimator(), delivery)
    assert [message.frame for message in delivery.messages] == list(range(200))
    assert [message.animals[0].keypoints["snout"].x for message in delivery.messages] == list(range(200))
    assert (camera.captured, pipeline.poses) == (200, 200)
    assert camera.displaced + sum(pipeline.skipped.values()) + sum(pipeline.dropped.values()) == 0
    assert source.closed


def test_a_live_camera_skips_to_the_newest_frame_and_counts_the_rest() -> None:
    """A frame waits in one place only: while the model is at work, all frames but the newest make way."""
    gate, delivery = threading.Event(), ListDelivery()
    camera = supervised(FakeCamera(50, live=True, period_s=0.001))
    pipeline = new_pipeline(camera, FakeEstimator(gate), delivery)
    thread = threading.Thread(target=pipeline.run, args=(threading.Event(),))
    thread.start()
    wait_until(lambda: camera.captured == 50, "the camera to end")
    gate.set()
    thread.join(10)
    assert delivery.messages[-1].frame == 49
    assert len(delivery.messages) == 2  # the one at work when the gate was shut, and the newest
    assert camera.captured == pipeline.poses + camera.displaced + sum(pipeline.skipped.values())


def test_a_full_delivery_costs_a_live_camera_its_oldest_poses_and_counts_them() -> None:
    gate = threading.Event()
    delivery = ListDelivery(gate)
    camera = FakeCamera(POSE_QUEUE + 100, live=True, period_s=0.001)
    pipeline = new_pipeline(camera, FakeEstimator(), delivery)
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
    pipeline = new_pipeline(FakeCamera(POSE_QUEUE * 3), FakeEstimator(), delivery)
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
    pipeline = new_pipeline(camera, FakeEstimator(error=estimator_error), ListDelivery(error=delivery_error))
    error = camera_error or estimator_error or delivery_error
    assert error is not None
    with pytest.raises(type(error), match=str(error)):
        pipeline.run(threading.Event())
    assert camera.closed


@pytest.mark.parametrize("stage", ["_infer", "_publish"])
def test_a_failure_is_raised_however_late_its_thread_notes_it(stage: str) -> None:
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
    source = FakeCamera(10**9, period_s=0.001)
    camera = supervised(source)
    pipeline = new_pipeline(camera, FakeEstimator(), delivery)
    thread = threading.Thread(target=pipeline.run, args=(stop,))
    thread.start()
    wait_until(lambda: len(delivery.messages) > 5, "some poses")
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert source.closed
    assert [message.frame for message in delivery.messages] == list(range(pipeline.poses))
    assert camera.captured == pipeline.poses + camera.displaced


def test_stop_does_not_wait_for_a_camera_that_hangs() -> None:
    stop, release = threading.Event(), threading.Event()

    class Stuck(FakeCamera):
        """Hangs at its second frame."""

        def read(self) -> Frame | None:
            if self._index:
                release.wait(20)
            return super().read()

    camera, timing = supervised(Stuck(9, live=True)), PipelineTiming(stop_s=0.05)
    pipeline = new_pipeline(camera, FakeEstimator(), ListDelivery(), timing=timing)
    stop.set()
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


def test_rolling_stats_keep_the_last_values_and_know_their_rate() -> None:
    recent = RollingStats()
    assert recent.percentiles() == (0, 0, 0)
    assert recent.per_second(1.0) == 0
    for i in range(RECENT * 2):
        recent.add(i / 10)
    assert recent.percentiles()[0] == pytest.approx((RECENT * 1.5 - 0.5) / 10)
    assert recent.per_second(RECENT * 2 / 10) == pytest.approx(10, rel=0.01)


def test_a_closed_mailbox_gives_what_it_holds_and_takes_no_more() -> None:
    mailbox = Mailbox[int](2, newest_wins=True)
    assert [mailbox.put(i) for i in range(3)] == [True] * 3
    mailbox.close()
    assert not mailbox.put(9)
    assert [mailbox.get(), mailbox.get(), mailbox.get()] == [1, 2, None]
    assert mailbox.displaced == 1


# --- what commands use --------------------------------------------------------------------------------


@pytest.fixture
def running() -> Iterator[Callable[..., Pipeline]]:
    """running(camera, estimator, delivery) runs a pipeline until the test ends."""
    stop, threads = threading.Event(), []

    def start(
        camera: FakeCamera, estimator: Any = None, delivery: Any = None, reporter: Reporter | None = None
    ) -> Pipeline:
        pipeline = new_pipeline(camera, estimator or FakeEstimator(), delivery or ListDelivery(), reporter)
        threads.append(threading.Thread(target=pipeline.run, args=(stop,)))
        threads[-1].start()
        return pipeline

    yield start
    stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def wait_aside(pipeline: Pipeline, seen: list[Any], seconds: float = 10.0) -> threading.Thread:
    thread = threading.Thread(target=lambda: seen.append(pipeline.preview.wait(seconds)))
    thread.start()
    return thread


def test_all_who_wait_get_a_frame_with_its_own_pose(running: Callable[..., Pipeline]) -> None:
    pipeline, seen = running(FakeCamera(10**9, live=True, period_s=0.001)), []
    for thread in [wait_aside(pipeline, seen) for _ in range(50)]:
        thread.join(10)
    assert len(seen) == 50
    assert all(pose.xy_px[0, 0] == frame.index for frame, pose in seen)
    assert not pipeline.preview.wanted


def test_without_a_pose_there_is_no_frame_in_time(running: Callable[..., Pipeline]) -> None:
    gate = threading.Event()
    pipeline = running(FakeCamera(10**9, live=True, period_s=0.001), FakeEstimator(gate))
    assert pipeline.preview.wait(0.05) is None
    gate.set()
    assert pipeline.preview.wait(10) is not None


def test_nobody_waits_for_a_frame_of_a_pipeline_that_ends() -> None:
    gate, stop, seen = threading.Event(), threading.Event(), []
    pipeline = new_pipeline(FakeCamera(1), FakeEstimator(), ListDelivery(gate))
    runner = threading.Thread(target=pipeline.run, args=(stop,))
    runner.start()
    wait_until(lambda: pipeline.poses == 1, "the only frame")
    waiting = wait_aside(pipeline, seen, seconds=600)
    wait_until(lambda: pipeline.preview.wanted, "somebody to wait")
    gate.set()
    waiting.join(10)
    runner.join(10)
    assert seen == [None]
    assert pipeline.preview.wait(600) is None


def test_a_low_rate_publishes_less_and_the_preview_still_has_every_frame(running: Callable[..., Pipeline]) -> None:
    delivery = ListDelivery()
    pipeline = running(FakeCamera(10**9, live=True, period_s=0.001), None, delivery)
    pipeline.settings = Settings(rate_hz=0.001)
    wait_until(lambda: pipeline.skipped["rate"] > 100, "frames to be left out")
    poses = pipeline.poses
    assert pipeline.preview.wait(10) is not None
    assert pipeline.preview.wait(10) is not None
    assert pipeline.poses == poses
    pipeline.settings = Settings(rate_hz=1000)
    wait_until(lambda: pipeline.poses > poses + 20, "the new rate, at once")
    seqs = [message.seq for message in delivery.messages]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def test_a_file_that_waits_is_published_whole_at_any_rate() -> None:
    delivery = ListDelivery()
    pipeline = new_pipeline(FakeCamera(50), FakeEstimator(), delivery, settings=Settings(rate_hz=0.001))
    pipeline.run(threading.Event())
    assert len(delivery.messages) == 50


class Bright(FakeEstimator):
    """Finds the one bright pixel, and keeps the sizes of the pictures that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.model = SimpleNamespace(id=self.model_id)
        self.sizes: list[tuple[int, int]] = []

    def estimate(self, frame: Frame, region: object = None) -> Pose:
        self.sizes.append(frame.size_wh)
        y, x = np.unravel_index(frame.image[..., 0].argmax(), frame.image.shape[:2])
        return Pose(np.array([[x, y], [0, 0]], np.float32), np.array([0.9, 0.2], np.float32))


class Lit(FakeCamera):
    """A camera whose frames have one bright pixel, at (40, 30)."""

    def read(self) -> Frame | None:
        frame = super().read()
        if frame is not None:
            frame.image[30, 40] = 255
        return frame


def test_poses_of_a_region_are_in_the_frames_pixels() -> None:
    delivery, estimator, reporter = ListDelivery(), Bright(), Reporter()
    pipeline = new_pipeline(Lit(3), Viewer(estimator, ViewConfig()), delivery, reporter)
    pipeline.settings = Settings(region=(32, 20, 32, 28), min_score=0.5)
    pipeline.run(threading.Event())
    assert estimator.sizes == [(32, 28)] * 3
    assert [message.size_wh for message in delivery.messages] == [SIZE_WH] * 3
    found = [animal.keypoints for message in delivery.messages for animal in message.animals]
    assert found == [{"snout": Keypoint(40.0, 30.0, 0.9)}] * 3
    assert reporter.alerts == {}


@pytest.mark.parametrize(("least", "animals"), [(0.0, 3), (0.55, 3), (0.56, 0)])
def test_an_animal_below_the_least_score_is_left_out_of_the_messages(least: float, animals: int) -> None:
    """Its score is the mean of all keypoints' scores, also of those that `min_score` leaves out."""
    delivery = ListDelivery()
    pipeline = new_pipeline(Lit(3), Viewer(Bright(), ViewConfig()), delivery, min_animal_score=least)
    pipeline.settings = Settings(min_score=0.5)
    pipeline.run(threading.Event())
    assert len(delivery.messages) == 3
    found = [animal for message in delivery.messages for animal in message.animals]
    assert [(one.id, one.id_score, one.score, list(one.keypoints)) for one in found] == [
        ("1", 1.0, 0.55, ["snout"])
    ] * animals


def test_a_message_has_the_monotonic_time_of_its_frame() -> None:
    delivery, begin_us = ListDelivery(), time.monotonic_ns() // 1000
    new_pipeline(FakeCamera(3), FakeEstimator(), delivery).run(threading.Event())
    times = [message.mono_us for message in delivery.messages]
    assert begin_us <= times[0] <= times[1] <= times[2] <= time.monotonic_ns() // 1000


def test_a_region_outside_the_frame_is_an_alert_and_not_used(running: Callable[..., Pipeline]) -> None:
    estimator, reporter = Bright(), Reporter()
    pipeline = running(Lit(10**9, live=True, period_s=0.001), Viewer(estimator, ViewConfig()), reporter=reporter)
    pipeline.settings = Settings(region=(32, 20, 32, 29))
    wait_until(lambda: reporter.alerts, "the alert")
    assert "[32, 20, 32, 29] is not within the 64x48 frame" in reporter.alerts["region"]
    assert set(estimator.sizes) == {SIZE_WH}
    pipeline.settings = Settings(region=(32, 20, 32, 28))
    wait_until(lambda: not reporter.alerts, "it to pass")
    wait_until(lambda: estimator.sizes[-1] == (32, 28), "the region")


def test_an_alert_about_an_observer_ends_when_the_observer_works_again() -> None:
    def unsteady(frame: Frame) -> None:
        if frame.index in (3, 4):
            raise ValueError(f"frame {frame.index}")

    reporter, delivery = ListReporter(), ListDelivery()
    observers = Observers(on_frame=[unsteady], reporter=reporter)
    camera = CameraSupervisor(lambda: FakeCamera(9), on_frame=observers.captured, reporter=reporter)
    new_pipeline(camera, FakeEstimator(), delivery, reporter, observers=observers).run(threading.Event())
    assert len(delivery.messages) == 9
    assert reporter.kinds == ["alert"]
    assert "unsteady fails (ValueError: frame 3)" in reporter.events[0][1]
    assert reporter.alerts == {}


def test_an_observer_that_fails_at_each_pose_stays_an_alert_and_poses_go_on() -> None:
    def broken(frame: Frame) -> None:
        raise ValueError("no")

    reporter, delivery = Reporter(), ListDelivery()
    # It is called with one argument more, which raises TypeError.
    observers = Observers([broken], reporter=reporter)  # type: ignore[list-item]
    new_pipeline(FakeCamera(5), FakeEstimator(), delivery, reporter, observers=observers).run(threading.Event())
    assert len(delivery.messages) == 5
    assert len(reporter.alerts) == 1


def test_masks_are_burned_in_before_anybody_has_the_frame() -> None:
    class White(FakeCamera):
        def read(self) -> Frame | None:
            frame = super().read()
            if frame is not None:
                frame.image[:] = 255
            return frame

    seen: list[int] = []
    camera = CameraSupervisor(
        lambda: White(3),
        masks=Masks({"door": [(10, 10), (30, 10), (30, 30), (10, 30)]}),
        on_frame=lambda frame: seen.append(int(frame.image[20, 20].max())),
        reporter=Reporter(),
    )
    while (frame := camera.read()) is not None:
        assert frame.image[20, 20].tolist() == [0, 0, 0]
        assert frame.image[40, 40].tolist() == [255, 255, 255]
    camera.close()
    assert seen == [0, 0, 0]
