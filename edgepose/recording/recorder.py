"""Records every frame and its pose, and what the config asks to be kept on this device.

The pipeline's threads hand frames and poses over and never wait: what the encoder or the disk cannot take in time is
dropped and counted.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from edgepose.config.schema import Config, RecordConfig
from edgepose.errors import ConfigError, EdgeposeError
from edgepose.protocol.messages import Recorded
from edgepose.recording.hard_frames import HardFrames
from edgepose.recording.retention import RecordingTiming, Retention
from edgepose.recording.schedule import RecordingSchedule
from edgepose.recording.segments import Segment, new_name
from edgepose.system.clock import SyncFlag
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose, Skeleton
from edgepose.video import h264

_MAX_WAITING_POSES = 10_000
_RATE_S = 0.3  # seconds of frames from which the rate is estimated before the first segment begins
_RATE_FRAMES = 60
_POSE_WAIT_S = 10.0  # an older frame that has no pose will not get one
_QUOTA_SHARE = 0.25  # the largest segment, as a part of max_gb: removing one segment must not remove everything
_STOP_S = 5.0  # for the frames that still wait when the daemon stops


def require_encoder() -> None:
    """Raises ConfigError where the program that encodes the video is not installed."""
    try:
        h264.load_av()
    except EdgeposeError as exc:
        raise ConfigError(f"record: {exc}, or remove `record` from the config") from None


class Recording:
    """The parts that the config asks for: the recorder, the hard frames, both, or none.

    Where what the recorder needs is not installed, an alert says so and nothing is recorded: poses are worth more than
    a video.

    Attributes:
        on_frame: functions that get each frame.
        on_pose: functions that get each pose with its frame.
    """

    def __init__(self, config: Config, skeleton: Skeleton, scorer: str, *, reporter: Reporter) -> None:
        device = config.device_name()
        self._recorder = None
        try:
            if config.record:
                self._recorder = Recorder(config.record, device, skeleton, scorer, reporter=reporter)
        except ConfigError as exc:
            reporter.alert("recording", f"nothing is recorded: {exc}")
        self._hard_frames = (
            HardFrames(config.hard_frames, device, skeleton, scorer, reporter=reporter) if config.hard_frames else None
        )
        self._parts = [part for part in (self._recorder, self._hard_frames) if part is not None]
        self.on_frame = [self._recorder.captured] if self._recorder is not None else []
        self.on_pose = [part.posed for part in self._parts]

    def start(self) -> None:
        for part in self._parts:
            part.start()

    def close(self) -> None:
        """Returns in bounded time."""
        for part in self._parts:
            part.close()

    def use_model(self, scorer: str) -> None:
        """Names another model in the tables, from the next segment on. Its keypoints must be the same."""
        for part in self._parts:
            part.scorer = scorer

    def mark(self, phase: str) -> None:
        """Notes that an experiment begins (`start`) or ends (`stop`)."""
        if self._recorder is not None:
            self._recorder.schedule.mark(phase)

    def recorded(self) -> Recorded | None:
        """Returns the numbers for /health; None where nothing is kept on this device."""
        if not self._parts:
            return None
        recorder, retention = self._recorder, self._recorder.retention if self._recorder is not None else None
        return Recorded(
            on=recorder is not None and recorder.on,
            segments=retention.segments if retention is not None else 0,
            mb=retention.mb if retention is not None else 0.0,
            frames=recorder.frames if recorder is not None else 0,
            dropped=dict(recorder.dropped) if recorder is not None else {},
            uncertain=self._hard_frames.saved if self._hard_frames is not None else 0,
        )


@dataclass(frozen=True, slots=True)
class _Posed:
    index: int
    pose: Pose


@dataclass(frozen=True, slots=True)
class _Row:
    """A recorded frame that waits for its pose."""

    index: int
    mono_ns: int
    segment: Segment


class Recorder:
    """Writes frames and poses into segments, in a thread of its own. Raises ConfigError where PyAV is not installed;
    never raises after construction.

    Attributes:
        frames: recorded since the start.
        dropped: number of frames that should have been recorded and were not, by reason.
        scorer: the model's name in the tables of the next segment.
    """

    def __init__(  # noqa: PLR0913  they are what a table's header and a video need
        self,
        settings: RecordConfig,
        device: str,
        skeleton: Skeleton,
        scorer: str,
        *,
        reporter: Reporter,
        timing: RecordingTiming = RecordingTiming(),
    ) -> None:
        require_encoder()
        self.frames = 0
        self.dropped: Counter[str] = Counter()
        self._folder, self._device = Path(settings.folder) / device, device
        self._skeleton, self.scorer, self._settings = skeleton, scorer, settings
        self._reporter, self._timing = reporter, timing
        self.retention = Retention(
            self._folder, settings.max_gb * 1e9, settings.max_age_h * 3600, reporter=reporter, timing=timing
        )
        self.schedule = RecordingSchedule(settings.when, self._folder / "marked")
        self._retry_at = 0.0
        self._sync = SyncFlag()
        self._segment: Segment | None = None
        self._begin_ns, self._size_wh = 0, (0, 0)
        self._pending: deque[_Row] = deque()
        self._instants: deque[int] = deque(maxlen=_RATE_FRAMES)
        self._held: list[Frame | _Posed] | None = []  # until the rate is known
        self._changed = threading.Condition()
        self._queue: deque[Frame | _Posed] = deque()
        self._queued_bytes, self._closing = 0, False
        self._thread = threading.Thread(target=self._work, name="record", daemon=True)

    @property
    def on(self) -> bool:
        return self._segment is not None

    def start(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            self._reporter.alert("recording", f"{self._folder}: cannot be made ({exc.strerror})")
        self.retention.start()
        self._thread.start()

    def captured(self, frame: Frame) -> None:
        """Takes each frame, before its pose is known."""
        with self._changed:
            if self._closing or self._queued_bytes > self._timing.queue_bytes:
                self.dropped["slow"] += self.schedule.wants(frame.captured_us)
                return
            self._queued_bytes += _bytes(frame)
            self._queue.append(frame)
            self._changed.notify()

    def posed(self, frame: Frame, pose: Pose) -> None:
        """Takes the pose of a frame that `captured` was given before."""
        with self._changed:
            if len(self._queue) < _MAX_WAITING_POSES and not self._closing:
                self._queue.append(_Posed(frame.index, pose))
                self._changed.notify()

    def close(self) -> None:
        """Completes the open segment, in bounded time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
        self.retention.close()

    def _next(self) -> Frame | _Posed | None:
        """Returns None when the recorder is closing and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if not self._queue:
                return None
            item = self._queue.popleft()
            if isinstance(item, Frame):
                self._queued_bytes -= _bytes(item)
            return item

    def _work(self) -> None:
        while (item := self._next()) is not None:
            self._attempt(lambda item=item: self._take(item))  # type: ignore[misc]
        self._attempt(self._release_held)
        self._attempt(self._end_segment)
        self._attempt(lambda: self._give_up_poses(len(self._pending)))

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as exc:  # the disk, the encoder or a picture failed: the next segment may succeed
            self._fail(exc)

    def _fail(self, exc: Exception) -> None:
        reason = getattr(exc, "strerror", None) or exc
        self._reporter.alert("recording", f"{self._folder}: nothing is recorded ({reason})")
        self._retry_at = time.monotonic() + self._timing.retry_s
        segments = {id(row.segment): row.segment for row in self._pending}
        if self._segment is not None:
            segments[id(self._segment)] = self._segment
        self._segment = None
        self._pending.clear()
        for segment in segments.values():
            segment.abandon()
            self.retention.release(segment.name)

    def _take(self, item: Frame | _Posed) -> None:
        if isinstance(item, Frame):
            self._instants.append(item.captured_mono_ns)
        if self._held is None:
            self._handle(item)
        else:
            self._held.append(item)
            if self._instants and self._instants[-1] - self._instants[0] >= _RATE_S * 1e9:
                self._release_held()

    def _release_held(self) -> None:
        held, self._held = self._held or [], None
        for item in held:
            self._handle(item)

    def _handle(self, item: Frame | _Posed) -> None:
        if isinstance(item, _Posed):
            self._add_pose(item)
            return
        if not self.schedule.wants(item.captured_us):
            self._end_segment()
        elif self.retention.full or time.monotonic() < self._retry_at:
            self._end_segment()
            self.dropped["disk"] += 1
        else:
            self._add(item)

    def _add(self, frame: Frame) -> None:
        synced = self._sync.synced()
        unsure = self.schedule.by_clock and not synced
        text = "the clock is not synchronised, and the recording follows it all the same"
        self._reporter.alert("schedule", text if unsure else None)
        try:
            if self._segment is not None and self._is_over(self._segment, frame):
                self._end_segment()
            if self._segment is None:
                self._segment = self._begin_segment(frame, synced)
            self._segment.add(frame, synced)
        except Exception:
            self.dropped["disk"] += 1
            raise
        self.frames += 1
        self._reporter.alert("recording", None)
        self._pending.append(_Row(frame.index, frame.captured_mono_ns, self._segment))
        late = frame.captured_mono_ns - _POSE_WAIT_S * 1e9
        self._give_up_poses(sum(row.mono_ns < late for row in self._pending) if self._pending[0].mono_ns < late else 0)

    def _is_over(self, segment: Segment, frame: Frame) -> bool:
        return (
            frame.captured_mono_ns - self._begin_ns >= self._settings.segment_s * 1e9
            or frame.size_wh != self._size_wh
            or segment.video.bytes >= _QUOTA_SHARE * self._settings.max_gb * 1e9
        )

    def _begin_segment(self, frame: Frame, synced: bool) -> Segment:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = new_name(self._folder, self._device, frame.captured_us, synced)
        self.retention.reserve(name)
        try:
            segment = Segment(self._folder, name, frame.size_wh, self._rate(), self._skeleton, self.scorer)
        except Exception:
            self.retention.release(name)
            raise
        self._begin_ns, self._size_wh = frame.captured_mono_ns, frame.size_wh
        self.retention.adopt(segment)
        return segment

    def _rate(self) -> Fraction:
        """Returns the latest frames per second, rounded to a tenth. Players use it; the true times are in the table."""
        span_ns = self._instants[-1] - self._instants[0]
        rate = (len(self._instants) - 1) * 1e9 / span_ns if span_ns > 0 else 30.0
        return Fraction(max(1, min(10_000, round(rate * 10))), 10)

    def _end_segment(self) -> None:
        if self._segment is not None:
            segment = self._segment
            segment.close()
            self._segment = None

    def _add_pose(self, posed: _Posed) -> None:
        """Adds a pose. Poses come in the order of the frames, so earlier frames that have none will get none."""
        self._give_up_poses(sum(row.index < posed.index for row in self._pending))
        if self._pending and self._pending[0].index == posed.index:
            self._pending.popleft().segment.add_pose(posed.pose)

    def _give_up_poses(self, count: int) -> None:
        for _ in range(count):
            self._pending.popleft().segment.add_pose(None)


def _bytes(frame: Frame) -> int:
    return frame.image.nbytes + (frame.full.nbytes if frame.full is not None else 0)
