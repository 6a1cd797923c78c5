"""The thread behind the recorder: what was written goes onto the disk each second, segments get their names, those
left open by a kill are repaired, and the oldest make room."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from edgepose.recording.segments import PART, REPAIRS, Name, Segment, name_of, repair_segment
from edgepose.system.clock import SyncFlag

log = logging.getLogger(__name__)

SYNC_S = 1.0  # what a power cut costs, and as much again for the fragment that is being written
TIDY_S = 5.0
REPAIR_S = 60.0  # between attempts
_STAMP = "%Y%m%dT%H%M%S"
_LEAST_FREE, _LEAST_FREE_SHARE = 500e6, 0.05  # of the file system, for everything else that has to go on
_STOP_S = 5.0


def room(folder: Path) -> float:
    """Bytes that may be written there; negative where too little is left. Raises OSError."""
    usage = shutil.disk_usage(folder)
    return usage.free - min(_LEAST_FREE, _LEAST_FREE_SHARE * usage.total)


class Retention:
    """segments, mb: what is there. full: there is no room, and nothing left to be removed. tell(kind, text, count):
    events. Two daemons never share a folder."""

    def __init__(self, folder: Path, max_bytes: float, max_age_s: float, tell: Callable[[str, str, int], None]) -> None:
        self.segments, self.mb, self.full = 0, 0.0, False
        self.alerts: dict[str, str] = {}
        self._folder, self._max_bytes, self._max_age_s, self._tell = folder, max_bytes, max_age_s, tell
        self._open: list[Segment] = []
        self._busy: set[Name] = set()
        self._sync = SyncFlag()
        self._stop = threading.Event()
        self._tidy_at = self._repair_at = 0.0
        self._thread = threading.Thread(target=self._work, name="recordings", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def reserve(self, name: Name) -> None:
        """Files of that name are about to be made, so they are no leftovers."""
        self._busy.add(name)

    def take(self, segment: Segment) -> None:
        """Cares for it from now on."""
        self._open.append(segment)

    def leave(self, name: Name) -> None:
        """It failed; what is there of it will be repaired."""
        for segment in tuple(self._open):
            if segment.name == name:
                self._open.remove(segment)
        self._busy.discard(name)

    def close(self) -> None:
        """Finishes what is complete, in bounded time."""
        self._stop.set()
        self._thread.join(_STOP_S)

    def _work(self) -> None:
        while not self._stop.wait(SYNC_S):
            self._attempt(self._round)
        self._attempt(self._finish)

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
            self.alerts.pop("recordings", None)
        except Exception as exc:  # whatever it is, the next round comes
            self._warn("recordings", f"{self._folder}: {getattr(exc, 'strerror', None) or exc}")

    def _warn(self, about: str, text: str) -> None:
        if self.alerts.get(about) != text:
            log.warning("%s", text)
        self.alerts[about] = text

    def _round(self) -> None:
        for segment in tuple(self._open):
            segment.sync()
        if self._finish() or time.monotonic() >= self._tidy_at:
            self._tidy()
            self._tidy_at = time.monotonic() + TIDY_S
        if time.monotonic() >= self._repair_at:
            self._repair_at = time.monotonic() + REPAIR_S
            self._repair()

    def _finish(self) -> bool:
        done = [segment for segment in tuple(self._open) if segment.complete]
        for segment in done:
            segment.finish()
            self.leave(segment.name)
            self.segments += 1
            self._tell("segment", f"{segment.name.stem}: {segment.rows} frames", segment.rows)
        return bool(done)

    def _repair(self) -> None:
        """All is tried, though the first may fail."""
        failed = ""
        for part in sorted(self._folder.glob(f"*{PART}")):
            name, suffix = name_of(part.name), Path(part.stem).suffix
            if name is None or name in self._busy:
                continue
            if suffix not in REPAIRS:
                if not any(part.with_name(f"{name.stem}{video}{PART}").exists() for video in REPAIRS):
                    part.unlink(missing_ok=True)  # its video never began, or was just repaired with it
                continue
            try:
                if room(self._folder) < part.stat().st_size:
                    failed = f"{part}: waits for room to be repaired"
                elif count := repair_segment(self._folder, part):
                    self._tell("segment", f"{name.stem}: {count} frames, cut off and repaired", count)
            except (OSError, ValueError, ImportError) as exc:
                failed = f"{part}: cannot be repaired ({exc})"
        if failed:
            self._warn("repair", failed)
        else:
            self.alerts.pop("repair", None)

    def _tidy(self) -> None:
        found: dict[Name, list[Path]] = defaultdict(list)
        for path in self._folder.iterdir():
            if name := name_of(path.name):
                found[name].append(path)
        sizes = {name: sum(_size(path) for path in paths) for name, paths in found.items()}
        oldest_first = sorted(name for name in found if name not in self._busy)
        self.segments = len(oldest_first)
        for name in oldest_first:
            if why := self._excess(name, sum(sizes.values())):
                for path in found[name]:
                    path.unlink(missing_ok=True)
                self._tell("segment_removed", f"{name.stem}: {why}", 1)
                del sizes[name]
                self.segments -= 1
        self.mb = round(sum(sizes.values()) / 1e6, 3)
        self._judge_room(sum(sizes.values()))

    def _excess(self, name: Name, total: int) -> str:
        """Why a segment has to go; empty when it has not. Ages are only known by synchronised clocks."""
        if total > self._max_bytes:
            return "max_gb"
        if room(self._folder) < 0:
            return "the disk is nearly full"
        limit = time.strftime(_STAMP, time.gmtime(time.time() - self._max_age_s))
        return "max_age_h" if name.synced and self._sync.synced() and name.stamp < limit else ""

    def _judge_room(self, total: int) -> None:
        """Only with a tenth of the reserve to spare it goes on, not at once again full."""
        free, usage = room(self._folder), shutil.disk_usage(self._folder)
        spare = 0.1 * min(_LEAST_FREE, _LEAST_FREE_SHARE * usage.total) if self.full else 0.0
        self.full = total > self._max_bytes or free < spare
        if self.full:
            self._warn(
                "recording", f"{self._folder}: no room, so nothing is recorded; make some, or lower record.max_gb"
            )
        else:
            self.alerts.pop("recording", None)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
