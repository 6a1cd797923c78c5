"""What is missing, and what happened, as CSV beside the poses."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edgepose.collect.streams import Stream
from edgepose.core.messages import EventMessage
from edgepose.tables import write_whole


def write_gaps(path: Path, streams: Mapping[tuple[str, str], Stream]) -> None:
    """One row for each gap: the poses `first_seq` to `last_seq` of a device's boot have never come."""
    rows = [
        (device, boot, first, last, last - first + 1)
        for (device, boot), stream in sorted(streams.items())
        for first, last in stream.gaps()
    ]
    _write(path, ("device", "boot", "first_seq", "last_seq", "poses"), rows)


def write_events(path: Path, events: Iterable[EventMessage]) -> None:
    """seq: of the first pose after the event, in the same boot. tags: as JSON."""
    rows = [
        (
            datetime.fromtimestamp(event.t_us / 1e6, UTC).isoformat(),
            event.t_us,
            event.boot,
            event.seq,
            event.kind,
            event.text,
            event.count,
            msgspec.json.encode(event.tags).decode(),
        )
        for event in sorted(events, key=lambda event: event.t_us)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, ("time", "t_us", "boot", "seq", "kind", "text", "count", "tags"), rows)


def _write(path: Path, head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(head)
            writer.writerows(rows)

    write_whole(path, write)
