"""Every MQTT payload, the topic table, and the JSON Schemas made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from edgepose.core.types import Pose, Skeleton


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """v: version of the payload. device: one camera. boot: the kernel's boot id."""

    v: Literal[1] = 1
    device: str
    boot: str


class Keypoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """x, y: pixels of the frame, pixel (0, 0) is the centre of the top-left pixel. score: 0..1."""

    x: float
    y: float
    score: float


class PoseMessage(Message, frozen=True, kw_only=True):
    """One pose. seq counts accepted poses, frame counts captured frames; (device, boot, seq) never repeats.
    t_us: wall clock of the capture, epoch microseconds; synced: whether that clock was synchronised.
    replay: sent again or late, from the spool. latency_ms: capture to first hand-over.
    size_wh: of the frame."""

    seq: int
    frame: int
    t_us: int
    synced: bool
    replay: bool
    latency_ms: float
    model: str
    size_wh: tuple[int, int]
    keypoints: dict[str, Keypoint]


class InfoMessage(Message, frozen=True, kw_only=True):
    """What a subscriber needs to read poses. Retained. size_wh: of the frames; null until the first one."""

    model: str
    skeleton: Skeleton
    size_wh: tuple[int, int] | None
    versions: dict[str, str]


class StatusMessage(Message, frozen=True, kw_only=True):
    """Retained. online; stopped = shut down cleanly; offline = the broker sent the last will.
    run: id of this start of the daemon, so that the late will of an earlier one is recognised."""

    state: Literal["online", "stopped", "offline"]
    run: str


class HealthMessage(Message, frozen=True, kw_only=True):
    """Retained, every 30 s. Counters since the daemon started; `skipped` and `dropped` by reason.
    stage_ms: per stage the median, 95th and 99th percentile of the last poses, milliseconds."""

    t_us: int
    uptime_s: float
    fps: float
    captured: int
    poses: int
    delivered: int
    waiting: int
    skipped: dict[str, int]
    dropped: dict[str, int]
    stage_ms: dict[str, tuple[float, float, float]]
    rss_mb: float
    runtime: str


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the topic table. All are sent with QoS 1."""

    leaf: str
    payload: type[Message]
    retained: bool


TOPICS = {
    "pose": Topic("pose", PoseMessage, retained=False),
    "info": Topic("info", InfoMessage, retained=True),
    "status": Topic("status", StatusMessage, retained=True),
    "health": Topic("health", HealthMessage, retained=True),
}


def topic_name(device: str, leaf: str) -> str:
    return f"edgepose/{device}/{leaf}"


def split_topic(name: str) -> tuple[str, str] | None:
    """(device, leaf) of one of our topics, None for any other."""
    parts = name.split("/")
    return (parts[1], parts[2]) if len(parts) == 3 and parts[0] == "edgepose" and parts[2] in TOPICS else None


def encode(message: Message) -> bytes:
    return msgspec.json.encode(message)


def keypoints_of(pose: Pose, skeleton: Skeleton) -> dict[str, Keypoint]:
    """Rounded to 0.01 px and 0.001: ten times finer than the best human label, and short."""
    return {
        name: Keypoint(round(x, 2), round(y, 2), round(score, 3))
        for name, (x, y), score in zip(skeleton.keypoints, pose.xy_px.tolist(), pose.score.tolist(), strict=True)
    }


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of each topic's payload, by topic leaf."""
    found = {}
    for leaf, topic in TOPICS.items():
        schema = msgspec.json.schema(topic.payload)
        found[leaf] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return found
