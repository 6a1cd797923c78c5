"""A folder of hours with its journal: what comes is safe at once, and becomes files when its hour has settled."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from edgepose.collect.columns import Table, tables_of
from edgepose.collect.deeplabcut import write_deeplabcut
from edgepose.collect.hours import hour_path, hours_in, read_hour, runs_in, write_hour
from edgepose.collect.journal import Arrival, Hour, Journal, hour_of
from edgepose.collect.reports import Gap, gaps_in, read_events, read_info, write_events, write_gaps, write_info
from edgepose.collect.streams import Run, Stream, runs_of
from edgepose.errors import EdgeposeError
from edgepose.protocol.messages import EventMessage, InfoMessage, PoseMessage
from edgepose.system.database import set_aside

log = logging.getLogger(__name__)

SETTLE_S = 60.0  # an hour is written when nothing has come of it for so long
LONGEST_S = 900.0  # and at the latest so long after its first pose
_LOOK_S = 1.0  # between two looks at what has settled
_MANY = 100  # files that take a while


class Archive:
    """also: DeepLabCut files beside the Parquet ones, by ending. shared: other collectors of a group have the rest, so
    that repeats, gaps and tags are settled only when all of it is merged.

    poses: accepted since the start; duplicates: that had come before. Raises EdgeposeError, as every method does, when
    the disk cannot be used."""

    def __init__(self, folder: Path, also: Collection[str] = (), *, shared: bool = False) -> None:
        self.poses = self.duplicates = 0
        self.streams: defaultdict[tuple[str, str], Stream] = defaultdict(Stream)
        self._folder, self._also, self._shared = folder, also, shared
        self._devices: set[str] = set()
        self._infos: dict[str, InfoMessage] = {}  # that wait for their file
        self._journal = Journal(folder / "journal.db")
        self._arrivals: dict[Hour, tuple[float, float]] = dict.fromkeys(self._journal.hours(), (0.0, 0.0))
        self._talkers = dict.fromkeys(self._journal.talkers(), 0.0)  # who has events or an info that waits, since when
        self._due: deque[tuple[str, int | None]] = deque()  # None: only its events
        self._look_at = self._write_at = 0.0
        self._gaps: list[Gap] | None = None
        if self._journal.is_new():
            self._journal.add_unknown(hours_in(folder))
        if not shared:
            self._recall()

    def _recall(self) -> None:
        """What has come before this start."""
        if unknown := self._journal.unknown():
            log.info("%s: reading %d files, to know what has come before", self._folder, len(unknown))
        for device, hour in unknown:
            table = self._read(hour_path(self._folder, device, hour), ["boot", "seq", "frame"])
            self._journal.learn(device, hour, [] if table is None else runs_in(table))
        for device, run in self._journal.written():
            self._know(device, run)
        for device, hour in self._arrivals:
            for run in runs_of(self._journal.poses(device, hour)):
                self._know(device, run)

    def _know(self, device: str, run: Run) -> int:
        return self.streams[device, run.boot].add(*run[1:])

    # --- what comes ------------------------------------------------------------------------------------------

    def accept(self, device: str, leaf: str, payload: bytes, poses: Sequence[PoseMessage]) -> list[Arrival]:
        """What there is to write of a message. poses: of the device, in it."""
        self._devices.add(device)
        new = len(poses) if self._shared else sum(self._know(device, run) for run in runs_of(poses))
        self.poses += new
        self.duplicates += len(poses) - new
        return [Arrival(device, hour, leaf, payload) for hour in {hour_of(pose) for pose in poses} if new]

    def write(self, arrivals: Iterable[Arrival], events: Iterable[EventMessage]) -> None:
        """On the disk when it returns."""
        self._journal.write(arrivals, events)
        now = time.monotonic()
        for device, hour, *_ in arrivals:
            self._arrivals[device, hour] = self._arrivals.get((device, hour), (now, now))[0], now
        for event in events:
            self._talkers.setdefault(event.device, now)

    def keep_info(self, info: InfoMessage) -> None:
        """For its file; the broker has it too."""
        self._infos[info.device] = info
        self._talkers[info.device] = 0.0

    # --- files -----------------------------------------------------------------------------------------------

    def write_due(self) -> float:
        """Writes one file if one is due. Returns the seconds after which it wants to be called again: half of the time
        is for receiving."""
        start = time.monotonic()
        if start < self._write_at:
            return self._write_at - start
        if not self._due and start >= self._look_at:
            self._look(start)
        if not self._due:
            return self._look_at - start
        self._write(*self._due.popleft())
        took = time.monotonic() - start
        self._write_at = start + 2 * took
        return took

    def _look(self, now: float) -> None:
        self._look_at, settled, late = now + _LOOK_S, now - SETTLE_S, now - LONGEST_S
        self._due.extend(key for key, (first, last) in self._arrivals.items() if last < settled or first < late)
        self._due.extend((device, None) for device, first in self._talkers.items() if first < settled)

    def finish(self) -> None:
        """Writes all that waits, and closes."""
        if len(self._arrivals) > _MANY:
            log.info("%s: writing %d files", self._folder, len(self._arrivals))
        for device in list(self._talkers):
            self._write(device, None)
        for device, hour in list(self._arrivals):
            self._write(device, hour)
        self.report()
        self._journal.close()

    def _write(self, device: str, hour: int | None) -> None:
        if hour is None:
            self._write_events(device)
        else:
            self.write_hour(device, hour)

    def write_hour(self, device: str, hour: int, more: Iterable[Table] = ()) -> None:
        """What waits of it, and what other files have."""
        if device in self._talkers:  # first, since they tell tags and columns
            self._write_events(device)
        path, info = hour_path(self._folder, device, hour), read_info(self._folder / device / "info.json")
        before = self._read(path)
        tables = [*more, *tables_of(self._journal.poses(device, hour))]
        if tables or before is not None:
            starts = [] if self._shared else [event for event in self._events(device) if event.kind == "started"]
            table = write_hour(path, before, tables, starts, info)
            write_deeplabcut(path, table, info, self._also)
            runs = None if self._shared else runs_in(table)
            for run in runs or ():
                self._know(device, run)
            self._journal.settle(device, hour, runs)
        else:  # somebody has taken the file away, whose tags were to be corrected
            self._journal.forget_stale(device, hour)
        self._arrivals.pop((device, hour), None)

    def _write_events(self, device: str) -> None:
        """And its info. Hours that have a file already and whose tags a late start tells are to be written anew."""
        if (info := self._infos.pop(device, None)) and info != read_info(path := self._folder / device / "info.json"):
            write_info(path, info)
        known = {(event.boot, event.event): event for event in self._events(device)}
        came = {(event.boot, event.event): event for event in self._journal.events(device)}
        if new := [event for key, event in came.items() if key not in known]:
            events = [*known.values(), *new]
            stale = {hour for event in new for hour in self._changed_hours(event, events)}
            self._journal.add_stale(device, stale)  # before the file makes the events known
            self._arrivals.update(dict.fromkeys(((device, hour) for hour in stale), (0.0, 0.0)))
            write_events(self._folder / device / "events.csv", events)
        self._journal.events_written(device)
        self._talkers.pop(device, None)

    def _changed_hours(self, event: EventMessage, events: Iterable[EventMessage]) -> list[int]:
        """Hours with a file whose tags a start tells, that is, poses up to the next one."""
        if event.kind != "started":
            return []
        others = [other.seq for other in events if (other.boot, other.kind) == (event.boot, event.kind)]
        end = min((seq for seq in others if seq > event.seq), default=2**63 - 1)
        return self._journal.overlapping(event.device, event.boot, event.seq, end)

    def report(self) -> None:
        """Tells in a file what is missing."""
        gaps = gaps_in(self.streams)
        if not self._shared and gaps != self._gaps:
            write_gaps(self._folder / "gaps.csv", gaps)
            self._gaps = gaps

    def summary(self) -> str:
        """Of what has come since the start, and of what is missing at all."""
        came = f"{len({device for device, _ in self.streams} | self._devices)} devices, {self.poses} poses"
        if self._shared:
            return f"{came}; `edgepose collect merge` finds what came twice or is missing"
        return f"{came}, {self.duplicates} came twice, {sum(gap[-1] for gap in gaps_in(self.streams))} missing"

    # --- reading ---------------------------------------------------------------------------------------------

    def _read(self, path: Path, columns: list[str] | None = None) -> Table | None:
        """None where there is no file. A damaged one is set aside: one file must not stop a fleet."""
        try:
            return read_hour(path, columns) if path.exists() else None
        except EdgeposeError as exc:
            _set_aside(path, exc)
            return None

    def _events(self, device: str) -> list[EventMessage]:
        """That lie in the device's file; a damaged one is set aside."""
        path = self._folder / device / "events.csv"
        try:
            return read_events(path)
        except EdgeposeError as exc:
            _set_aside(path, exc)
            return []


def _set_aside(path: Path, exc: EdgeposeError) -> None:
    set_aside(path, str(exc).removeprefix(f"{path}: ").removesuffix("; move it away"))
