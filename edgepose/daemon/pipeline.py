"""The loop: capture | infer | publish, one thread each (the interpreter releases the GIL while it works).

A live camera does not wait, so between its stages the oldest item makes way for the newest and is counted. A
video file does wait, so every frame is processed. Either way nothing is lost without a number that says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgepose.config.geometry_files import read_ground
from edgepose.config.schema import GeometryConfig
from edgepose.geometry.coordinates import lies_within
from edgepose.geometry.ground import Ground
from edgepose.inference.viewer import RegionEstimator
from edgepose.protocol.codec import keypoints_of
from edgepose.protocol.messages import PoseMessage, Region, Settings
from edgepose.system.clock import SyncFlag, boot_id, boot_us
from edgepose.system.mailbox import Mailbox
from edgepose.system.rate_limiter import RateLimiter
from edgepose.system.reporter import Reporter
from edgepose.system.rolling_stats import RollingStats
from edgepose.types import F64, Frame, Pose

IDLE_S = 1.0  # without a pose to hand over: the thread is alive all the same
POSE_QUEUE = 64  # poses waiting for a delivery that is full: two seconds at 30 poses a second
STOP_GRACE_S = 2.0  # for a camera that is waiting for a frame when everybody is told to stop


class Camera(Protocol):
    """live: frames come at their own pace and a late one is skipped; otherwise every frame waits its turn."""

    live: bool

    def read(self) -> Frame | None:
        """The next frame, waiting for it; None at the end. Raises CameraError."""

    def close(self) -> None: ...


class Delivery(Protocol):
    """Where accepted poses go. The one method is all a spool, a client or a test needs to have."""

    def deliver(self, message: PoseMessage) -> None:
        """Takes charge of one pose. May wait while its own store is full; never loses one silently."""


class Observer(Protocol):
    """Sees what passes, from the pipeline's own threads, so it must not wait; what it raises is an alert, no more."""

    def captured(self, frame: Frame) -> None:
        """Each frame, before a pose is made of it, or none."""

    def posed(self, frame: Frame, pose: Pose) -> None:
        """Each pose, in the order of the frames."""


@dataclass(frozen=True, slots=True)
class _Accepted:
    """A pose on its way out; of its frame only the numbers, so that the picture's memory is free again."""

    seq: int
    index: int
    captured_mono_ns: int
    captured_us: int
    size_wh: tuple[int, int]
    model: str
    pose: Pose


