"""Writes and reads the files beside the poses: what is missing, what happened, and the info of a device."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edgepose.collect.streams import Stream
from edgepose.errors import EdgeposeError
from edgepose.protocol.messages import EventMessage, InfoMessage
from edgepose.protocol.versions import UnreadableMessageError, read_message
from edgepose.system.atomic_files import write_whole
from edgepose.tables.csv_files import cell_text, write_rows

Gap = tuple[str, str, int, int, int]  # device, boot, first and last seq, poses

_GAP_COLUMNS = ("device", "boot", "first_seq", "last_seq", "poses")
_EVENT_COLUMNS = ("time", "t_us", "synced", "boot", "seq", "event", "kind", "text", "count", "tags")
_LONGEST_CELL = 2**24  # characters: more than a message can hold


def gaps_in(streams: Mapping[tuple[str, str], Stream]) -> list[Gap]:
    """Returns which poses have never come: those from `first_seq` to `last_seq` of a boot of a device."""
    return [
        (device, boot, first, last, last - first + 1)
        for (device, boot), stream in sorted(streams.items())
        for first, last in stream.gaps()
    ]


def write_gaps(path: Path, gaps: Iterable[Gap]) -> None:
    write_rows(path, _GAP_COLUMNS, gaps)


def write_events(path: Path, events: Iterable[EventMessage]) -> None:
    """Writes events as CSV, in the order of their times. `seq` is that of the first pose after the event; `tags` are
    JSON."""
    rows = [
        (
            datetime.fromtimestamp(event.t_us / 1e6, UTC).isoformat(),
            event.t_us,
            event.synced,
            event.boot,
            event.seq,
            event.event,
            event.kind,
            event.text,
            event.count,
            json.dumps(event.tags, ensure_ascii=False),
        )
        for event in sorted(events, key=lambda event: (event.t_us, event.boot, event.event))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, _EVENT_COLUMNS, rows)


def read_events(path: Path) -> list[EventMessage]:
    """Reads a file that `write_events` made in the device's folder. Returns none where there is no file. Raises
    EdgeposeError."""
    csv.field_size_limit(_LONGEST_CELL)
    events = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, strict=True)
            if not {*_EVENT_COLUMNS} <= {*(rows.fieldnames or ())}:  # a later version may write more
                raise ValueError("its columns are others")  # noqa: TRY301  reported as everything else that is wrong with the file
            for row in rows:
                texts = {name: cell_text(row[name]) for name in _EVENT_COLUMNS if name != "time"}
                cells = {**texts, "tags": json.loads(texts["tags"]), "device": path.parent.name, "replay": False}
                events.append(msgspec.convert(cells, EventMessage, strict=False))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, csv.Error, msgspec.ValidationError) as exc:
        raise EdgeposeError(f"{path}: cannot read ({exc}); move it away") from None
    return events


def write_info(path: Path, info: InfoMessage) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(json.dumps(msgspec.to_builtins(info), indent=1), encoding="utf-8")

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, write)


def read_info(path: Path) -> InfoMessage | None:
    """Returns None where there is no file that can be read: the device will send another one."""
    try:
        return read_message(path.read_bytes(), InfoMessage)
    except (OSError, UnreadableMessageError):
        return None
