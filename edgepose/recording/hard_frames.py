"""Frames for the next round of labelling: the picture, and what the model said, in DeepLabCut's layout.

    <folder>/labeled-data/<device>-<date>/img00001.png
    <folder>/labeled-data/<device>-<date>/machinelabels.csv

What a kill leaves is a picture without its row, at worst. Nothing is ever removed here.
"""

from __future__ import annotations

import csv
import io
import logging
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
from edgepose.geometry.pixels import as_bgr
from edgepose.pose.pose_quality import animal_length, judge_poses
from edgepose.recording.retention import room
from edgepose.system.table_files import csv_cells, csv_header
from edgepose.types import Frame, Pose, Skeleton

log = logging.getLogger(__name__)

TABLE = "machinelabels.csv"
_LENGTH_POSES = 100  # tell how long the animal is
_SMALL_WH = (32, 24)
_ALIKE = 12  # grey values by which no part of a small picture may differ from that of a frame which is saved
_REMEMBERED = 100  # saved frames that a new one may not be like
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class _Candidate:
    severity: float
    frame: Frame
    pose: Pose
    small: NDArray[np.int16]


class HardFrames:
    """Of each 1 / per_hour the worst frame, unless it looks like one that is saved already: an empty cage is labelled
    once. A jump is told when the next frame has come. saved: since the start. scorer: of a table
    that is begun.

    Never raises after construction."""

    def __init__(self, settings: HardFramesConfig, device: str, skeleton: Skeleton, scorer: str) -> None:
        self.saved = 0
        self.alerts: dict[str, str] = {}
        self._settings, self._device, self._skeleton, self.scorer = settings, device, skeleton, scorer
        self._root = Path(settings.folder) / "labeled-data"
        self._period_s = 3600 / settings.per_hour
        self._last: deque[tuple[Frame, Pose]] = deque(maxlen=3)
        self._poses: deque[Pose] = deque(maxlen=_LENGTH_POSES)
        self._length_px = 0.0
        self._remembered: deque[NDArray[np.int16]] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()
        self._best: _Candidate | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="uncertain", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def captured(self, frame: Frame) -> None:
        """Nothing is known of it yet."""

    def posed(self, frame: Frame, pose: Pose) -> None:
        self._last.append((frame, pose))
        self._poses.append(pose)
        if len(self._last) < 3:
            return
        xy, score = _stacked([pose for _, pose in self._last])
        time_s = np.array([frame.captured_mono_ns for frame, _ in self._last]) / 1e9
        trouble = judge_poses(xy, score, time_s - time_s[0], self._skeleton, self._length(frame.size_wh))
        middle, severity = self._last[1], float(trouble.severity[1])
        if score[1].min() >= self._settings.below and not trouble.moves[1]:
            return
        with self._lock:
            if self._best is not None and severity <= self._best.severity:
                return
            small = _small(middle[0])
            if not self._is_known(small):
                self._best = _Candidate(severity, *middle, small)

    def close(self) -> None:
        """Saves what is the worst so far."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    def _is_known(self, small: NDArray[np.int16]) -> bool:
        return any(np.abs(small - other).max() <= _ALIKE for other in tuple(self._remembered))

    def _length(self, size_wh: tuple[int, int]) -> float:
        """Of the animal; it hardly changes, so it is not worth measuring at each pose."""
        if not self._length_px or len(self._poses) == _LENGTH_POSES:
            self._length_px = animal_length(*_stacked(self._poses), size_wh)
            if len(self._poses) == _LENGTH_POSES:
                self._poses.clear()
        return self._length_px

    def _work(self) -> None:
        while not self._stop.wait(self._period_s):
            self._save_best()
        self._save_best()

    def _save_best(self) -> None:
        with self._lock:
            candidate, self._best = self._best, None
        if candidate is None or self._is_known(candidate.small):  # by now, maybe
            return
        try:
            trouble = self._bound()
            if not trouble:
                self._save(candidate)
        except Exception as exc:  # a disk; the next frame may fare better
            trouble = f"{self._root}: cannot save frames ({getattr(exc, 'strerror', None) or exc})"
        if not trouble:
            self.alerts.clear()
        elif self.alerts.get("uncertain") != trouble:
            log.warning("%s", trouble)
            self.alerts["uncertain"] = trouble

    def _bound(self) -> str:
        """Why nothing may be saved; empty when something may."""
        self._root.mkdir(parents=True, exist_ok=True)
        files = [path for path in self._root.rglob("*") if path.is_file()]
        if sum(path.stat().st_size for path in files) >= self._settings.max_mb * 1e6:
            frames = sum(path.suffix == ".png" for path in files)
            return f"{self._root}: {frames} frames fill uncertain.max_mb; fetch and remove them"
        return f"{self._root}: the disk is nearly full, so no frames are saved" if room(self._root) < 0 else ""

    def _save(self, candidate: _Candidate) -> None:
        frame, pose = candidate.frame, candidate.pose
        folder = self._day_folder(frame.captured_us)
        number = 1 + max((int(path.stem[3:]) for path in folder.glob("img*.png")), default=0)
        name = f"img{number:05}.png"
        _write(folder / f".{name}.part", cv2.imencode(".png", as_bgr(frame))[1].tobytes())
        (folder / f".{name}.part").replace(folder / name)
        cells = csv_cells(np.column_stack([pose.xy_px, pose.score]).astype(float).ravel())
        _append(folder / TABLE, _line(["labeled-data", folder.name, name, *cells]))
        self.saved += 1
        self._remembered.append(candidate.small)

    def _day_folder(self, t_us: int) -> Path:
        """Another one where today's has the predictions of another model."""
        stem = f"{self._device}-{time.strftime('%Y%m%d', time.gmtime(t_us / 1e6))}"
        header, number = "".join(_line(row) for row in csv_header(self._skeleton, self.scorer, 3)), 1
        while True:
            folder = self._root / (stem if number == 1 else f"{stem}_{number}")
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / TABLE).exists():
                _write(folder / f".{TABLE}.part", header.encode())
                (folder / f".{TABLE}.part").replace(folder / TABLE)
            with (folder / TABLE).open("rb") as file:
                if file.read(len(header.encode())) == header.encode():
                    return folder
            number += 1


def _stacked(poses: Sequence[Pose] | deque[Pose]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([pose.xy_px for pose in poses], float), np.array([pose.score for pose in poses], float)


def _small(frame: Frame) -> NDArray[np.int16]:
    """Grey, and so small that noise is gone."""
    image = frame.image
    if frame.order == "i420":
        image = image[: image.shape[0] * 2 // 3]  # brightness
    small = cv2.resize(image, _SMALL_WH, interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.asarray(small.mean(axis=2) if small.ndim == 3 else small, np.int16)


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _append(path: Path, line: str) -> None:
    """A row that a power cut left half done goes first."""
    with path.open("r+b") as file:
        whole = file.read().rpartition(b"\n")[0] + b"\n"
        file.seek(len(whole))
        file.truncate()
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
