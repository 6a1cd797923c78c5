"""Every MQTT payload that a device sends by itself, and the topic table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgepose.core.types import F64, Pose, Skeleton

Wire = Literal["json", "msgpack"]
Rate = Annotated[float, Meta(gt=0, le=1000)]
Score = Annotated[float, Meta(ge=0, le=1)]
Corner = Annotated[int, Meta(ge=0, le=65_535)]
Side = Annotated[int, Meta(ge=16, le=65_535)]
Region = tuple[Corner, Corner, Side, Side]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """v: version of the payload. device: one camera. boot: the kernel's boot id."""

    v: Literal[1] = 1
    device: str
    boot: str


class Keypoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """x, y: pixels of the frame, pixel (0, 0) is the centre of the top-left pixel. score: 0..1.
    x_mm, y_mm: on the ground, where the config has a `geometry` that reaches there."""

    x: float
    y: float
    score: float
    x_mm: float | UnsetType = UNSET
    y_mm: float | UnsetType = UNSET


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


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the command `set` changes. rate_hz: most poses a second. min_score: keypoints below are left out of the
    poses. region: (x, y, w, h) of the frame to look at. None: no limit, the whole frame."""

    rate_hz: Rate | None = None
    min_score: Score = 0.0
    region: Region | None = None


class InfoMessage(Message, frozen=True, kw_only=True):
    """What a subscriber needs to read poses. Retained. size_wh: of the frames; null until the first one.
    tags: from the config, such as subject or cage. settings: in effect now."""

    model: str
    skeleton: Skeleton
    size_wh: tuple[int, int] | None
    versions: dict[str, str]
    tags: dict[str, str]
    settings: Settings


class StatusMessage(Message, frozen=True, kw_only=True):
    """Retained. online; stopped = shut down cleanly; offline = the broker sent the last will.
    run: id of this start of the daemon, so that the late will of an earlier one is recognised."""

    state: Literal["online", "stopped", "offline"]
    run: str


class BatchMessage(Message, frozen=True, kw_only=True):
    """Many poses in one message: a backlog (replay), or bulk logging. boot: of the daemon that sends; each pose
    carries its own."""

    replay: bool
    poses: list[PoseMessage]


class EventMessage(Message, frozen=True, kw_only=True):
    """Something that happened, delivered like a pose. event: numbers events as seq does poses; (device, boot, event)
    never repeats. seq: of the first pose that was accepted after it. kind: `started` (the daemon), `mark_start`,
    `mark_stop` and `mark_note` (of an experiment), `settings` (a command changed them), `dropped` (poses given up,
    count of them). tags: from the config; those of `started` hold for the poses up to the next one."""

    event: int
    seq: int
    t_us: int
    synced: bool
    replay: bool
    kind: str
    text: str
    count: int
    tags: dict[str, str]


class HealthMessage(Message, frozen=True, kw_only=True):
    """Retained, every 30 s. Counters since the daemon started; `skipped` and `dropped` by reason.
    delivered: poses and events acknowledged, also of earlier runs. waiting: in memory; spooled: on the disk,
    spool_mb its size. connects: to the broker. alerts: what is wrong now, by what it is about. rejected: commands, by
    reason.
    stage_ms: per stage the median, 95th and 99th percentile of the last poses, milliseconds."""

    t_us: int
    uptime_s: float
    fps: float
    captured: int
    poses: int
    delivered: int
    waiting: int
    spooled: int
    spool_mb: float
    connects: int
    alerts: dict[str, str]
    skipped: dict[str, int]
    dropped: dict[str, int]
    rejected: dict[str, int]
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
    "poses": Topic("poses", BatchMessage, retained=False),
    "event": Topic("event", EventMessage, retained=False),
    "info": Topic("info", InfoMessage, retained=True),
    "status": Topic("status", StatusMessage, retained=True),
    "health": Topic("health", HealthMessage, retained=True),
}


def topic_name(device: str, leaf: str) -> str:
    return f"edgepose/{device}/{leaf}"


def split_topic(name: str) -> tuple[str, str] | None:
    """(device, leaf) of one of our topics, None for any other. Of a command or a reply the leaf is that word."""
    parts = name.split("/")
    leaves = {3: TOPICS.keys(), 4: {"command", "reply"}}.get(len(parts), set())
    return (parts[1], parts[2]) if parts[0] == "edgepose" and leaves and parts[2] in leaves else None


M = TypeVar("M", bound=msgspec.Struct)


def encode(message: Message, wire: Wire = "json") -> bytes:
    return msgspec.json.encode(message) if wire == "json" else msgspec.msgpack.encode(message)


def decode(payload: bytes, kind: type[M]) -> M:
    """Either wire format: JSON begins with a brace, MessagePack's maps never do.
    Raises msgspec.DecodeError or UnicodeDecodeError for what is neither, or does not fit the schema."""
    if payload[:1] == b"{":
        return msgspec.json.decode(payload, type=kind)
    return msgspec.msgpack.decode(payload, type=kind)


def keypoints_of(
    pose: Pose, skeleton: Skeleton, min_score: float = 0.0, xy_mm: F64 | None = None
) -> dict[str, Keypoint]:
    """Rounded to 0.01 px, 0.001 mm and 0.001: ten times finer than the best human label, and short.
    xy_mm: (K, 2), NaN where unknown."""
    found = {
        name: Keypoint(round(x, 2), round(y, 2), round(score, 3))
        for name, (x, y), score in zip(skeleton.keypoints, pose.xy_px.tolist(), pose.score.tolist(), strict=True)
        if score >= min_score
    }
    if xy_mm is not None:
        for name, (x_mm, y_mm) in zip(skeleton.keypoints, xy_mm.tolist(), strict=True):
            if name in found and math.isfinite(x_mm + y_mm):
                found[name] = msgspec.structs.replace(found[name], x_mm=round(x_mm, 3), y_mm=round(y_mm, 3))
    return found
