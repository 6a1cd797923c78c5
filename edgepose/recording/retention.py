"""Looks after recorded segments in a thread: puts what was written onto the disk, gives finished segments their names,
repairs those that a kill or a power cut left open, and removes the oldest where room is needed."""

from __future__ import annotations

import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgepose.recording.segments import PART, Segment, SegmentName, name_of, repair_segment
from edgepose.system.clock import SyncFlag
from edgepose.system.reporter import Reporter
from edgepose.video.h264 import SUFFIX

# An earlier version could write Motion JPEG, and repaired it itself after a power cut.
_OLD_PART = f".avi{PART}"
_STAMP = "%Y%m%dT%H%M%S"
# The room on the file system that is left for everything else: the smaller of the two.
_RESERVE_BYTES, _RESERVE_SHARE = 500e6, 0.05
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class RecordingTiming:
    """Sets how often the recording does what, and how much may wait.

    Attributes:
        sync_s: seconds between two syncs to the disk. A power cut costs so much, and as much again for the fragment
            that is being written.
        tidy_s: seconds between two checks of the quotas.
        repair_s: seconds between two attempts to repair what an earlier run left.
        retry_s: seconds until an encoder or a disk that failed is tried again.
        queue_bytes: pictures that may wait for the encoder; two seconds of 640x480 at 30 frames a second.
    """

    sync_s: float = 1.0
    tidy_s: float = 5.0
    repair_s: float = 60.0
    retry_s: float = 5.0
    queue_bytes: float = 64e6


def usable_bytes(folder: Path) -> float:
    """Returns how many bytes may be written to the folder's file system; negative where too little is left for
    everything else. Raises OSError."""
    usage = shutil.disk_usage(folder)
    return usage.free - _reserve(usage.total)


def _reserve(total: float) -> float:
    return min(_RESERVE_BYTES, _RESERVE_SHARE * total)


class Retention:
    """Looks after the segments in one folder, which no other daemon may use.

    Attributes:
        segments: how many are in the folder.
        mb: how large they are together, 10^6 bytes.
        full: True when there is no room, and nothing is left that could be removed.
    """

    def __init__(
        self, folder: Path, max_bytes: float, max_age_s: float, *, reporter: Reporter, timing: RecordingTiming
    ) -> None:
        self.segments, self.mb, self.full = 0, 0.0, False
        self._folder, self._max_bytes, self._max_age_s = folder, max_bytes, max_age_s
        self._reporter, self._timing = reporter, timing
        self._open: list[Segment] = []
        self._busy: set[SegmentName] = set()
        self._sync = SyncFlag()
        self._stop = threading.Event()
        self._tidy_at = self._repair_at = 0.0
        self._thread = threading.Thread(target=self._work, name="retention", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def reserve(self, name: SegmentName) -> None:
        """Keeps files of that name, which are about to be made, from being repaired or removed."""
        self._busy.add(name)

    def adopt(self, segment: Segment) -> None:
        """Syncs the segment from now on, and finishes it when it is complete."""
        self._open.append(segment)

    def release(self, name: SegmentName) -> None:
        """Lets go of a segment that failed or is finished. What a failed one left will be repaired."""
        for segment in tuple(self._open):
            if segment.name == name:
                self._open.remove(segment)
        self._busy.discard(name)

    def close(self) -> None:
        """Finishes the segments that are complete, in bounded time."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    def _work(self) -> None:
        while not self._stop.wait(self._timing.sync_s):
            self._attempt(self._round)
        self._attempt(self._finish)

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
            self._reporter.alert("recordings", None)
        except Exception as exc:  # the thread goes on whatever happens: the next round may succeed
            self._reporter.alert("recordings", f"{self._folder}: {getattr(exc, 'strerror', None) or exc}")

    def _round(self) -> None:
        for segment in tuple(self._open):
            segment.sync()
        now = time.monotonic()
        if self._finish() or now >= self._tidy_at:
            self._tidy()
            self._tidy_at = time.monotonic() + self._timing.tidy_s
        if now >= self._repair_at:
            self._repair_at = now + self._timing.repair_s
            self._repair()

    def _finish(self) -> bool:
        done = [segment for segment in tuple(self._open) if segment.complete]
        for segment in done:
            segment.finish()
            self.release(segment.name)
            self.segments += 1
            self._reporter.event("segment", f"{segment.name.stem}: {segment.rows} frames", segment.rows)
        return bool(done)

    def _repair(self) -> None:
        """Tries every leftover, also after one that could not be repaired."""
        failed = None
        old = sorted(path.name.removesuffix(_OLD_PART) for path in self._folder.glob(f"*{_OLD_PART}"))
        for part in sorted(self._folder.glob(f"*{PART}")):
            name = name_of(part.name)
            if name is None or name in self._busy or name.stem in old:
                continue
            if Path(part.stem).suffix != SUFFIX:
                if not part.with_name(f"{name.stem}{SUFFIX}{PART}").exists():
                    part.unlink(missing_ok=True)  # its video never began, or was just repaired with it
                continue
            try:
                if usable_bytes(self._folder) < part.stat().st_size:
                    failed = f"{part}: waits for room to be repaired"
                elif count := repair_segment(self._folder, part):
                    self._reporter.event("segment", f"{name.stem}: {count} frames, cut off and repaired", count)
            except (OSError, ValueError, ImportError) as exc:
                failed = f"{part}: cannot be repaired ({exc})"
        self._reporter.alert("repair", failed)
        text = f"{self._folder}: {len(old)} unfinished .avi of an earlier version, such as {old[0]}" if old else ""
        self._reporter.alert("unfinished_avi", f"{text}; it is not repaired or removed, move it away" if old else None)

    def _tidy(self) -> None:
        found: dict[SegmentName, list[Path]] = defaultdict(list)
        for path in self._folder.iterdir():
            if name := name_of(path.name):
                found[name].append(path)
        sizes = {name: sum(_size(path) for path in paths) for name, paths in found.items()}
        kept = self._busy | {name for name in found if any(p.name.endswith(_OLD_PART) for p in found[name])}
        oldest_first = sorted(name for name in found if name not in kept)
        self.segments = len(oldest_first)
        for name in oldest_first:
            if why := self._excess(name, sum(sizes.values())):
                for path in found[name]:
                    path.unlink(missing_ok=True)
                self._reporter.event("segment_removed", f"{name.stem}: {why}", 1)
                del sizes[name]
                self.segments -= 1
        self.mb = round(sum(sizes.values()) / 1e6, 3)
        self._judge_room(sum(sizes.values()))

    def _excess(self, name: SegmentName, total: int) -> str:
        """Returns why the segment has to go, and nothing where it may stay. An age is only known where the clock was
        synchronised then and is so now."""
        if total > self._max_bytes:
            return "max_gb"
        if usable_bytes(self._folder) < 0:
            return "the disk is nearly full"
        limit = time.strftime(_STAMP, time.gmtime(time.time() - self._max_age_s))
        return "max_age_h" if name.synced and self._sync.synced() and name.stamp < limit else ""

    def _judge_room(self, total: int) -> None:
        """Decides whether there is room.

        A recording that was stopped goes on only with a tenth of the reserve to spare, so that the disk is not full
        again at once.
        """
        free, usage = usable_bytes(self._folder), shutil.disk_usage(self._folder)
        spare = 0.1 * _reserve(usage.total) if self.full else 0.0
        self.full = total > self._max_bytes or free < spare
        text = f"{self._folder}: there is no room, so nothing is recorded; make room, or lower record.max_gb"
        self._reporter.alert("recording_room", text if self.full else None)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
