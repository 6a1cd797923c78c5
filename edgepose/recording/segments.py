"""Writes one segment of a recording: the video, a table with the times of each frame, and DeepLabCut's table of poses.

    <device>_20261124T201500Z.mp4
    <device>_20261124T201500Z.csv
    <device>_20261124T201500Z_poses.csv

Row and frame numbers agree in all three. Where the clock was not synchronised, the name ends with `_unsynced`. While a
segment is open, and after a kill until the next start repairs it, each name has `.part` behind it.
"""

from __future__ import annotations

import csv
import os
import re
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgepose.system.atomic_files import sync_file, sync_folder, write_durably
from edgepose.tables.csv_files import csv_cells
from edgepose.tables.deeplabcut import column_levels, csv_header
from edgepose.types import Frame, Pose, Skeleton
from edgepose.video import h264
from edgepose.video.frame_times import TIMES_HEADER
from edgepose.video.mp4_rate import set_mean_rate

PART = ".part"
_POSES_HEADER_ROWS = 3
_KEPT_BYTES = 1_000_000  # a video that cannot be read is kept from this size on: somebody may want to examine it
_OURS = re.compile(
    r"^(?P<stem>.+_(?P<stamp>\d{8}T\d{6})Z(?P<unsynced>_unsynced)?(?:_(?P<number>\d+))?)"
    r"(?:_poses\.csv|\.csv|\.mp4|\.avi)(?:\.part)?(?:\.damaged|\.repair)?$"
)


@dataclass(frozen=True, order=True)
class SegmentName:
    """The parts of the names of a segment's files; it sorts by time.

    Attributes:
        stamp: when the segment began, UTC as the clock said then, `20261124T201500`.
        number: tells segments apart that began at the same time of the clock; the first is 0.
        synced: whether that clock was synchronised.
        stem: the name without the endings.
    """

    stamp: str
    number: int
    synced: bool
    stem: str

    def files(self, folder: Path) -> tuple[Path, Path, Path]:
        """Returns times, poses and video. The video gets its final name last: then the segment is complete."""
        return folder / f"{self.stem}.csv", folder / f"{self.stem}_poses.csv", folder / f"{self.stem}{h264.SUFFIX}"


def name_of(file_name: str) -> SegmentName | None:
    """Returns None for a file that the recording did not make."""
    if match := _OURS.match(file_name):
        return SegmentName(match["stamp"], int(match["number"] or 0), match["unsynced"] is None, match["stem"])
    return None


