"""A camera that never freezes in silence: watches a source of frames, and revives one that has stopped.

The ladder: flush the stream, restart it, open the camera anew, give up, so that the daemon ends and systemd starts it
again. Only waiting for the source counts: whoever takes frames slowly never makes it look dead.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NoReturn

from edgepose.camera.base import Revivable, Source
from edgepose.camera.reader import Reader
from edgepose.errors import CameraError, EdgeposeError
from edgepose.types import Frame

log = logging.getLogger(__name__)

STALL_S = 4.0  # without a frame: told within 5 s, on a busy machine too
SLOW_PERIODS = 3  # or so many periods of a camera that is slower than that
OPEN_S = 15.0  # for opening, up to the first frame
HELD_S = 2.0  # frames for so long: a step has helped, and the next trouble begins with the mildest one again
CLOSE_S = 2.0  # a source that takes longer to close is left behind
LONGEST_PAUSE_S = 10.0  # between two openings
MOST_OPENINGS = 10  # one after the other, without frames that held
MOST_HANGING = 8  # threads left behind in a driver
FILE_S = 60.0  # for the disk or the network of a file to come back

FLUSH, RESTART, REOPEN = range(3)
_STEPS = (("camera_flush", "flushes"), ("camera_restart", "restarts"), ("camera_reopen", "reopens"))


class CameraSupervisor:
    """The camera that the pipeline sees. Raises what `open_source` raises, and CameraError when no first frame comes.

    live: as the source. name: of the source, where it has one. slow_s: how long a slow one may take from frame to
    frame. tell: called with kind and text of each event. counts: what happened since the start, by name. alerts: what
    is wrong now. displaced: frames that made way for a newer one before anybody took them. A source that is not live is
    never opened anew, since its frames would come twice: it is waited for, and given up.
    """

    def __init__(self, open_source: Callable[[], Source]) -> None:
        self.tell: Callable[[str, str], None] = lambda _kind, _text: None
        self.counts = dict.fromkeys(("stalls", "flushes", "restarts", "reopens", "recovered", "abandoned"), 0)
        self.alerts: dict[str, str] = {}
        self._open_source = open_source
        self._lock = threading.Lock()  # of what `close` takes away: the reader and its source
        self._ended = threading.Event()
        self._earlier = self._earlier_displaced = 0  # frames of earlier readers
        self._hanging: list[threading.Thread] = []
        self._trouble = False
        self._rung, self._openings = FLUSH, 0
        self._reader = Reader(open_source)
        self._source: Source | None = None
        self._source = self._first_source()
        self.live, self.name = self._source.live, str(getattr(self._source, "name", ""))
        self.slow_s = _slow_s(self._source)
        self._limit_s = max(STALL_S, self.slow_s)
        self._since_s = self._last_s = time.monotonic()

    @property
    def displaced(self) -> int:
        with self._lock:
            return self._earlier_displaced + self._reader.displaced

    def read(self) -> Frame | None:
        """The next frame, of a live source the newest; None at the end and after `close`. `index` goes on counting
        when the source is opened anew. Raises CameraError when it is given up."""
        while True:
            try:
                taken = self._reader.take(self._limit_s)
            except TimeoutError as exc:
                self._on_silence(str(exc))
            except Exception as exc:  # drivers raise anything
                self._on_failure(_told(exc))
            else:
                return None if taken is None else self._arrived(*taken)

    def close(self) -> None:
        """May be called by another thread: a waiting `read` then returns None. Never hangs."""
        with self._lock:
            self._ended.set()
            source = self._reader.leave() or self._source
        if source is not None:
            _closing(source).join(CLOSE_S)

    def _first_source(self) -> Source:
        reader = self._reader
        if not reader.wait(OPEN_S) and not (reader.source and reader.wait(_slow_s(reader.source))):
            self.close()
            raise CameraError(f"the camera gives no frame within {OPEN_S:g} s; check its cable, and what else uses it")
        if reader.failure is not None:
            self.close()
            raise _told(reader.failure)
        assert reader.source is not None
        return reader.source

    def _arrived(self, number: int, frame: Frame) -> Frame:
        now = time.monotonic()
        if self._trouble:
            self._recovered(now)
        self._last_s = now
        index = self._earlier + number
        return frame if frame.index == index else replace(frame, index=index)

    def _on_silence(self, why: str) -> None:
        if self.live:
            self._begin_trouble(why)
            self.counts["abandoned"] += self._reader.hangs
            self._climb(why, FLUSH)
        elif self._trouble:
            self._give_up(why)
        else:
            self._begin_trouble(why)
            self._limit_s = FILE_S

    def _on_failure(self, error: EdgeposeError) -> None:
        """Of a read: only opening anew can help. Of a step: the next one may."""
        if not self.live:
            raise error
        self._begin_trouble(str(error))
        self._climb(str(error), FLUSH if self._reader.source is None else REOPEN)

    def _begin_trouble(self, why: str) -> None:
        self.alerts["camera"] = why
        if self._trouble:
            return
        self._trouble = True
        self.counts["stalls"] += 1
        if self._last_s - self._since_s >= HELD_S:
            self._rung, self._openings = FLUSH, 0
        self._tell("camera_stalled", why)

    def _recovered(self, now: float) -> None:
        self._trouble, self._since_s = False, now
        self._limit_s = max(STALL_S, self.slow_s)
        self.counts["recovered"] += 1
        self.alerts.pop("camera", None)
        self._tell("camera_recovered", f"frames again, {now - self._last_s:.1f} s after the last one")

    def _climb(self, why: str, lowest: int) -> None:
        """Takes the next step of the ladder, `lowest` or a stronger one, in a reader of its own."""
        source = self._reader.leave() or self._source
        self._hanging = [thread for thread in (*self._hanging, self._reader.thread) if thread.is_alive()]
        rung = max(self._rung, lowest)
        if rung < REOPEN and isinstance(source, Revivable):
            begin = partial(_revived, source, source.flush if rung == FLUSH else source.restart)
            self._limit_s = max(STALL_S, self.slow_s)
        else:
            rung, begin = REOPEN, self._opening(source, why)
            self._limit_s = OPEN_S + self.slow_s
        self._rung = min(rung + 1, REOPEN)
        kind, count = _STEPS[rung]
        with self._lock:
            if self._ended.is_set():
                return
            self._earlier += self._reader.captured
            self._earlier_displaced += self._reader.displaced
            self._source = None if rung == REOPEN else source
            self._reader = Reader(begin)
        self.counts[count] += 1
        self._tell(kind, why)

    def _opening(self, source: Source | None, why: str) -> partial[Source]:
        """Lets go of the old source, waits where that did not help before, and says how to open a new one."""
        closing = None if source is None else _closing(source)
        if closing is not None:
            self._hanging.append(closing)
        if self._openings == MOST_OPENINGS or len(self._hanging) > MOST_HANGING:
            self._give_up(why)
        if self._openings:
            self._ended.wait(min(LONGEST_PAUSE_S, 2.0 ** (self._openings - 1)))
        self._openings += 1
        return partial(_opened, self._open_source, closing)

    def _give_up(self, why: str) -> NoReturn:
        seconds = time.monotonic() - self._last_s
        tried = f" and {self._openings} openings; check cable and power" if self.live else "; check disk and network"
        text = f"the camera is given up after {seconds:.0f} s{tried}; last: {why}"
        self._tell("camera_lost", text)
        raise CameraError(text)

    def _tell(self, kind: str, text: str) -> None:
        log.warning("%s: %s", kind.replace("_", " "), text)
        self.tell(kind, text)


def _revived(source: Source, remedy: Callable[[], None]) -> Source:
    remedy()
    return source


def _opened(open_source: Callable[[], Source], closing: threading.Thread | None) -> Source:
    if closing is not None:
        closing.join(CLOSE_S)  # most devices have one user at a time
    return open_source()


def _closing(source: Source) -> threading.Thread:
    """A thread that closes it: that may hang."""
    thread = threading.Thread(target=_close, args=(source,), name="camera-close", daemon=True)
    thread.start()
    return thread


def _close(source: Source) -> None:
    with contextlib.suppress(Exception):
        source.close()


def _slow_s(source: Source) -> float:
    """How long a source may take from frame to frame because it is slow; 0 where it does not say."""
    return SLOW_PERIODS / source.rate_hz if source.rate_hz else 0.0


def _told(exc: Exception) -> EdgeposeError:
    if isinstance(exc, EdgeposeError):
        return exc
    return CameraError(f"the camera's driver failed ({type(exc).__name__}: {exc})")
