"""Saves frames that were hard for the model, for the next round of labelling: the picture and the model's prediction,
in DeepLabCut's layout.

    <folder>/labeled-data/<device>-<date>/img00001.png
    <folder>/labeled-data/<device>-<date>/machinelabels.csv

A kill leaves at worst a picture without its row. Nothing is ever removed here.
"""

from __future__ import annotations

import csv
import io
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.config.schema import HardFramesConfig
from edgepose.geometry.pixels import as_bgr, i420_planes
from edgepose.pose.animal_size import animal_diagonal_px
from edgepose.pose.pose_quality import judge_poses
from edgepose.recording.retention import usable_bytes
from edgepose.system.atomic_files import write_durably
from edgepose.system.reporter import Reporter
from edgepose.tables.csv_files import csv_cells
from edgepose.tables.deeplabcut import column_levels, csv_header
from edgepose.types import Frame, Pose, Skeleton

TABLE = "machinelabels.csv"
_LENGTH_POSES = 100  # The length of the animal is measured from so many poses.
_THUMBNAIL_WH = (32, 24)
_SAME_GREY = 12  # two frames are alike where no pixel of their thumbnails differs by more grey values
_REMEMBERED = 100  # a new frame is compared with so many saved ones
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class _Candidate:
    severity: float
    frame: Frame
    pose: Pose
    thumbnail: NDArray[np.int16]


class HardFrames:
    """Saves the worst frame of each 1 / per_hour, unless it is like one that was saved already: an empty cage is
    labelled once. Whether a keypoint jumped is known when the next frame has come. Never raises after construction.

    Attributes:
        saved: number of frames saved since the start.
        scorer: the model's name in a table that is begun.
    """

    def __init__(
        self, settings: HardFramesConfig, device: str, skeleton: Skeleton, scorer: str, *, reporter: Reporter
    ) -> None:
        self.saved = 0
        self._reporter = reporter
        self._settings, self._device, self._skeleton, self.scorer = settings, device, skeleton, scorer
        self._root = Path(settings.folder) / "labeled-data"
        self._period_s = 3600 / settings.per_hour
        self._last: deque[tuple[Frame, Pose]] = deque(maxlen=3)
        self._poses: deque[Pose] = deque(maxlen=_LENGTH_POSES)
        self._length_px = 0.0
        self._remembered: deque[NDArray[np.int16]] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()
        self._worst: _Candidate | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hard-frames", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def posed(self, frame: Frame, pose: Pose) -> None:
        """Judges the frame before this one, by the poses on both sides of it."""
        self._last.append((frame, pose))
        self._poses.append(pose)
        if len(self._last) < 3:
            return
        xy, score = _stacked([pose for _, pose in self._last])
        time_s = np.array([frame.captured_mono_ns for frame, _ in self._last]) / 1e9
        quality = judge_poses(xy, score, time_s - time_s[0], self._skeleton, self._length(frame.size_wh))
        middle, severity = self._last[1], float(quality.severity[1])
        if score[1].min() >= self._settings.below and not quality.moves[1]:
            return
        with self._lock:
            if self._worst is not None and severity <= self._worst.severity:
                return
            thumbnail = _thumbnail(middle[0])
            if not self._is_known(thumbnail):
                self._worst = _Candidate(severity, *middle, thumbnail)

    def close(self) -> None:
        """Saves the worst frame so far."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    def _is_known(self, thumbnail: NDArray[np.int16]) -> bool:
        return any(np.abs(thumbnail - other).max() <= _SAME_GREY for other in tuple(self._remembered))

    def _length(self, size_wh: tuple[int, int]) -> float:
        """Returns the length of the animal in pixels. It hardly changes, so it is not measured at each pose."""
        if not self._length_px or len(self._poses) == _LENGTH_POSES:
            self._length_px = animal_diagonal_px(*_stacked(self._poses), size_wh)
            if len(self._poses) == _LENGTH_POSES:
                self._poses.clear()
        return self._length_px

    def _work(self) -> None:
        while not self._stop.wait(self._period_s):
            self._save_worst()
        self._save_worst()

    def _save_worst(self) -> None:
        with self._lock:
            candidate, self._worst = self._worst, None
        if candidate is None or self._is_known(candidate.thumbnail):  # another one may have been saved since
            return
        try:
            obstacle = self._obstacle()
            if obstacle is None:
                self._save(candidate)
        except Exception as exc:  # the disk failed: the next frame may be saved
            obstacle = f"{self._root}: cannot save frames ({getattr(exc, 'strerror', None) or exc})"
        self._reporter.alert("hard_frames", obstacle)

    def _obstacle(self) -> str | None:
        """Returns why nothing may be saved; None where a frame may be."""
        self._root.mkdir(parents=True, exist_ok=True)
        files = [path for path in self._root.rglob("*") if path.is_file()]
        if sum(path.stat().st_size for path in files) >= self._settings.max_mb * 1e6:
            return f"{self._root}: the frames fill hard_frames.max_mb; fetch and remove them"
        full = usable_bytes(self._root) < 0
        return f"{self._root}: the disk is nearly full, so no frames are saved; make room" if full else None

    def _save(self, candidate: _Candidate) -> None:
        frame, pose = candidate.frame, candidate.pose
        folder = self._day_folder(frame.captured_us)
        number = 1 + max((int(path.stem[3:]) for path in folder.glob("img*.png")), default=0)
        name = f"img{number:05}.png"
        write_durably(folder / name, cv2.imencode(".png", as_bgr(frame))[1].tobytes())
        cells = csv_cells(np.column_stack([pose.xy_px, pose.score]).astype(float).ravel())
        _append(folder / TABLE, _line(["labeled-data", folder.name, name, *cells]))
        self.saved += 1
        self._remembered.append(candidate.thumbnail)

    def _day_folder(self, t_us: int) -> Path:
        """Returns the folder of that day; another one where the first has the predictions of another model."""
        stem = f"{self._device}-{time.strftime('%Y%m%d', time.gmtime(t_us / 1e6))}"
        rows = csv_header(column_levels(self._skeleton, self.scorer), 3)
        header, number = "".join(map(_line, rows)), 1
        while True:
            folder = self._root / (stem if number == 1 else f"{stem}_{number}")
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / TABLE).exists():
                write_durably(folder / TABLE, header.encode())
            with (folder / TABLE).open("rb") as file:
                if file.read(len(header.encode())) == header.encode():
                    return folder
            number += 1


def _stacked(poses: Sequence[Pose] | deque[Pose]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([pose.xy_px for pose in poses], float), np.array([pose.score for pose in poses], float)


def _thumbnail(frame: Frame) -> NDArray[np.int16]:
    """Returns a grey picture that is so small that noise is gone."""
    image = i420_planes(frame.image)[0] if frame.order == "i420" else frame.image
    thumbnail = cv2.resize(image, _THUMBNAIL_WH, interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.asarray(thumbnail.mean(axis=2) if thumbnail.ndim == 3 else thumbnail, np.int16)


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _append(path: Path, line: str) -> None:
    """Appends the line; a last line that a power cut left incomplete is removed first."""
    with path.open("r+b") as file:
        whole = file.read().rpartition(b"\n")[0] + b"\n"
        file.seek(len(whole))
        file.truncate()
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
