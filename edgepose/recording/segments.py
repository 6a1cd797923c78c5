"""One segment of a recording: the video, a row for each frame with its times, and DeepLabCut's table of its poses.

    <device>_20261124T201500Z.mp4         row and frame numbers agree in all three; where the clock was not
    <device>_20261124T201500Z.csv         synchronised, the name ends with _unsynced
    <device>_20261124T201500Z_poses.csv

While it is open, and until the next start repairs it, `.part` comes behind each name.
"""

from __future__ import annotations

import csv
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from edgepose.recording import mjpeg
from edgepose.system.atomic_files import sync_file, sync_folder
from edgepose.system.table_files import csv_cells, csv_header
from edgepose.types import Frame, Pose, Skeleton
from edgepose.video import h264

PART = ".part"
_TIMES_HEADER = ["video_frame", "frame", "t_us", "mono_ns", "synced"]
_POSES_HEADER_ROWS = 3
_WORTH_A_LOOK = 1_000_000  # bytes of a video of which nothing can be read
_OURS = re.compile(
    r"^(?P<stem>.+_(?P<stamp>\d{8}T\d{6})Z(?P<unsynced>_unsynced)?(?:_(?P<number>\d+))?)"
    r"(?:_poses\.csv|\.csv|\.mp4|\.avi)(?:\.part)?(?:\.damaged|\.repair)?$"
)
REPAIRS: dict[str, Callable[[Path, int], int]] = {h264.SUFFIX: h264.repair, mjpeg.SUFFIX: mjpeg.repair}


class SegmentVideo(Protocol):
    @property
    def bytes(self) -> int: ...

    @property
    def full(self) -> bool: ...

    def add(self, frame: Frame) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...

    def fileno(self) -> int: ...


@dataclass(frozen=True, order=True)
class Name:
    """Of a segment's files. Sorted by time. stamp: UTC, as the clock was then."""

    stamp: str
    number: int
    synced: bool
    stem: str

    def files(self, folder: Path, suffix: str) -> tuple[Path, Path, Path]:
        """Times, poses, video: the video takes its name last, and says that all is complete."""
        return folder / f"{self.stem}.csv", folder / f"{self.stem}_poses.csv", folder / f"{self.stem}{suffix}"


def name_of(file_name: str) -> Name | None:
    """None for a file that is not ours."""
    if match := _OURS.match(file_name):
        return Name(match["stamp"], int(match["number"] or 0), match["unsynced"] is None, match["stem"])
    return None


def new_name(folder: Path, device: str, t_us: int, synced: bool) -> Name:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(t_us / 1e6))
    stem, number = f"{device}_{stamp}Z{'' if synced else '_unsynced'}", 0
    while any(folder.glob(f"{stem}{f'_{number}' if number else ''}.*")):  # the clock has gone back
        number += 1
    return Name(stamp, number, synced, f"{stem}_{number}" if number else stem)


class Segment:
    """Written by one thread; `sync` and `finish` are another's. Raises OSError, and what PyAV raises.

    rows: frames in it. posed: rows of poses written. closed: no more frames come."""

    def __init__(  # noqa: PLR0913, PLR0917  all that a segment is
        self,
        folder: Path,
        name: Name,
        suffix: str,
        video: Callable[[Path], SegmentVideo],
        skeleton: Skeleton,
        scorer: str,
    ) -> None:
        self.name, self.rows, self.posed, self.closed = name, 0, 0, False
        self._paths = name.files(folder, suffix)
        self._lock = threading.Lock()  # nobody syncs a file that has just been closed
        self._empty_pose = [""] * (3 * len(skeleton.keypoints))
        times, poses, made = (path.with_name(path.name + PART) for path in self._paths)
        # Each row is written at once, so that rows are never behind the video when the process is killed.
        self._files: list[IO[str]] = []
        try:
            self._files = [path.open("w", newline="", encoding="utf-8", buffering=1) for path in (times, poses)]
            self._times, self._poses = (csv.writer(file, lineterminator="\n") for file in self._files)
            self._times.writerow(_TIMES_HEADER)
            self._poses.writerows(csv_header(skeleton, scorer))
            self.video: SegmentVideo = video(made)
        except BaseException:
            self._close_tables()
            for path in (times, poses, made):
                path.unlink(missing_ok=True)
            raise

    @property
    def complete(self) -> bool:
        return self.closed and self.posed == self.rows

    def add(self, frame: Frame, synced: bool) -> int:
        """Its number in the video."""
        self._times.writerow([self.rows, frame.index, frame.captured_us, frame.captured_mono_ns, int(synced)])
        self.video.add(frame)
        self.rows += 1
        return self.rows - 1

    def add_pose(self, pose: Pose | None) -> None:
        """Of the next frame; None where no pose was made of it."""
        cells: list[Any] = list(self._empty_pose)
        if pose is not None:
            cells = csv_cells(np.column_stack([pose.xy_px, pose.score]).astype(float).ravel())
        self._poses.writerow([self.posed, *cells])
        self.posed += 1

    def close(self) -> None:
        with self._lock:
            self.closed = True
            self.video.close()

    def abandon(self) -> None:
        """Leaves the files to be repaired."""
        with self._lock:
            self.closed = True
            self.video.abandon()
            self._close_tables()

    def sync(self) -> None:
        """What was written so far is on the disk when this returns."""
        with self._lock:
            for file in self._files:
                if not file.closed:
                    os.fsync(file.fileno())
            if not self.closed:
                os.fsync(self.video.fileno())

    def finish(self) -> None:
        """Once it is complete: onto the disk, and under its name."""
        with self._lock:
            self._close_tables()
        take_names(self._paths)

    def _close_tables(self) -> None:
        for file in self._files:
            file.close()


def take_names(paths: tuple[Path, Path, Path]) -> None:
    """From `.part` to the final names, the video last, durably."""
    for path in paths:
        part = path.with_name(path.name + PART)
        if part.exists():
            sync_file(part)
            part.replace(path)
    sync_folder(paths[0].parent)


def repair_segment(folder: Path, part: Path) -> int:
    """Completes the segment whose video `part` a kill or a power cut left open: as many frames as are in the video and
    in the table of times. Returns their number; 0 removes what there is. Raises OSError, and ImportError where the
    video needs what is not installed."""
    name, suffix = name_of(part.name), Path(part.stem).suffix
    assert name is not None
    paths = name.files(folder, suffix)
    times, poses = (path if path.exists() else path.with_name(path.name + PART) for path in paths[:2])
    count = REPAIRS[suffix](part, max(0, len(_rows(times)) - 1))
    if count:
        _cut(times, _rows(times)[: 1 + count])
        if len(rows := _rows(poses)) >= _POSES_HEADER_ROWS:
            empty = "," * (rows[-1].count(","))
            missing = [f"{i}{empty}" for i in range(len(rows) - _POSES_HEADER_ROWS, count)]
            _cut(poses, [*rows[: _POSES_HEADER_ROWS + count], *missing])
        take_names(paths)
    elif part.stat().st_size > _WORTH_A_LOOK:
        part.replace(part.with_suffix(".damaged"))
    else:
        for path in (part, times, poses):
            path.unlink(missing_ok=True)
    return count


def _rows(path: Path) -> list[str]:
    """Whole lines only; a power cut may leave zeros at the end."""
    try:
        text = path.read_bytes().partition(b"\0")[0].decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text.split("\n")[:-1]


def _cut(path: Path, rows: list[str]) -> None:
    temporary = path.with_name(f"{path.name}.repair")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(f"{row}\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
