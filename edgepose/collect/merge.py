"""Joins what several collectors have written. Repeats, gaps and tags are settled when all of it is in one folder."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from edgepose.collect.archive import Archive
from edgepose.collect.columns import tables_of
from edgepose.collect.hours import has_first_layout, hours_in, read_hour
from edgepose.collect.journal import Hour, Journal
from edgepose.collect.reports import gaps_in, read_events, read_info
from edgepose.errors import EdgeposeError, UsageError
from edgepose.system.wording import count

log = logging.getLogger(__name__)


def merge(folders: list[Path], also: Collection[str] = ()) -> str:
    """Adds the contents of the other folders, their journals included, to the first one, which may be new.

    The other folders keep everything; only their journals are brought to the format of this version. Without other
    folders, files of an earlier edgepose are rewritten.

    Args:
        folders: the target, and the other folders.
        also: as for Archive, here for every hour.

    Returns:
        A line that says what the target has now.

    Raises:
        UsageError: for a folder that is not there.
        EdgeposeError: for a file that cannot be read.
    """
    target, *others = folders
    for folder in others or folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("merge: a folder is named twice; name each once")
    archive = Archive(target, also)
    paths: defaultdict[Hour, list[Path]] = defaultdict(list)
    for folder in others:
        for key, path in hours_in(folder).items():
            paths[key].append(path)
    if also or not others:
        paths |= {key: paths[key] for key, path in hours_in(target).items() if also or has_first_layout(path)}
    journals = [journal for folder in others if (journal := _journal(folder))]
    _add_devices(archive, folders)
    for journal in journals:
        for device in journal.devices_with_events():
            archive.write([], journal.events(device))
        last = 0
        while rows := journal.newer_messages(last):
            last = rows[-1][0]
            archive.add_newer(message for _, message in rows)
    hours = paths.keys() | {key for journal in journals for key in journal.hours()}
    for device, hour in sorted(hours):
        tables = [read_hour(path) for path in paths[device, hour]]
        waiting = [table for journal in journals for table in tables_of(journal.poses(device, hour))]
        archive.write_hour(device, hour, [*tables, *waiting])
    for journal in journals:
        journal.close()
    archive.finish()
    poses, devices = sum(map(len, archive.streams.values())), {device for device, _ in archive.streams}
    missing = sum(gap[-1] for gap in gaps_in(archive.streams))
    return f"{target}: {count(poses, 'pose')} of {count(len(devices), 'device')}, {missing} missing (gaps.csv)"


def _journal(folder: Path) -> Journal | None:
    """Returns the journal of a collector that was killed, with what it has not written yet; None while one uses it."""
    try:
        return Journal(folder / "journal.db") if (folder / "journal.db").exists() else None
    except EdgeposeError as exc:
        log.warning("%s; what it has not written yet is not merged", exc)
        return None


def _add_devices(archive: Archive, folders: Sequence[Path]) -> None:
    """Adds the newest info of each device, and the events that the first folder does not have yet."""
    infos = [path for folder in folders for path in folder.glob("*/info.json")]
    for path in sorted(infos, key=lambda path: path.stat().st_mtime):
        if info := read_info(path):  # somebody may have renamed the folder
            archive.keep_info(msgspec.structs.replace(info, device=path.parent.name))
    for folder in folders[1:]:
        for path in sorted(folder.glob("*/events.csv")):
            archive.write([], read_events(path))
