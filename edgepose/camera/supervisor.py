"""Watches a source of frames and revives one that has stopped, so that a camera never freezes in silence.

It tries stronger and stronger steps: it flushes the stream, restarts it, opens the camera anew, and at last gives up,
so that the daemon ends and systemd starts it again. Only the time spent waiting for the source counts: a slow reader
of frames never makes the source look dead.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from edgepose.camera.base import Revivable, Source
from edgepose.camera.reader import FrameReader
from edgepose.errors import CameraError, EdgeposeError
from edgepose.geometry.masks import Masks
from edgepose.system.reporter import Reporter
from edgepose.system.rolling_stats import RollingStats
from edgepose.types import Frame

log = logging.getLogger(__name__)

SLOW_PERIODS = 3  # a camera may miss this many of its periods before it counts as stopped
FLUSH, RESTART, REOPEN = range(3)
_STEPS = (("camera_flush", "flushes"), ("camera_restart", "restarts"), ("camera_reopen", "reopens"))


@dataclass(frozen=True, slots=True)
class SupervisorTiming:
    """Sets how long the supervisor waits, and how often it tries.

    Attributes:
        stall_s: time without a frame after which a live source counts as stopped. A stall must be reported within 5 s,
            also on a busy machine.
        open_s: time for opening a source, up to its first frame.
        held_s: once frames have come for this long, a step has helped, and the next stall begins with the mildest step.
        close_s: a source that takes longer to close is left behind.
        longest_pause_s: longest pause between two openings.
        file_s: time for the disk or the network of a file to come back.
        most_openings: number of openings in a row without frames that lasted `held_s`.
        most_hanging: number of threads that may be left behind in a driver.
    """

    stall_s: float = 4.0
    open_s: float = 15.0
    held_s: float = 2.0
    close_s: float = 2.0
    longest_pause_s: float = 10.0
    file_s: float = 60.0
    most_openings: int = 10
    most_hanging: int = 8


class CameraSupervisor:
    """The camera that the pipeline sees.

    A source that is not live is never opened anew, since its frames would come twice: the supervisor waits for it, and
    then gives up.

    Args:
        open_source: opens the source.
        reporter: gets an event for each stall and each step, and the alert `camera`.
        masks: privacy masks, burned into each frame before anybody else has it.
        on_frame: called with each frame by the thread that reads the source, also with frames that the model will
            never see. It must not wait.
        timing: how long to wait.

    Attributes:
        live: as of the source.
        name: name of the source, where it has one.
        slow_s: longest time from frame to frame of a source that is slow by itself; 0 where the source does not say.
        counts: number of stalls, of steps taken and of recoveries since the start, by name.
        latency: time that the source took for each frame, milliseconds.

    Raises:
        CameraError: No first frame comes. What `open_source` raises is passed on.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        *,
        reporter: Reporter,
        masks: Masks | None = None,
        on_frame: Callable[[Frame], None] = lambda _: None,
        timing: SupervisorTiming = SupervisorTiming(),
    ) -> None:
        self.latency = RollingStats()
        self.counts = dict.fromkeys(("stalls", "flushes", "restarts", "reopens", "recovered", "abandoned"), 0)
        self._open_source, self._reporter, self._timing = open_source, reporter, timing
        self._masks, self._on_frame = masks, on_frame
        self._lock = threading.Lock()  # guards what `close` takes away: the reader and its source
        self._ended = threading.Event()
        self._earlier = self._earlier_displaced = 0  # number of frames of earlier readers
        self._hanging: list[threading.Thread] = []
        self._stalled = False
        self._next_step, self._openings = FLUSH, 0
        self._reader = self._new_reader(open_source)
        self._source: Source | None = None
        self._source = self._first_source()
        self.live, self.name = self._source.live, str(getattr(self._source, "name", ""))
        self.slow_s = _slow_s(self._source)
        self._limit_s = max(timing.stall_s, self.slow_s)
        self._since_s = self._last_s = time.monotonic()

    @property
    def captured(self) -> int:
        """Returns the number of frames that the source gave."""
        with self._lock:
            return self._earlier + self._reader.captured

    @property
    def displaced(self) -> int:
        """Returns the number of frames that made way for a newer one before anybody took them."""
        with self._lock:
            return self._earlier_displaced + self._reader.displaced

    def read(self) -> Frame | None:
        """Returns the next frame, of a live source the newest; None at the end and after `close`.

        `index` goes on counting when the source is opened anew. Raises CameraError when the supervisor gives up.
        """
        while True:
            try:
                frame = self._reader.take(self._limit_s)
            except TimeoutError as exc:
                self._on_silence(str(exc))
            except Exception as exc:  # drivers raise anything
                self._on_failure(_as_camera_error(exc))
            else:
                if frame is not None:
                    self._note_arrival()
                return frame

    def close(self) -> None:
        """Closes the source. Another thread may call it: a waiting `read` then returns None. Never hangs."""
        with self._lock:
            self._ended.set()
            source = self._reader.leave() or self._source
        if source is not None:
            _close_in_thread(source).join(self._timing.close_s)

    def _first_source(self) -> Source:
        reader, open_s = self._reader, self._timing.open_s
        if not reader.wait(open_s) and not (reader.source and reader.wait(_slow_s(reader.source))):
            self.close()
            raise CameraError(f"the camera gives no frame within {open_s:g} s; check its cable, and what else uses it")
        if reader.failure is not None:
            self.close()
            raise _as_camera_error(reader.failure)
        assert reader.source is not None
        return reader.source

    def _new_reader(self, begin: Callable[[], Source]) -> FrameReader:
        return FrameReader(begin, self._earlier, self._pass_on, self.latency)

    def _pass_on(self, frame: Frame) -> None:
        if self._masks is not None:
            self._masks.burn(frame)
        self._on_frame(frame)

    def _note_arrival(self) -> None:
        now = time.monotonic()
        if self._stalled:
            self._recovered(now)
        self._last_s = now

    def _on_silence(self, why: str) -> None:
        if self.live:
            self._begin_stall(why)
            self.counts["abandoned"] += self._reader.hangs
            self._take_step(why, FLUSH)
        elif self._stalled:
            self._give_up(why)
        else:
            self._begin_stall(why)
            self._limit_s = self._timing.file_s

    def _on_failure(self, error: EdgeposeError) -> None:
        """Takes a step: after a read that failed only opening anew can help, after a step that failed the next one."""
        if not self.live:
            raise error
        self._begin_stall(str(error))
        self._take_step(str(error), FLUSH if self._reader.source is None else REOPEN)

    def _begin_stall(self, why: str) -> None:
        self._reporter.alert("camera", why, event=False)
        if self._stalled:
            return
        self._stalled = True
        self.counts["stalls"] += 1
        if self._last_s - self._since_s >= self._timing.held_s:
            self._next_step, self._openings = FLUSH, 0
        self._reporter.event("camera_stalled", why)

    def _recovered(self, now: float) -> None:
        self._stalled, self._since_s = False, now
        self._limit_s = max(self._timing.stall_s, self.slow_s)
        self.counts["recovered"] += 1
        self._reporter.alert("camera", None)
        self._report("camera_recovered", f"frames again, {now - self._last_s:.1f} s after the last one")

    def _take_step(self, why: str, lowest: int) -> None:
        """Takes the next step, `lowest` or a stronger one, in a new reader."""
        source = self._reader.leave() or self._source
        self._hanging = [thread for thread in (*self._hanging, self._reader.thread) if thread.is_alive()]
        step = max(self._next_step, lowest)
        if step < REOPEN and isinstance(source, Revivable):
            begin = partial(_revived, source, source.flush if step == FLUSH else source.restart)
            self._limit_s = max(self._timing.stall_s, self.slow_s)
        else:
            step, begin = REOPEN, self._opening(source, why)
            self._limit_s = self._timing.open_s + self.slow_s
        self._next_step = min(step + 1, REOPEN)
        kind, count = _STEPS[step]
        with self._lock:
            if self._ended.is_set():
                return
            self._earlier += self._reader.captured
            self._earlier_displaced += self._reader.displaced
            self._source = None if step == REOPEN else source
            self._reader = self._new_reader(begin)
        self.counts[count] += 1
        self._report(kind, why)

    def _opening(self, source: Source | None, why: str) -> partial[Source]:
        """Lets go of the old source, pauses where opening did not help before, and returns what opens a new one."""
        closing = None if source is None else _close_in_thread(source)
        if closing is not None:
            self._hanging.append(closing)
        if self._openings == self._timing.most_openings or len(self._hanging) > self._timing.most_hanging:
            self._give_up(why)
        if self._openings:
            self._ended.wait(min(self._timing.longest_pause_s, 2.0 ** (self._openings - 1)))
        self._openings += 1
        return partial(_opened, self._open_source, closing, self._timing.close_s)

    def _give_up(self, why: str) -> NoReturn:
        seconds = time.monotonic() - self._last_s
        tried = f" and {self._openings} openings; check cable and power" if self.live else "; check disk and network"
        text = f"the camera is given up after {seconds:.0f} s{tried}; last: {why}"
        self._report("camera_lost", text)
        raise CameraError(text)

    def _report(self, kind: str, text: str) -> None:
        log.warning("%s: %s", kind.replace("_", " "), text)
        self._reporter.event(kind, text)


def _revived(source: Source, remedy: Callable[[], None]) -> Source:
    remedy()
    return source


def _opened(open_source: Callable[[], Source], closing: threading.Thread | None, close_s: float) -> Source:
    if closing is not None:
        closing.join(close_s)  # most devices have one user at a time
    return open_source()


def _close_in_thread(source: Source) -> threading.Thread:
    """Closes the source in a thread, because closing may hang."""
    thread = threading.Thread(target=_close, args=(source,), name="camera-close", daemon=True)
    thread.start()
    return thread


def _close(source: Source) -> None:
    with contextlib.suppress(Exception):
        source.close()


def _slow_s(source: Source) -> float:
    """Returns how many seconds a slow source may take from frame to frame; 0 where it does not say."""
    return SLOW_PERIODS / source.rate_hz if source.rate_hz else 0.0


def _as_camera_error(exc: Exception) -> EdgeposeError:
    if isinstance(exc, EdgeposeError):
        return exc
    return CameraError(f"the camera's driver failed ({type(exc).__name__}: {exc})")
