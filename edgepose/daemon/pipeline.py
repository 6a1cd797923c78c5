"""Runs the loop of the daemon: receive a frame, infer its pose, publish it.

The model has a thread, since the interpreter releases the GIL while it works, and publishing has another one. The
camera's own thread is in `camera.reader`. A live camera does not wait: where the next stage is busy, the oldest item
makes way for the newest and is counted. A video file waits, so that every frame is processed. Either way nothing is
lost without a number that says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgepose.camera.base import Camera
from edgepose.config.geometry_files import read_ground
from edgepose.config.schema import GeometryConfig
from edgepose.daemon.observers import Observers
from edgepose.daemon.preview import Preview
from edgepose.geometry.coordinates import lies_within
from edgepose.geometry.ground import Ground
from edgepose.inference.viewer import RegionEstimator
from edgepose.protocol.codec import animals_of, keypoints_of
from edgepose.protocol.messages import PoseMessage, Region, Settings
from edgepose.system.clock import SyncFlag, boot_id, boot_us
from edgepose.system.mailbox import Mailbox
from edgepose.system.rate_limiter import RateLimiter
from edgepose.system.reporter import Reporter
from edgepose.system.rolling_stats import RollingStats
from edgepose.types import F64, Frame, Pose

POSE_QUEUE = 64  # poses that may wait for a delivery that is full: two seconds at 30 poses a second


@dataclass(frozen=True, slots=True)
class PipelineTiming:
    """Sets how long the pipeline waits, in seconds.

    Attributes:
        idle_s: the publishing thread shows that it is alive at least this often, also without a pose.
        stop_s: time at a stop for the frame that is being waited for, and then for each thread to end.
    """

    idle_s: float = 1.0
    stop_s: float = 2.0


class PoseDelivery(Protocol):
    """Takes poses, such as a spool, a client, or the list of a test."""

    def deliver(self, message: PoseMessage) -> None:
        """Takes charge of one pose. May wait while its own store is full; never loses a pose silently."""


@dataclass(frozen=True, slots=True)
class _PublishedPose:
    """A pose on its way out. It has only the numbers of its frame, so that the memory of the picture is free again."""

    seq: int
    frame: int
    captured_mono_ns: int
    latency_from_ns: int
    captured_us: int
    size_wh: tuple[int, int]
    model: str
    pose: Pose


class Pipeline:
    """Makes poses of frames and delivers them. It runs once.

    `seq` begins at the microseconds since boot and counts poses by one. Nobody makes a million poses a second, so a
    later start in the same boot begins above all earlier ones and (device, boot, seq) never repeats, without a file
    that could be lost.

    Args:
        camera: where frames come from. The pipeline closes it.
        model: makes the poses.
        delivery: takes the poses.
        device: name of the device in the messages.
        observers: see each published pose with its frame.
        reporter: gets the alert `region`.
        settings: what commands have set before.
        geometry: None where poses are in pixels only.
        min_animal_score: an animal with a lower score is not in the messages.
        clock_error_us: returns the largest error that the wall clock may have, or None where that is not known.
        timing: how long to wait.

    Attributes:
        settings: may be replaced at any time.
        cool_hz: poses a second that the temperature of the board leaves room for; None: any number. May be replaced at
            any time.
        first_seq: `seq` of the first pose.
        poses: number of poses made.
        handed_over: number of poses that the delivery has taken.
        processed: number of frames that the model is done with.
        beats: grows while the publishing thread is alive.
        stages: time that each frame spent in a stage, milliseconds, by name of the stage.
        preview: gives a frame with its pose to whoever asks.
    """

    def __init__(  # noqa: PLR0913  what a frame passes on its way
        self,
        camera: Camera,
        model: RegionEstimator,
        delivery: PoseDelivery,
        device: str,
        observers: Observers | None = None,
        *,
        reporter: Reporter,
        settings: Settings = Settings(),
        geometry: GeometryConfig | None = None,
        min_animal_score: float = 0.0,
        clock_error_us: Callable[[], int | None] = lambda: None,
        timing: PipelineTiming = PipelineTiming(),
    ) -> None:
        self.settings = settings
        self.cool_hz: float | None = None
        self.first_seq = boot_us()
        self.poses = self.handed_over = self.processed = self.beats = 0
        self.stages = {"infer": RollingStats(), "publish": RollingStats()}
        self.preview = Preview()
        self.skeleton = model.card.skeleton
        self._camera, self._model, self._delivery = camera, model, delivery
        self._observers, self._reporter = observers or Observers(reporter=reporter), reporter
        self._device, self._boot = device, boot_id()
        self._geometry, self._min_animal_score, self._timing = geometry, min_animal_score, timing
        self._clock_error_us = clock_error_us
        self._ground: tuple[tuple[int, int], Ground] | None = None  # with the size of the frames that it holds for
        self._accepted = Mailbox[_PublishedPose](POSE_QUEUE, newest_wins=camera.live)
        self._limiter, self._beyond_rate = RateLimiter(), 0
        self._posed_s = RollingStats()
        self._ending, self._finished = threading.Event(), threading.Event()
        self._failure: BaseException | None = None

    @property
    def skipped(self) -> dict[str, int]:
        """Returns the number of frames of which the model made no pose, by reason."""
        return {"rate": self._beyond_rate}

    @property
    def dropped(self) -> dict[str, int]:
        """Returns the number of poses that were not delivered, by reason."""
        return {"delivery_full": self._accepted.displaced}

    def fps(self) -> float:
        """Returns the latest rate of poses, per second."""
        return self._posed_s.per_second(time.monotonic())

    def run(self, stop: threading.Event, on_tick: Callable[[], None] = lambda: None) -> None:
        """Returns when the camera ends, or `stop` is set, and every pose has been handed over; closes the camera.

        on_tick: called often. Raises what the first thread to fail raised, such as CameraError, and ConfigError where
        the geometry does not suit the frames.
        """
        loops = (self._infer, self._publish)
        threads = [threading.Thread(target=self._guard, args=(loop,), name=loop.__name__[1:]) for loop in loops]
        for thread in threads:
            thread.daemon = True  # a model that hangs must not keep the process alive
            thread.start()
        while not self._finished.wait(0.1):
            on_tick()
            if stop.is_set():
                self._ending.set()
                threads[0].join(self._timing.stop_s)
                self._camera.close()
        self._ending.set()
        for thread in threads:  # the thread that failed notes its failure last
            thread.join(self._timing.stop_s)
        if self._failure is not None:
            raise self._failure

    def _guard(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except BaseException as exc:  # `run` raises it again, in the main thread
            if self._failure is None:
                self._failure = exc

    def _infer(self) -> None:
        try:
            while not self._ending.is_set() and (frame := self._camera.read()) is not None:
                if not self._is_due():
                    self._beyond_rate += 1
                    if self.preview.wanted:
                        self._estimate(frame)
                elif not self._accept(frame, self._estimate(frame)):
                    return
                self.processed += 1
                del frame  # frees the memory of the picture while the next one is awaited
        finally:
            self._accepted.close()
            self._camera.close()

    def _publish(self) -> None:
        sync = SyncFlag()
        try:
            while (pose := self._next_pose()) is not None:
                begin = time.perf_counter()
                self._delivery.deliver(self._message(pose, sync.synced(), self._clock_error_us()))
                self.stages["publish"].add((time.perf_counter() - begin) * 1e3)
                self.handed_over += 1
        finally:
            self._accepted.close()
            self._finished.set()
            self.preview.close()

    def _is_due(self) -> bool:
        rates = [rate for rate in (self.settings.rate_hz, self.cool_hz) if rate is not None]
        rate_hz = min(rates, default=None)
        return rate_hz is None or not self._camera.live or self._limiter.take(rate_hz, time.monotonic())

    def _estimate(self, frame: Frame) -> Pose:
        begin = time.perf_counter()
        pose = self._model.estimate(frame, self._region(frame))
        self.stages["infer"].add((time.perf_counter() - begin) * 1e3)
        self.preview.show(frame, pose)
        return pose

    def _region(self, frame: Frame) -> Region | None:
        """Returns the region that a command has set, where it lies within the frame."""
        region, (w, h) = self.settings.region, frame.size_wh
        if region is None or lies_within(region, frame.size_wh):
            self._reporter.alert("region", None)
            return region
        text = f"{list(region)} is not within the {w}x{h} frame, so the whole frame is used; set another region"
        self._reporter.alert("region", text)
        return None

    def _accept(self, frame: Frame, pose: Pose) -> bool:
        """Gives the pose its number and passes it on; returns False when publishing has ended."""
        self._observers.posed(frame, pose)
        seq = self.first_seq + self.poses
        self.poses += 1
        self._posed_s.add(time.monotonic())
        times, model = (frame.captured_mono_ns, frame.latency_from_ns, frame.captured_us), self._model.model_id
        return self._accepted.put(_PublishedPose(seq, frame.index, *times, frame.size_wh, model, pose))

    def _next_pose(self) -> _PublishedPose | None:
        while True:
            self.beats += 1
            try:
                return self._accepted.get(self._timing.idle_s)
            except TimeoutError:
                continue

    def _message(self, item: _PublishedPose, synced: bool, clock_error_us: int | None) -> PoseMessage:
        keypoints = keypoints_of(item.pose, self.skeleton, self.settings.min_score, self._on_ground(item))
        return PoseMessage(
            device=self._device,
            boot=self._boot,
            seq=item.seq,
            frame=item.frame,
            t_us=item.captured_us,
            mono_us=item.captured_mono_ns // 1000,
            synced=synced,
            clock_error_us=clock_error_us,
            replay=False,
            latency_ms=round((time.monotonic_ns() - item.latency_from_ns) / 1e6, 2),
            model=item.model,
            size_wh=item.size_wh,
            animals=animals_of(item.pose, keypoints, self._min_animal_score),
        )

    def _on_ground(self, item: _PublishedPose) -> F64 | None:
        """Returns the keypoints in millimetres, (K, 2); None without a geometry."""
        if self._geometry is None:
            return None
        if self._ground is None or self._ground[0] != item.size_wh:
            self._ground = item.size_wh, read_ground(self._geometry, item.size_wh)
        return self._ground[1].to_mm(item.pose.xy_px)
