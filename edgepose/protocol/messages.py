"""The payloads that a device sends by itself. The descriptions of their fields are in the schemas that we ship.

To add a field, add it here with a description, and to `examples`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgepose.types import Skeleton

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
    """What every message has."""

    v: Annotated[Literal[1], Meta(description="Version of the payload.")] = 1
    device: Annotated[str, Meta(description="Name of the device, which is one camera.")]
    boot: Annotated[BootId, Meta(description="The kernel's boot id: another one after each boot.")]


class Keypoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Where one keypoint is. Pixel (0, 0) is the centre of the top-left pixel."""

    x: Annotated[float, Meta(description="To the right, in pixels of the frame.")]
    y: Annotated[float, Meta(description="Downwards, in pixels of the frame.")]
    score: Annotated[Score, Meta(description="How sure the model is, from 0 to 1.")]
    x_mm: (
        Annotated[
            float, Meta(description="On the ground, in millimetres. Absent without a `geometry` that reaches there.")
        ]
        | UnsetType
    ) = UNSET
    y_mm: (
        Annotated[
            float, Meta(description="On the ground, in millimetres. Absent without a `geometry` that reaches there.")
        ]
        | UnsetType
    ) = UNSET


class PoseMessage(Message, frozen=True, kw_only=True):
    """One pose. (device, boot, seq) never repeats."""

    seq: Annotated[Count, Meta(description="Number of the pose: it counts accepted poses by one.")]
    frame: Annotated[
        Count,
        Meta(description="Number of the captured frame, from 0 at each start of the daemon, with gaps."),
    ]
    t_us: Annotated[Count, Meta(description="When the frame was captured: wall clock, microseconds since 1970, UTC.")]
    synced: Annotated[bool, Meta(description="Whether that clock was synchronised.")]
    replay: Annotated[bool, Meta(description="True when the pose is sent again or late, from the spool.")]
    # Without a limit: no pose is to be refused for what a camera's clock says.
    latency_ms: Annotated[float, Meta(description="From the capture to the first hand-over, in milliseconds.")]
    model: Annotated[str, Meta(description="Id of the model that made the pose, such as openfield@3fa2c1.")]
    size_wh: Annotated[tuple[Pixels, Pixels], Meta(description="Width and height of the frame, in pixels.")]
    keypoints: Annotated[
        dict[str, Keypoint],
        Meta(max_length=1_000, description="The keypoints by name, without those below the device's `min_score`."),
    ]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the command `set` changes."""

    rate_hz: Annotated[
        Rate | None, Meta(description="Most poses per second of a live camera; null is without a limit.")
    ] = None
    min_score: Annotated[Score, Meta(description="Keypoints with a lower score are left out of the poses.")] = 0.0
    region: Annotated[
        Region | None,
        Meta(description="Part of the frame that the model sees: x, y, width, height in pixels; null is all of it."),
    ] = None


class InfoMessage(Message, frozen=True, kw_only=True):
    """What a subscriber needs to read the poses."""

    model: Annotated[str, Meta(description="Id of the model that runs, such as openfield@3fa2c1.")]
    skeleton: Annotated[Skeleton, Meta(description="Names of the keypoints, and which of them are joined or mirrored.")]
    size_wh: Annotated[
        tuple[Pixels, Pixels] | None,
        Meta(description="Width and height of the frames, in pixels; null until the first frame."),
    ]
    versions: Annotated[dict[str, str], Meta(description="Versions of edgepose, Python and the model's runtime.")]
    tags: Annotated[Tags, Meta(description="Tags of the config, such as subject or cage.")]
    settings: Annotated[Settings, Meta(description="The settings in effect now.")]


class StatusMessage(Message, frozen=True, kw_only=True):
    """Whether the daemon is there."""

    state: Annotated[
        Literal["online", "stopped", "offline"],
        Meta(description="`stopped` after a clean end; `offline` comes from the broker, as the last will."),
    ]
    run: Annotated[
        str, Meta(description="Id of this start of the daemon, which tells the late will of an earlier one apart.")
    ]


class BatchMessage(Message, frozen=True, kw_only=True):
    """Many poses in one message: what had to wait, or bulk logging. `boot` is that of the daemon that sends."""

    replay: Annotated[bool, Meta(description="True when the poses come late, from the spool.")]
    poses: Annotated[list[PoseMessage], Meta(description="The poses; each carries its own boot id.")]


_KINDS = """
What happened. `started`: the daemon. `mark_start`, `mark_stop`, `mark_note`: the command `mark`, of an experiment.
`settings`: a command changed them. `dropped`: poses were given up. `alert`: something is wrong that was not before,
as in /health. `camera_stalled`: no frame comes; then what is tried, `camera_flush`, `camera_restart`,
`camera_reopen`; and how it ended, `camera_recovered` or `camera_lost` (the daemon ends, to be started again).
`segment`: a part of the recording is complete; `segment_removed`: it was removed to make room. `model_installed`,
`model_activated`, `model_switching` (the daemon starts anew for it), `model_refused`, `model_rolled_back` (a model on
trial), `model_configured` (the config names another model than before). `delegate_live`, `delegate_lost`: an
accelerator. `rule_on`, `rule_off`: a rule; the text says which, and how long after the frame. `ttl_in`: an edge on an
input. `ttl_out`: a pulse for synchronising. `processor_off`: own code failed. `heat`: fewer poses, before the board
gets too hot, or all of them again."""


class EventMessage(Message, frozen=True, kw_only=True):
    """Something that happened, delivered as safely as a pose. (device, boot, event) never repeats."""

    event: Annotated[Count, Meta(description="Number of the event: it counts events as `seq` counts poses.")]
    seq: Annotated[Count, Meta(description="`seq` of the first pose that was accepted after it.")]
    t_us: Annotated[Count, Meta(description="When it happened: wall clock, microseconds since 1970, UTC.")]
    synced: Annotated[bool, Meta(description="Whether that clock was synchronised.")]
    replay: Annotated[bool, Meta(description="True when the event is sent again or late, from the spool.")]
    kind: Annotated[str, Meta(description=" ".join(_KINDS.split()))]
    text: Annotated[str, Meta(description="What happened, in words.")]
    count: Annotated[
        Count,
        Meta(description="How many: poses that were dropped, frames of a segment, edges, the pulse's number; else 0."),
    ]
    tags: Annotated[
        Tags, Meta(description="Tags of the config. Those of `started` hold for the poses up to the next start.")
    ]


class Recorded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of the frames on the device."""

    on: Annotated[bool, Meta(description="Whether frames are being recorded now.")]
    segments: Annotated[Count, Meta(description="Complete segments on the disk.")]
    mb: Annotated[Amount, Meta(description="Size of all that is there, in megabytes.")]
    frames: Annotated[Count, Meta(description="Frames recorded since the start.")]
    dropped: Annotated[
        dict[str, Count], Meta(description="Frames that should have been recorded and were not, by reason.")
    ]
    uncertain: Annotated[Count, Meta(description="Frames saved for labelling.")]


