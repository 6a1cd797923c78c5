"""Takes every frame and its pose from the pipeline's threads, and never holds them up: what the encoder or the disk
does not manage in time is dropped, and counted."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from edgepose.config.schema import RecordConfig
from edgepose.recording import mjpeg
from edgepose.recording.retention import Retention
from edgepose.recording.schedule import RecordingSchedule
from edgepose.recording.segments import Segment, new_name
from edgepose.system.clock import SyncFlag
from edgepose.types import Frame, Pose, Skeleton
from edgepose.video import h264

log = logging.getLogger(__name__)

QUEUE_BYTES = 64e6  # of pictures that wait for the encoder: two seconds of 640x480 at 30 a second
_MOST_POSES = 10_000  # that wait with them
RETRY_S = 5.0  # between attempts with an encoder or a disk that failed
_RATE_S = 0.3  # of frames tell the rate, before the first segment begins
_RATE_FRAMES = 60
_POSE_WAIT_S = 10.0  # a frame that is older and has no pose will not get one
_QUOTA_SHARE = 0.25  # of max_gb: the largest segment, so that removing one does not remove all
_STOP_S = 5.0  # for what still waits when the daemon stops


@dataclass(frozen=True, slots=True)
class _Posed:
    index: int
    pose: Pose


@dataclass(frozen=True, slots=True)
class _Row:
    """A recorded frame whose pose is awaited."""

    index: int
    mono_ns: int
    segment: Segment


class Recorder:
    """frames: recorded since the start. scorer: of the tables of the next segment. dropped: by reason, of those that
    were to be recorded. tell: events.

    Never raises after construction."""

    def __init__(
        self,
        settings: RecordConfig,
        device: str,
        skeleton: Skeleton,
        scorer: str,
        tell: Callable[[str, str, int], None],
    ) -> None:
        self.frames = 0
        self.dropped: Counter[str] = Counter()
        self._folder, self._device = Path(settings.folder) / device, device
        self._skeleton, self.scorer, self._settings = skeleton, scorer, settings
        self._h264 = settings.codec == "h264" and h264.installed()
        self.keeper = Retention(self._folder, settings.max_gb * 1e9, settings.max_age_h * 3600, tell)
        self.when = RecordingSchedule(settings.when, self._folder / "marked")
        self._trouble = ""
        self._retry_at = 0.0
        self._sync = SyncFlag()
        self._synced = True
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

    @property
    def alerts(self) -> dict[str, str]:
        """What is wrong now, in words, by what it is about."""
        alerts = dict(self.keeper.alerts)
        if self._trouble:
            alerts["recording"] = self._trouble
        if self.when.by_clock and not self._synced:
            alerts["schedule"] = "the clock is not synchronised, and the recording follows it all the same"
        if self._settings.codec == "h264" and not self._h264:
            alerts["codec"] = "PyAV is not installed, so the recording is Motion JPEG; pip install 'edgepose[record]'"
        return alerts

    def start(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            self._trouble = f"{self._folder}: cannot be made ({exc.strerror})"
            log.warning("%s", self._trouble)
        self.keeper.start()
        self._thread.start()

    def captured(self, frame: Frame) -> None:
        """Called for each frame, before its pose."""
        with self._changed:
            if self._closing or self._queued_bytes > QUEUE_BYTES:
                self.dropped["slow"] += self.when.wants(frame.captured_us)
                return
            self._queued_bytes += _bytes(frame)
            self._queue.append(frame)
            self._changed.notify()

    def posed(self, frame: Frame, pose: Pose) -> None:
        with self._changed:
            if len(self._queue) < _MOST_POSES and not self._closing:
                self._queue.append(_Posed(frame.index, pose))
                self._changed.notify()

    def close(self) -> None:
        """Completes the open segment, in bounded time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
        self.keeper.close()

    def _next(self) -> Frame | _Posed | None:
        """None when closing and nothing waits."""
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
        except Exception as exc:  # a disk, an encoder, a picture: the next segment may fare better
            self._fail(exc)

    def _fail(self, exc: Exception) -> None:
        trouble = f"{self._folder}: nothing is recorded ({getattr(exc, 'strerror', None) or exc})"
        if trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble, self._retry_at = trouble, time.monotonic() + RETRY_S
        segments = {id(row.segment): row.segment for row in self._pending}
        if self._segment is not None:
            segments[id(self._segment)] = self._segment
        self._segment = None
        self._pending.clear()
        for segment in segments.values():
            segment.abandon()
            self.keeper.leave(segment.name)

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
        if not self.when.wants(item.captured_us):
            self._end_segment()
        elif self.keeper.full or time.monotonic() < self._retry_at:
            self._end_segment()
            self.dropped["disk"] += 1
        else:
            self._add(item)

    def _add(self, frame: Frame) -> None:
        self._synced = self._sync.synced()
        try:
            if self._segment is not None and self._is_over(self._segment, frame):
                self._end_segment()
            if self._segment is None:
                self._begin_segment(frame)
            assert self._segment is not None
            self._segment.add(frame, self._synced)
        except Exception:
            self.dropped["disk"] += 1
            raise
        self.frames += 1
        self._trouble = ""
        self._pending.append(_Row(frame.index, frame.captured_mono_ns, self._segment))
        late = frame.captured_mono_ns - _POSE_WAIT_S * 1e9
        self._give_up_poses(sum(row.mono_ns < late for row in self._pending) if self._pending[0].mono_ns < late else 0)

    def _is_over(self, segment: Segment, frame: Frame) -> bool:
        return (
            frame.captured_mono_ns - self._begin_ns >= self._settings.segment_s * 1e9
            or frame.size_wh != self._size_wh
            or segment.video.full
            or segment.video.bytes >= _QUOTA_SHARE * self._settings.max_gb * 1e9
        )

    def _begin_segment(self, frame: Frame) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = new_name(self._folder, self._device, frame.captured_us, self._synced)
        suffix, kind = (h264.SUFFIX, h264.H264Video) if self._h264 else (mjpeg.SUFFIX, mjpeg.MjpegVideo)
        rate = self._rate()
        self.keeper.reserve(name)
        try:
            self._segment = Segment(
                self._folder, name, suffix, lambda path: kind(path, frame.size_wh, rate), self._skeleton, self.scorer
            )
        except Exception:
            self.keeper.leave(name)
            raise
        self._begin_ns, self._size_wh = frame.captured_mono_ns, frame.size_wh
        self.keeper.take(self._segment)

    def _rate(self) -> Fraction:
        """Frames a second lately, to a tenth: what players show. The true times stand in the table."""
        span_ns = self._instants[-1] - self._instants[0]
        rate = (len(self._instants) - 1) * 1e9 / span_ns if span_ns > 0 else 30.0
        return Fraction(max(1, min(10_000, round(rate * 10))), 10)

    def _end_segment(self) -> None:
        if self._segment is not None:
            segment = self._segment
            segment.close()
            self._segment = None

    def _add_pose(self, posed: _Posed) -> None:
        """Frames come in order, so those before it that have no pose will get none."""
        self._give_up_poses(sum(row.index < posed.index for row in self._pending))
        if self._pending and self._pending[0].index == posed.index:
            self._pending.popleft().segment.add_pose(posed.pose)

    def _give_up_poses(self, count: int) -> None:
        for _ in range(count):
            self._pending.popleft().segment.add_pose(None)


def _bytes(frame: Frame) -> int:
    return frame.image.nbytes + (frame.full.nbytes if frame.full is not None else 0)
