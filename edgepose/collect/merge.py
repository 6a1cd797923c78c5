"""Joins what several collectors wrote: duplicates and gaps are settled when all of it lies in one folder."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from edgepose.collect.hours import read_hour, write_hour
from edgepose.collect.reports import write_gaps
from edgepose.collect.streams import Stream
from edgepose.core.errors import UsageError

_KEYS = ["boot", "seq", "frame"]


def merge(folders: list[Path]) -> str:
    """Adds the files of the other folders to those of the first, which may be new; the others stay as they are.
    Returns what came of it. Raises UsageError for a folder that is not there, EdgeposeError for a file that cannot be
    read."""
    target, *others = folders
    for folder in others or folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
    target.mkdir(parents=True, exist_ok=True)
    for folder in others:
        for path in sorted(folder.glob("*/*.parquet")):
            write_hour(target / path.relative_to(folder), [], [read_hour(path)])
    streams = scan(target)
    write_gaps(target / "gaps.csv", streams)
    poses = sum(len(stream) for stream in streams.values())
    missing = sum(last - first + 1 for stream in streams.values() for first, last in stream.gaps())
    return f"{target}: {poses} poses of {len({device for device, _ in streams})} devices, {missing} missing (gaps.csv)"


def scan(folder: Path) -> defaultdict[tuple[str, str], Stream]:
    """What lies in the files of a folder, by device and boot."""
    streams: defaultdict[tuple[str, str], Stream] = defaultdict(Stream)
    for path in sorted(folder.glob("*/*.parquet")):
        columns = read_hour(path, _KEYS).to_pydict()
        for boot, seq, frame in zip(*(columns[key] for key in _KEYS), strict=True):
            streams[path.parent.name, boot].add(seq, frame)
    return streams
