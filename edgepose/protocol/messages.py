"""Every MQTT payload that a device sends by itself, and the topic table."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgepose.types import F64, Pose, Skeleton

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # exact in JavaScript too; as microseconds it ends in the year 2255
BootId = Annotated[str, Meta(max_length=64)]
Pixels = Annotated[int, Meta(ge=1, le=65_535)]
Tags = Annotated[dict[str, str], Meta(max_length=100)]
Rate = Annotated[float, Meta(ge=0.001, le=1000)]
Score = Annotated[float, Meta(ge=0, le=1)]
Corner = Annotated[int, Meta(ge=0, le=65_535)]
Side = Annotated[int, Meta(ge=16, le=65_535)]
Region = tuple[Corner, Corner, Side, Side]
Amount = Annotated[float, Meta(ge=0)]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """v: version of the payload. device: one camera. boot: the kernel's boot id."""

    v: Literal[1] = 1
    device: str
    boot: BootId


class Keypoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """x, y: pixels of the frame, pixel (0, 0) is the centre of the top-left pixel. score: 0..1.
    x_mm, y_mm: on the ground, where the config has a `geometry` that reaches there."""

    x: float
    y: float
    score: Score
    x_mm: float | UnsetType = UNSET
    y_mm: float | UnsetType = UNSET


class PoseMessage(Message, frozen=True, kw_only=True):
    """One pose. seq counts accepted poses, frame counts captured frames; (device, boot, seq) never repeats.
    t_us: wall clock of the capture, epoch microseconds; synced: whether that clock was synchronised.
    replay: sent again or late, from the spool. latency_ms: capture to first hand-over.
    size_wh: of the frame."""

    seq: Count
    frame: Count
    t_us: Count
    synced: bool
    replay: bool
    latency_ms: float  # no limit: no pose is to be refused for what a camera's clock says
    model: str
    size_wh: tuple[Pixels, Pixels]
    keypoints: Annotated[dict[str, Keypoint], Meta(max_length=1_000)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the command `set` changes. rate_hz: most poses a second of a live camera. min_score: keypoints below it are
    left out of the poses. region: (x, y, w, h) of the frame to look at. None: no limit, the whole frame."""

    rate_hz: Rate | None = None
    min_score: Score = 0.0
    region: Region | None = None


class InfoMessage(Message, frozen=True, kw_only=True):
    """What a subscriber needs to read poses. Retained. size_wh: of the frames; null until the first one.
    tags: from the config, such as subject or cage. settings: in effect now."""

    model: str
    skeleton: Skeleton
    size_wh: tuple[Pixels, Pixels] | None
    versions: dict[str, str]
    tags: Tags
    settings: Settings


class StatusMessage(Message, frozen=True, kw_only=True):
    """Whether the daemon is there. Retained. online; stopped = shut down cleanly; offline = the broker sent the last
    will. run: id of this start of the daemon, so that the late will of an earlier one is recognised."""

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
    count of them), `camera_stalled` (no frame comes; text says why), then what is tried, `camera_flush`,
    `camera_restart` and `camera_reopen`, and how it ended, `camera_recovered` or `camera_lost` (the daemon ends, to be
    started again), `segment` (of the recording, complete; count of its frames), `segment_removed` (to make room),
    `alert` (something is wrong that was not before, as in /health), `model_installed`, `model_activated`,
    `model_switching` (the daemon starts anew for it), `model_refused`, `model_rolled_back` (a model that was tried),
    `model_configured` (the config's is another than before), `delegate_live` and `delegate_lost` (an accelerator),
    `rule_on` and `rule_off` (text: which, and how long after the frame), `ttl_in` (an edge on an input; count of its
    edges), `ttl_out` (a pulse for synchronising; its number), `processor_off` (own code failed), `heat` (fewer poses,
    before the board gets too hot, or all again). tags: from the config; those of `started` hold for the poses up to the
    next one."""

    event: Count
    seq: Count
    t_us: Count
    synced: bool
    replay: bool
    kind: str
    text: str
    count: Count
    tags: Tags


class Recorded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """on: frames are being recorded now. segments: complete ones on the disk, mb the size of all that is there.
    frames: since the start; dropped: frames that should have been recorded, by reason. uncertain: frames saved for
    labelling."""

    on: bool
    segments: Count
    mb: Amount
    frames: Count
    dropped: dict[str, Count]
    uncertain: Count


class Board(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the daemon runs on. null: the board does not tell. throttled: what the firmware does now, of under_voltage,
    frequency_capped, throttled and soft_temperature_limit; throttled_since_boot: the same, once or more. load: of the
    last minute. clock_synced: whether a time service has set the wall clock. up_s: since boot."""

    temperature_c: float | None
    throttled: dict[str, bool]
    throttled_since_boot: dict[str, bool]
    memory_free_mb: Amount | None
    disk_free_mb: Amount | None
    load: Amount
    clock_synced: bool
    up_s: Amount


class HealthMessage(Message, frozen=True, kw_only=True):
    """How the daemon is. Retained, every 30 s. Counters since it started; `skipped` and `dropped` by reason, where
    `refused_...` are those that the broker does not take now: set aside on the disk, and tried again.
    delivered: poses and events acknowledged, also of earlier runs. waiting: in memory; spooled: on the disk,
    spool_mb its size. connects: to the broker. alerts: what is wrong now, by what it is about. rejected: commands that
    were not carried out, by reason; `unanswered`: replies that nobody got. camera: stalls, what was done about them
    (flushes, restarts, reopens), how often frames came back (recovered), and how many threads were left behind in a
    driver (abandoned). recorded: null where the config asks for no recording and no hard frames.
    stage_ms: per stage the median, 95th and 99th percentile of the last poses, milliseconds. runtime: what runs the
    model, in words; delegate: on what, `cpu` or `edgetpu`."""

    t_us: Count
    uptime_s: Amount
    fps: Amount
    captured: Count
    poses: Count
    delivered: Count
    waiting: Count
    spooled: Count
    spool_mb: Amount
    connects: Count
    alerts: dict[str, str]
    skipped: dict[str, Count]
    dropped: dict[str, Count]
    rejected: dict[str, Count]
    camera: dict[str, Count]
    stage_ms: dict[str, tuple[Amount, Amount, Amount]]
    rss_mb: Amount
    runtime: str
    delegate: str = "cpu"
    recorded: Recorded | None = None
    board: Board | None = None


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


def is_purged(leaf: str, payload: bytes | bytearray) -> bool:
    """Whether this says that a retained message was removed from the broker."""
    return not payload and leaf in TOPICS and TOPICS[leaf].retained


M = TypeVar("M")


def encode(message: Message) -> bytes:
    """Returns the message as JSON."""
    return msgspec.json.encode(message)


def decode(payload: bytes, kind: type[M]) -> M:
    """Reads JSON. Raises msgspec.DecodeError or UnicodeDecodeError for what is not JSON, or does not fit the schema."""
    found: M = _decoder(kind)(payload)  # type: ignore[arg-type]  # a class is hashable
    return found


@functools.cache
def _decoder(kind: type[Any]) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(kind).decode


def as_json(payload: bytes) -> bytes:
    """Returns a payload as JSON, also one that an earlier version has written as MessagePack.

    The maps of MessagePack begin with a byte beyond ASCII, and JSON never does. What is neither is returned as it is.
    """
    if payload[:1] < b"\x80":
        return payload
    try:
        return msgspec.json.encode(msgspec.msgpack.decode(payload, type=dict[str, Any]))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload


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