class Board(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The computer that the daemon runs on. null: it does not say."""

    temperature_c: Annotated[float | None, Meta(description="Temperature of the processor, in degrees Celsius.")]
    throttled: Annotated[
        dict[str, bool],
        Meta(
            description="What the firmware does now: under_voltage, frequency_capped, throttled, "
            "soft_temperature_limit."
        ),
    ]
    throttled_since_boot: Annotated[dict[str, bool], Meta(description="The same, once or more since the boot.")]
    memory_free_mb: Annotated[Amount | None, Meta(description="Memory that is free, in megabytes.")]
    disk_free_mb: Annotated[Amount | None, Meta(description="Room on the disk, in megabytes.")]
    load: Annotated[Amount, Meta(description="Load average of the last minute.")]
    clock_synced: Annotated[bool, Meta(description="Whether a time service has set the wall clock.")]
    up_s: Annotated[Amount, Meta(description="Seconds since the boot.")]


class HealthMessage(Message, frozen=True, kw_only=True):
    """How the daemon is, every 30 s. Counters begin at its start."""

    t_us: Annotated[Count, Meta(description="When it was said: wall clock, microseconds since 1970, UTC.")]
    uptime_s: Annotated[Amount, Meta(description="Seconds since the daemon's start.")]
    fps: Annotated[Amount, Meta(description="Poses per second, lately.")]
    captured: Annotated[Count, Meta(description="Frames captured.")]
    poses: Annotated[Count, Meta(description="Poses made.")]
    delivered: Annotated[Count, Meta(description="Poses and events that the broker acknowledged, of earlier runs too.")]
    waiting: Annotated[Count, Meta(description="Poses and events that wait in memory.")]
    spooled: Annotated[Count, Meta(description="Poses and events that wait on the disk.")]
    spool_mb: Annotated[Amount, Meta(description="Size of the spool on the disk, in megabytes.")]
    connects: Annotated[Count, Meta(description="Connections to the broker.")]
    alerts: Annotated[dict[str, str], Meta(description="What is wrong now, in words, by what it is about.")]
    skipped: Annotated[dict[str, Count], Meta(description="Frames that no pose was made of, by reason.")]
    dropped: Annotated[
        dict[str, Count],
        Meta(
            description="Poses and events that were given up, by reason. `refused_...` counts those that the broker "
            "does not take now: they are kept on the disk, and tried again."
        ),
    ]
    rejected: Annotated[
        dict[str, Count],
        Meta(description="Commands that were not carried out, by reason; `unanswered` counts replies that nobody got."),
    ]
    camera: Annotated[
        dict[str, Count],
        Meta(
            description="The camera's stalls, what was done about them (flushes, restarts, reopens), how often frames "
            "came back (recovered), and how many threads were left behind in a driver (abandoned)."
        ),
    ]
    stage_ms: Annotated[
        dict[str, tuple[Amount, Amount, Amount]],
        Meta(description="Median, 95th and 99th percentile of the last poses in milliseconds, by stage."),
    ]
    rss_mb: Annotated[Amount, Meta(description="Memory of the daemon, in megabytes.")]
    runtime: Annotated[str, Meta(description="What runs the model, in words.")]
    delegate: Annotated[str, Meta(description="What the model runs on: `cpu` or `edgetpu`.")] = "cpu"
    recorded: Annotated[
        Recorded | None, Meta(description="null where the config asks for no recording and no uncertain frames.")
    ] = None
    board: Annotated[Board | None, Meta(description="The computer that the daemon runs on.")] = None