def new_name(folder: Path, device: str, t_us: int, synced: bool) -> SegmentName:
    """Returns a name that no file has. t_us: wall clock, epoch microseconds."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(t_us / 1e6))
    stem, number = f"{device}_{stamp}Z{'' if synced else '_unsynced'}", 0
    while any(folder.glob(f"{stem}{f'_{number}' if number else ''}.*")):  # the clock was set back
        number += 1
    return SegmentName(stamp, number, synced, f"{stem}_{number}" if number else stem)


class Segment:
    """An open segment. One thread writes it; another one calls `sync` and `finish`. Raises OSError, and what PyAV
    raises.

    Attributes:
        rows: frames written.
        posed: rows of poses written.
        closed: True when no more frames come.
    """

    def __init__(  # noqa: PLR0913, PLR0917  they are what a segment is made of
        self,
        folder: Path,
        name: SegmentName,
        size_wh: tuple[int, int],
        rate_hz: Fraction,
        skeleton: Skeleton,
        scorer: str,
    ) -> None:
        self.name, self.rows, self.posed, self.closed = name, 0, 0, False
        self._first_ns = self._last_ns = 0
        self._paths = name.files(folder)
        self._lock = threading.Lock()  # so that no file is synced that has just been closed
        self._empty_pose = [""] * (3 * len(skeleton.keypoints))
        times, poses, video = (path.with_name(path.name + PART) for path in self._paths)
        # Each row is written at once, so that the tables are never behind the video when the process is killed.
        self._files: list[IO[str]] = []
        try:
            self._files = [path.open("w", newline="", encoding="utf-8", buffering=1) for path in (times, poses)]
            self._times, self._poses = (csv.writer(file, lineterminator="\n") for file in self._files)
            self._times.writerow(TIMES_HEADER)
            self._poses.writerows(csv_header(column_levels(skeleton, scorer)))
            self.video = h264.FragmentedMp4(video, size_wh, rate_hz)
        except BaseException:
            self._close_tables()
            for path in (times, poses, video):
                path.unlink(missing_ok=True)
            raise

    @property
    def complete(self) -> bool:
        return self.closed and self.posed == self.rows

    def add(self, frame: Frame, synced: bool) -> int:
        """Returns the frame's number in the video."""
        self._times.writerow([self.rows, frame.index, frame.captured_us, frame.captured_mono_ns, int(synced)])
        self.video.add(frame)
        self._first_ns, self._last_ns = self._first_ns if self.rows else frame.captured_mono_ns, frame.captured_mono_ns
        self.rows += 1
        return self.rows - 1

    def add_pose(self, pose: Pose | None) -> None:
        """Adds the pose of the next frame that has none yet; None where no pose was made of it."""
        cells: list[Any] = list(self._empty_pose)
        if pose is not None:
            cells = csv_cells(np.column_stack([pose.xy_px, pose.score]).astype(float).ravel())
        self._poses.writerow([self.posed, *cells])
        self.posed += 1

    def close(self) -> None:
        with self._lock:
            self.closed = True
            self.video.close()
            part = self._paths[2].with_name(self._paths[2].name + PART)
            _correct_rate(part, self.rows, self._last_ns - self._first_ns)

    def abandon(self) -> None:
        """Closes the files as they are, to be repaired."""
        with self._lock:
            self.closed = True
            self.video.abandon()
            self._close_tables()

    def sync(self) -> None:
        """Returns when everything that was written so far is on the disk."""
        with self._lock:
            for file in self._files:
                if not file.closed:
                    os.fsync(file.fileno())
            if not self.closed:
                os.fsync(self.video.fileno())

    def finish(self) -> None:
        """Puts a complete segment onto the disk, under its final name."""
        with self._lock:
            self._close_tables()
        take_names(self._paths)

    def _close_tables(self) -> None:
        for file in self._files:
            file.close()


def take_names(paths: tuple[Path, Path, Path]) -> None:
    """Renames the files from `.part` to their final names, the video last. Returns when that is on the disk."""
    for path in paths:
        part = path.with_name(path.name + PART)
        if part.exists():
            sync_file(part)
            part.replace(path)
    sync_folder(paths[0].parent)


def repair_segment(folder: Path, part: Path) -> int:
    """Completes the segment whose video `part` a kill or a power cut left open, with the frames that are both in the
    video and in the table of times.

    Returns:
        The number of these frames. Where there is none, the files are removed; a large video is kept as `.damaged`.

    Raises:
        OSError: the disk failed.
    """
    name = name_of(part.name)
    assert name is not None
    paths = name.files(folder)
    times, poses = (path if path.exists() else path.with_name(path.name + PART) for path in paths[:2])
    count = h264.repair(part, max(0, len(_rows(times)) - 1))
    if count:
        _rewrite(times, kept := _rows(times)[: 1 + count])
        first_ns, last_ns = (int(row.split(",")[3]) for row in (kept[1], kept[-1]))
        _correct_rate(part, count, last_ns - first_ns)
        if len(rows := _rows(poses)) >= _POSES_HEADER_ROWS:
            empty = "," * (rows[-1].count(","))
            missing = [f"{i}{empty}" for i in range(len(rows) - _POSES_HEADER_ROWS, count)]
            _rewrite(poses, [*rows[: _POSES_HEADER_ROWS + count], *missing])
        take_names(paths)
    elif part.stat().st_size > _KEPT_BYTES:
        part.replace(part.with_suffix(".damaged"))
    else:
        for path in (part, times, poses):
            path.unlink(missing_ok=True)
    return count


def _correct_rate(video: Path, count: int, span_ns: int) -> None:
    """Gives the video the mean rate of its frames, which is known when the last one has come. The table has the true
    time of each. span_ns: from the first to the last frame."""
    if count > 1 and span_ns > 0:
        set_mean_rate(video, (count - 1) * 1e9 / span_ns)


def _rows(path: Path) -> list[str]:
    """Returns the complete lines; a power cut may have left an incomplete one, or zeros, at the end."""
    try:
        text = path.read_bytes().partition(b"\0")[0].decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text.split("\n")[:-1]


def _rewrite(path: Path, rows: list[str]) -> None:
    write_durably(path, "".join(f"{row}\n" for row in rows).encode(), path.stat().st_mode & 0o777)