class Pipeline:
    """Runs once. `captured` and `poses` count; `looked_at` counts frames that the model is done with, `handed_over`
    poses, `beats` grows while the last thread is at work. `stages` holds each stage's milliseconds; `settings` and
    `cool_hz`, the poses a second that the board's heat leaves room for, may be replaced at any time, `geometry` before
    it runs; `alerts` says what is wrong now, by what it is about; `first_seq` is that of its first pose.

    `seq` starts at the microseconds since boot and counts poses by one. Nobody makes a million poses a second, so
    a later start in the same boot begins above all earlier ones and (device, boot, seq) never repeats, without a
    file that could be lost.
    """

    def __init__(  # noqa: PLR0913  what a frame passes on its way
        self,
        camera: Camera,
        viewer: RegionEstimator,
        delivery: Delivery,
        device: str,
        observers: Sequence[Observer] = (),
        *,
        reporter: Reporter,
    ) -> None:
        self.captured = self.looked_at = 0
        self.poses = self.handed_over = self.beats = 0
        self.settings = Settings()
        self.cool_hz: float | None = None
        self.geometry: GeometryConfig | None = None
        self.first_seq = boot_us()
        self.stages = {"capture": RollingStats(), "infer": RollingStats(), "publish": RollingStats()}
        self._camera, self._viewer, self._delivery = camera, viewer, delivery
        self._observers, self._reporter = observers, reporter
        self._device, self._boot = device, boot_id()
        self.skeleton = viewer.card.skeleton
        self._instants = RollingStats()
        self._frames = Mailbox[Frame](1, newest_wins=camera.live)
        self._ground: tuple[tuple[int, int], Ground] | None = None  # and the size of the frames it is of
        self._accepted = Mailbox[_Accepted](POSE_QUEUE, newest_wins=camera.live)
        self._ending = threading.Event()
        self._finished = threading.Event()
        self._failure: BaseException | None = None
        self._too_many = 0  # frames that rate_hz leaves out
        self._allowance = RateLimiter()
        self._looked = threading.Condition()
        self._lookers = self._shown = 0
        self._seen: tuple[Frame, Pose] | None = None

    @property
    def skipped(self) -> dict[str, int]:
        """Frames that no pose was made of, by reason."""
        return {"newer_frame": self._frames.displaced, "rate": self._too_many}

    @property
    def dropped(self) -> dict[str, int]:
        """Poses that were not delivered, by reason."""
        return {"delivery_full": self._accepted.displaced}

    def fps(self) -> float:
        """Poses a second, lately."""
        return self._instants.per_second(time.monotonic())

    def look(self, seconds: float) -> tuple[Frame, Pose] | None:
        """The next frame with its pose, whether `rate_hz` allows one or not; None when none comes in time, or no more
        at all."""
        with self._looked:
            last, self._lookers = self._shown, self._lookers + 1
            self._looked.wait_for(lambda: self._shown != last or self._finished.is_set(), seconds)
            seen = self._seen if self._shown != last else None
            self._lookers -= 1
            if not self._lookers:
                self._seen = None  # the picture's memory
            return seen

    def run(self, stop: threading.Event, on_tick: Callable[[], None] = lambda: None) -> None:
        """Returns when the camera ends or `stop` is set and every pose made has been handed over; closes the camera.
        on_tick: called often. Raises what the first thread to fail raised, ConfigError where the geometry does not suit
        the frames."""
        stages = (self._capture, self._infer, self._publish)
        threads = [threading.Thread(target=self._guard, args=(stage,), name=stage.__name__[1:]) for stage in stages]
        for thread in threads:
            thread.daemon = True  # a camera that hangs in the driver must not keep the process alive
            thread.start()
        while not self._finished.wait(0.1):
            on_tick()
            if stop.is_set():
                self._ending.set()
                threads[0].join(STOP_GRACE_S)
                self._frames.close()
        self._ending.set()
        for thread in threads:  # whoever failed says so last
            thread.join(STOP_GRACE_S)
        if self._failure is not None:
            raise self._failure

    def _guard(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as exc:  # raised again by run, in the main thread
            if self._failure is None:
                self._failure = exc

    def _capture(self) -> None:
        try:
            while not self._ending.is_set():
                start = time.perf_counter()
                frame = self._camera.read()
                if frame is None:
                    return
                self.stages["capture"].add((time.perf_counter() - start) * 1e3)
                self.captured += 1
                for observer in self._observers:
                    self._observe(observer.captured, frame)
                if not self._frames.put(frame):
                    return
        finally:
            self._frames.close()
            self._camera.close()

    def _infer(self) -> None:
        try:
            while (frame := self._frames.get()) is not None:
                due = self._is_due()
                self._too_many += not due
                self.looked_at += not due
                if not due and not self._lookers:
                    continue
                start = time.perf_counter()
                pose = self._viewer.estimate(frame, self._region(frame))
                self.stages["infer"].add((time.perf_counter() - start) * 1e3)
                self._show(frame, pose)
                if not due:
                    continue
                self.looked_at += 1
                for observer in self._observers:
                    self._observe(observer.posed, frame, pose)
                seq = self.first_seq + self.poses
                self.poses += 1
                self._instants.add(time.monotonic())
                times, model = (frame.captured_mono_ns, frame.captured_us), self._viewer.card.model_id()
                accepted = _Accepted(seq, frame.index, *times, frame.size_wh, model, pose)
                del frame  # the picture's memory, while the next one is awaited
                if not self._accepted.put(accepted):
                    return
        finally:
            self._frames.close()
            self._accepted.close()

    def _observe(self, see: Callable[..., None], *seen: object) -> None:
        name = getattr(see, "__qualname__", str(see))
        try:
            see(*seen)
        except Exception as exc:  # poses go on, whatever is wrong with a recording
            self._reporter.alert(f"observer {name}", f"{name} fails ({type(exc).__name__}: {exc})")
        else:
            self._reporter.alert(f"observer {name}", None)

    def _is_due(self) -> bool:
        rates = [rate for rate in (self.settings.rate_hz, self.cool_hz) if rate is not None]
        rate_hz = min(rates, default=None)
        return rate_hz is None or not self._camera.live or self._allowance.take(rate_hz, time.monotonic())

    def _region(self, frame: Frame) -> Region | None:
        """That a command has set, where it lies within the frame."""
        region, (w, h) = self.settings.region, frame.size_wh
        if region is None or lies_within(region, frame.size_wh):
            self._reporter.alert("region", None)
            return region
        text = f"{list(region)} is not within the {w}x{h} frame: looking at all of it; set another one"
        self._reporter.alert("region", text)
        return None

    def _show(self, frame: Frame, pose: Pose) -> None:
        """To whoever wants to look."""
        if self._lookers:
            with self._looked:
                self._seen, self._shown = (frame, pose), self._shown + 1
                self._looked.notify_all()

    def _publish(self) -> None:
        sync = SyncFlag()
        try:
            while True:
                self.beats += 1
                try:
                    item = self._accepted.get(IDLE_S)
                except TimeoutError:
                    continue
                if item is None:
                    return
                start = time.perf_counter()
                self._delivery.deliver(self._message(item, sync.synced()))
                self.stages["publish"].add((time.perf_counter() - start) * 1e3)
                self.handed_over += 1
        finally:
            self._accepted.close()
            self._finished.set()
            with self._looked:
                self._looked.notify_all()

    def _message(self, item: _Accepted, synced: bool) -> PoseMessage:
        return PoseMessage(
            device=self._device,
            boot=self._boot,
            seq=item.seq,
            frame=item.index,
            t_us=item.captured_us,
            synced=synced,
            replay=False,
            latency_ms=round((time.monotonic_ns() - item.captured_mono_ns) / 1e6, 2),
            model=item.model,
            size_wh=item.size_wh,
            keypoints=keypoints_of(item.pose, self.skeleton, self.settings.min_score, self._on_ground(item)),
        )

    def _on_ground(self, item: _Accepted) -> F64 | None:
        """Its keypoints in mm."""
        if self.geometry is None:
            return None
        if self._ground is None or self._ground[0] != item.size_wh:
            self._ground = item.size_wh, read_ground(self.geometry, item.size_wh)
        return self._ground[1].to_mm(item.pose.xy_px)
