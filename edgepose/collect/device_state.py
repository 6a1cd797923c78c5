"""Keeps what a subscriber knows about one device: its last messages, and statistics of what has come lately."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from edgepose.mqtt.subscriber import AnyMessage
from edgepose.protocol.messages import (
    BatchMessage,
    EventMessage,
    HealthMessage,
    InfoMessage,
    PoseMessage,
    StatusMessage,
)
from edgepose.protocol.seq_ranges import SeqRanges
from edgepose.types import F64

_RATE_WINDOW_S = 3.0
_TRAIL = 60
_RECENT = 2000  # poses for the statistics of latency and error: a minute

Truth: TypeAlias = Callable[[int], Mapping[str, F64]]


@dataclass
class DeviceState:
    """The state of one device. Times are seconds of the monotonic clock.

    Attributes:
        device: its name.
        truth: gives the true keypoints of a frame by name, (2,) each, where they are known.
        pose: the last pose; so are info, status, health and event.
        frames: number of frames captured since the first pose.
        first_s: when the first pose came; last_s: when the last pose came.
        latency_ms: of the last poses.
        errors_px: distances of the first animal's keypoints from the truth in the last poses, by name. A pose may lack
            keypoints: those below the `min_score` that a command has set.
        trail: mean position of each animal's keypoints in the last poses, (2,) each.
    """

    device: str
    truth: Truth | None = None
    pose: PoseMessage | None = None
    info: InfoMessage | None = None
    status: StatusMessage | None = None
    health: HealthMessage | None = None
    event: EventMessage | None = None
    frames: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    latency_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    errors_px: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    trail: deque[F64] = field(default_factory=lambda: deque(maxlen=_TRAIL))
    _arrivals_s: deque[float] = field(default_factory=deque)
    _first_seq: int = 0
    _seqs: SeqRanges = field(default_factory=SeqRanges)

    @property
    def poses(self) -> int:
        """Number of poses that have come, each once."""
        return len(self._seqs)

    @property
    def lost(self) -> int:
        """Number of poses whose `seq` has not come."""
        return self._seqs.missing()

    def update(self, message: AnyMessage, now_s: float) -> None:
        match message:
            case PoseMessage():
                self._add_pose(message, now_s)
            case BatchMessage():
                for pose in message.poses:
                    self._add_pose(pose, now_s)
            case EventMessage():
                self.event = message
            case InfoMessage():
                self.info = message
            case StatusMessage():
                self._take_status(message)
            case HealthMessage():
                self.health = message

    def fps(self, now_s: float) -> float:
        """Returns the poses per second over the last seconds; it falls when no more come."""
        while self._arrivals_s and now_s - self._arrivals_s[0] > _RATE_WINDOW_S:
            self._arrivals_s.popleft()
        if len(self._arrivals_s) < 2:
            return 0.0
        return (len(self._arrivals_s) - 1) / max(now_s - self._arrivals_s[0], 1e-3)

    def mean_fps(self) -> float:
        """Returns the poses per second from the first to the last pose."""
        return (self.poses - 1) / max(self.last_s - self.first_s, 1e-3) if self.poses > 1 else 0.0

    def latency(self) -> tuple[float, float]:
        """Returns median and 95th percentile of the latency, in milliseconds."""
        if not self.latency_ms:
            return 0.0, 0.0
        p50, p95 = np.percentile(self.latency_ms, (50, 95)).tolist()
        return p50, p95

    def skipped(self) -> int:
        """Returns the number of captured frames of which no pose was made."""
        return self.frames - self.poses - self.lost

    def error_px(self) -> dict[str, float]:
        """Returns the mean distance of each keypoint from the truth, in pixels; none where the truth is not known."""
        found: dict[str, list[float]] = {}
        for errors in self.errors_px:
            for name, error in errors.items():
                found.setdefault(name, []).append(error)
        return {name: sum(errors) / len(errors) for name, errors in found.items()}

    def mean_error_px(self) -> float | None:
        """Returns the mean over all keypoints, in pixels; None where the truth is not known."""
        means = self.error_px().values()
        return sum(means) / len(means) if means else None

    def _add_pose(self, message: PoseMessage, now_s: float) -> None:
        last = self.pose
        if last is not None and last.boot == message.boot and message.seq <= last.seq:
            if message.seq > self._first_seq:  # of this run; it may be a repeat, because QoS 1 is at least once
                self._seqs.add(message.seq)
            return
        if last is not None and (last.boot != message.boot or message.frame <= last.frame):
            self._reset()
        if self.pose is None:
            self.first_s, self.frames, self._first_seq = now_s, 1, message.seq
        else:
            self.frames += message.frame - self.pose.frame
        self.pose, self.last_s = message, now_s
        self._seqs.add(message.seq)
        self._arrivals_s.append(now_s)
        self.latency_ms.append(message.latency_ms)
        animals = [
            {name: np.array([point.x, point.y]) for name, point in animal.keypoints.items()}
            for animal in message.animals
        ]
        self.trail.extend(np.mean(list(xy.values()), axis=0) for xy in animals if xy)
        if self.truth is not None and animals:
            xy, true = animals[0], self.truth(message.frame)
            self.errors_px.append({name: float(np.linalg.norm(xy[name] - true[name])) for name in xy})

    def _take_status(self, message: StatusMessage) -> None:
        """Takes a status. The last will of an earlier run may come late, and says nothing of the one that is online."""
        last = self.status
        if last is not None and last.run != message.run:
            if message.state == "offline" and last.state == "online":
                return
            self._reset()
        self.status = message

    def _reset(self) -> None:
        """Forgets the counts, because another run of the daemon counts from the start."""
        self.pose = None
        self.frames = 0
        self._seqs = SeqRanges()
        self.latency_ms.clear()
        self.errors_px.clear()
        self.trail.clear()
        self._arrivals_s.clear()
