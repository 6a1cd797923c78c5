"""Keeps a folder of hours with its journal.

What comes is on the disk at once, and in the file of its hour when that hour has settled.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepose.collect.columns import tables_of
from edgepose.collect.hours import (
    RUN_COLUMNS,
    has_first_layout,
    hour_path,
    hours_in,
    is_folder_name,
    read_hour,
    runs_in,
    write_hour,
)
from edgepose.collect.journal import FREE_PAGES, Arrival, Hour, Journal, hour_of
from edgepose.collect.newer_messages import NEWER_BYTES, NewerMessage
from edgepose.collect.other_formats import write_beside
from edgepose.collect.reports import Gap, gaps_in, read_events, read_info, write_events, write_gaps, write_info
from edgepose.collect.streams import SeqRun, Stream, runs_of
from edgepose.errors import EdgeposeError
from edgepose.protocol.messages import VERSION, BatchMessage, EventMessage, InfoMessage, Message, PoseMessage
from edgepose.protocol.topics import TOPICS
from edgepose.protocol.versions import NewerVersionError, UnreadableMessageError, read_message
from edgepose.system.database import set_aside
from edgepose.system.wording import count
from edgepose.tables.parquet import ArrowTable

log = logging.getLogger(__name__)

_CHECK_S = 1.0  # between two checks of what has settled
_MANY = 100  # files that take a while


@dataclass(frozen=True, slots=True)
class ArchiveTiming:
    """When an hour is written, and how much unused room the journal keeps.

    Attributes:
        settle_s: when nothing of an hour has come for this time, it is written.
        longest_s: an hour is written at the latest this time after its first pose.
        journal_free_pages: number of pages that may be unused in the journal.
        newer_bytes: size of the messages of newer versions that the journal keeps, for each device.
    """

    settle_s: float = 60.0
    longest_s: float = 900.0
    journal_free_pages: int = FREE_PAGES
    newer_bytes: int = NEWER_BYTES


class Archive:
    """The folder of a collector. Every method raises EdgeposeError when the disk cannot be used.

    Attributes:
        poses: number of poses accepted since the start.
        duplicates: number of poses that had come before.
        streams: what has come, by device and boot.
    """

    def __init__(
        self,
        folder: Path,
        also: Collection[str] = (),
        *,
        shared: bool = False,
        timing: ArchiveTiming = ArchiveTiming(),
    ) -> None:
        """Opens the folder, which may be new.

        Args:
            folder: one folder per device is in it.
            also: files to write beside the Parquet ones, by ending.
            shared: other collectors of a group have the rest, so that repeats, gaps and tags are settled only when
                everything is merged.
            timing: when to write.
        """
        self.poses = self.duplicates = 0
        self.streams: defaultdict[tuple[str, str], Stream] = defaultdict(Stream)
        self._folder, self._also, self._shared, self._timing = folder, also, shared, timing
        self._devices: set[str] = set()
        self._infos: dict[str, InfoMessage] = {}  # that wait for their file
        self._journal = Journal(folder / "journal.db", timing.journal_free_pages, timing.newer_bytes)
        self._arrivals: dict[Hour, tuple[float, float]] = dict.fromkeys(self._journal.hours(), (0.0, 0.0))
        # Devices whose events or info wait for their file, and since when.
        self._events_since = dict.fromkeys(self._journal.devices_with_events(), 0.0)
        self._due: deque[tuple[str, int | None]] = deque()  # the hour is None for the events of a device
        self._check_at = self._write_at = 0.0
        self._gaps: list[Gap] | None = None
        _report_first_layout(folder)
        if self._journal.is_new():
            self._journal.add_unknown(hours_in(folder))
        if not shared:
            self._load_known()
        self._reported: set[str] = set()  # devices whose version we cannot read
        self._dropping: set[str] = set()  # devices of which the journal has dropped messages of newer versions
        self._read_newer()

    def _load_known(self) -> None:
        """Reads what has come before this start."""
        if unknown := self._journal.unknown():
            log.info("%s: reading %s, to know what has come before", self._folder, count(len(unknown), "file"))
        for device, hour in unknown:
            table = self._read(hour_path(self._folder, device, hour), RUN_COLUMNS)
            self._journal.learn(device, hour, [] if table is None else runs_in(table))
        for device, run in self._journal.written():
            self._add_run(device, run)
        for device, hour in self._arrivals:
            for run in runs_of(self._journal.poses(device, hour)):
                self._add_run(device, run)

    def _add_run(self, device: str, run: SeqRun) -> int:
        return self.streams[device, run.boot].add(*run[1:])

    # --- what comes ------------------------------------------------------------------------------------------

    def accept(self, device: str, leaf: str, payload: bytes, poses: Sequence[PoseMessage]) -> list[Arrival]:
        """Returns what there is to write of a message. poses: those of the device in it."""
        self._devices.add(device)
        new = len(poses) if self._shared else sum(self._add_run(device, run) for run in runs_of(poses))
        self.poses += new
        self.duplicates += len(poses) - new
        return [Arrival(device, hour, leaf, payload) for hour in {hour_of(pose) for pose in poses} if new]

    def write(
        self,
        arrivals: Iterable[Arrival],
        events: Iterable[EventMessage],
        newer: Sequence[NewerMessage] = (),
    ) -> None:
        """Adds what has come; it is on the disk when this returns. newer: messages that a later edgepose will read."""
        self._journal.write(arrivals, events, newer)
        if newer:
            self._report_newer()
        now = time.monotonic()
        for device, hour, *_ in arrivals:
            self._arrivals[device, hour] = self._arrivals.get((device, hour), (now, now))[0], now
        for event in events:
            self._events_since.setdefault(event.device, now)

    def _read_newer(self) -> None:
        """Reads the messages that an earlier version of edgepose has kept for this one."""
        last = total = 0
        while rows := self._journal.newer_messages(last, VERSION):  # the others need not be read
            last = rows[-1][0]
            arrivals: list[Arrival] = []
            events: list[EventMessage] = []
            read = [row for row, message in rows if self._sort_newer(message, arrivals, events)]
            if read:
                self.write(arrivals, events)
                self._journal.remove_newer(read)
                total += len(read)
        if total:
            log.info("%s: read %s that an earlier version has kept", self._folder, count(total, "message"))
        self._report_newer()

    def add_newer(self, messages: Iterable[NewerMessage]) -> None:
        """Adds messages that another collector could not read; those that this one cannot read either are kept."""
        arrivals: list[Arrival] = []
        events: list[EventMessage] = []
        later = [message for message in messages if not self._sort_newer(message, arrivals, events)]
        self.write(arrivals, events, later)

    def _sort_newer(self, message: NewerMessage, arrivals: list[Arrival], events: list[EventMessage]) -> bool:
        """Adds what is to be written of a message. Returns False when only a later version can read it."""
        device, _, leaf, payload = message
        try:
            found = read_message(payload, TOPICS[leaf].payload)
        except NewerVersionError:
            return False
        except (UnreadableMessageError, KeyError) as exc:
            log.warning("%s: a message of %s that was kept cannot be read and is lost (%s)", self._folder, device, exc)
            return True
        if not is_folder_name(device):
            return True
        if isinstance(found, EventMessage) and found.device == device:
            events.append(found)
        arrivals += self.accept(device, leaf, payload, poses_of(found, device))
        return True

    def _report_newer(self) -> None:
        """Reports each device once: a device may send ever other versions."""
        for device in self._journal.newer.kept.keys() - self._reported:
            self._reported.add(device)
            log.warning(
                "%s sends messages of version %d, and this edgepose reads messages up to version %d: they are kept in "
                "%s for an edgepose that can read them, at most %d MB; upgrade edgepose here",
                device,
                self._journal.newer.versions[device],
                VERSION,
                self._folder / "journal.db",
                self._timing.newer_bytes / 1e6,
            )
        for device in self._journal.newer.dropped.keys() - self._dropping:
            self._dropping.add(device)
            log.warning("%s: there is no more room for its messages, so the oldest are dropped", device)

    def keep_info(self, info: InfoMessage) -> None:
        """Keeps an info for its file. It is not on the disk yet, because the broker keeps it too."""
        self._infos[info.device] = info
        self._events_since[info.device] = 0.0

    # --- files -----------------------------------------------------------------------------------------------

    def write_due(self) -> float:
        """Writes one file if one is due. Returns the seconds after which it is to be called again.

        At most half of the time goes into writing; the rest is for receiving.
        """
        start = time.monotonic()
        if start < self._write_at:
            return self._write_at - start
        if not self._due and start >= self._check_at:
            self._check(start)
        if not self._due:
            return self._check_at - start
        self._write(*self._due.popleft())
        took = time.monotonic() - start
        self._write_at = start + 2 * took
        return took

    def _check(self, now: float) -> None:
        """Finds what has settled."""
        timing, self._check_at = self._timing, now + _CHECK_S
        settled, late = now - timing.settle_s, now - timing.longest_s
        self._due.extend(key for key, (first, last) in self._arrivals.items() if last < settled or first < late)
        self._due.extend((device, None) for device, first in self._events_since.items() if first < settled)

    def finish(self) -> None:
        """Writes everything that waits, and closes."""
        if len(self._arrivals) > _MANY:
            log.info("%s: writing %s", self._folder, count(len(self._arrivals), "file"))
        for device in list(self._events_since):
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

    def write_hour(self, device: str, hour: int, more: Iterable[ArrowTable] = ()) -> None:
        """Writes the file of an hour: what it has, what waits of the hour, and the tables `more`."""
        if device in self._events_since:  # before the hour, because tags and columns depend on them
            self._write_events(device)
        path, info = hour_path(self._folder, device, hour), read_info(self._folder / device / "info.json")
        before = self._read(path)
        tables = [*more, *tables_of(self._journal.poses(device, hour))]
        if tables or before is not None:
            starts = [] if self._shared else [event for event in self._events(device) if event.kind == "started"]
            table = write_hour(path, before, tables, starts, info)
            write_beside(path, table, info, self._also)
            runs = None if self._shared else runs_in(table)
            for run in runs or ():
                self._add_run(device, run)
            self._journal.settle(device, hour, runs)
        else:  # the file whose tags were to be corrected is not there any more
            self._journal.forget_stale(device, hour)
        self._arrivals.pop((device, hour), None)

    def _write_events(self, device: str) -> None:
        """Writes the events of a device, and its info.

        When a start comes late, the files with its poses are to be written again for their tags.
        """
        if (info := self._infos.pop(device, None)) and info != read_info(path := self._folder / device / "info.json"):
            write_info(path, info)
        known = {(event.boot, event.event): event for event in self._events(device)}
        came = {(event.boot, event.event): event for event in self._journal.events(device)}
        if new := [event for key, event in came.items() if key not in known]:
            events = [*known.values(), *new]
            stale = {hour for event in new for hour in self._changed_hours(event, events)}
            self._journal.add_stale(device, stale)  # before the file has the events, or a kill between would lose it
            self._arrivals.update(dict.fromkeys(((device, hour) for hour in stale), (0.0, 0.0)))
            write_events(self._folder / device / "events.csv", events)
        self._journal.events_written(device)
        self._events_since.pop(device, None)

    def _changed_hours(self, event: EventMessage, events: Iterable[EventMessage]) -> list[int]:
        """Returns the hours with a file whose tags come from this start: its poses go up to the next start."""
        if event.kind != "started":
            return []
        others = [other.seq for other in events if (other.boot, other.kind) == (event.boot, event.kind)]
        end = min((seq for seq in others if seq > event.seq), default=2**63 - 1)
        return self._journal.overlapping(event.device, event.boot, event.seq, end)

    def report(self) -> None:
        """Writes the file that says which poses are missing."""
        gaps = gaps_in(self.streams)
        if not self._shared and gaps != self._gaps:
            write_gaps(self._folder / "gaps.csv", gaps)
            self._gaps = gaps

    def summary(self) -> str:
        """Returns a line: what has come since the start, and how much is missing at all."""
        devices = {device for device, _ in self.streams} | self._devices
        came = f"{count(len(devices), 'device')}, {count(self.poses, 'pose')}"
        kept, dropped = self._journal.newer.kept.total(), self._journal.newer.dropped.total()
        newer = f", {count(kept, 'message')} of a newer version kept" if kept else ""
        newer += f", {count(dropped, 'message')} of a newer version dropped" if dropped else ""
        if self._shared:
            return f"{came}{newer}; `edgepose collect merge` finds what came twice or is missing"
        missing = sum(gap[-1] for gap in gaps_in(self.streams))
        return f"{came}, {self.duplicates} came twice, {missing} missing{newer}"

    # --- reading ---------------------------------------------------------------------------------------------

    def _read(self, path: Path, columns: Sequence[str] = ()) -> ArrowTable | None:
        """Returns None where there is no file. A damaged file is renamed: one file must not stop a fleet."""
        try:
            return read_hour(path, columns) if path.exists() else None
        except EdgeposeError as exc:
            _rename_damaged(path, exc)
            return None

    def _events(self, device: str) -> list[EventMessage]:
        """Returns the events in the device's file. A damaged file is renamed."""
        path = self._folder / device / "events.csv"
        try:
            return read_events(path)
        except EdgeposeError as exc:
            _rename_damaged(path, exc)
            return []


def poses_of(message: Message, device: str) -> list[PoseMessage]:
    """Returns the poses in a message that the device itself has made."""
    poses = message.poses if isinstance(message, BatchMessage) else [message]
    return [pose for pose in poses if isinstance(pose, PoseMessage) and pose.device == device]


def _report_first_layout(folder: Path) -> None:
    """Logs that there are files of an earlier edgepose: an hour is converted only when more of it comes."""
    oldest: dict[str, Path] = {}
    for (device, _), path in hours_in(folder).items():  # by time
        oldest.setdefault(device, path)
    if devices := sum(map(has_first_layout, oldest.values())):
        log.warning(
            "%s: files of %s have the columns of an earlier edgepose; `edgepose collect merge %s` rewrites them",
            folder,
            count(devices, "device"),
            folder,
        )


def _rename_damaged(path: Path, exc: EdgeposeError) -> None:
    set_aside(path, str(exc).removeprefix(f"{path}: ").removesuffix("; move it away"))
