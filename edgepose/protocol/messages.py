"""Defines the messages that a device sends by itself. The schemas show the `Attributes:` of each struct.

Whoever reads ignores fields that it does not know, so that a newer device and an older reader understand each other. To
add a field, add it here with a description, and to `examples`. A change that an older reader would misunderstand needs
another number `v`, and a converter in `versions`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgepose.types import MOST_KEYPOINTS, MOST_NAME_CHARS, Skeleton

VERSION: Final = 2  # of the messages
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # exact in JavaScript too; as microseconds it ends in the year 2255
BootId = Annotated[str, Meta(max_length=64)]
Pixels = Annotated[int, Meta(ge=1, le=65_535)]
Name = Annotated[str, Meta(max_length=MOST_NAME_CHARS)]
Tags = Annotated[dict[Name, Name], Meta(max_length=100)]
Rate = Annotated[float, Meta(ge=0.001, le=1000)]
Score = Annotated[float, Meta(ge=0, le=1)]
Corner = Annotated[int, Meta(ge=0, le=65_535)]
Side = Annotated[int, Meta(ge=16, le=65_535)]
Region = tuple[Corner, Corner, Side, Side]
Amount = Annotated[float, Meta(ge=0)]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What every message has.

    Attributes:
        v: Version of the payload.
        device: Name of the device, which is one camera.
        boot: The kernel's boot id: another one after each boot.
    """

    v: Literal[2] = VERSION
    device: Name
    boot: BootId


class Keypoint(msgspec.Struct, frozen=True, gc=False):
    """Where one keypoint is. Pixel (0, 0) is the centre of the top-left pixel.

    Attributes:
        x: To the right, in pixels of the frame.
        y: Downwards, in pixels of the frame.
        score: How sure the model is, from 0 to 1.
        x_mm: On the ground, in millimetres. Absent without a `geometry` that reaches there.
        y_mm: On the ground, in millimetres. Absent without a `geometry` that reaches there.
    """

    x: float
    y: float
    score: Score
    x_mm: float | UnsetType = UNSET
    y_mm: float | UnsetType = UNSET


class AnimalMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One animal in a frame.

    Attributes:
        id: Name of the animal for as long as its identity holds. A model of one animal calls it "1".
        id_score: How sure the identity is, from 0 to 1.
        score: How likely this is an animal, from 0 to 1. A model of one animal gives the mean of all its keypoints'
            scores.
        keypoints: The keypoints by name, without those below the device's `min_score`.
    """

    id: Name
    id_score: Score
    score: Score
    keypoints: Annotated[dict[Name, Keypoint], Meta(max_length=MOST_KEYPOINTS)]


class PoseMessage(Message, frozen=True, kw_only=True):
    """The animals of one frame. (device, boot, seq) never repeats.

    Attributes:
        seq: Number of the pose: it counts accepted poses by one.
        frame: Number of the captured frame, from 0 at each start of the daemon, with gaps.
        t_us: When the frame was captured: wall clock, microseconds since 1970, UTC.
        mono_us: When the frame was captured: monotonic clock of this boot, in microseconds, which never jumps. null: an
            earlier version of edgepose, which did not send it, has made the pose.
        synced: Whether the wall clock was synchronised.
        clock_error_us: The largest error that the wall clock may have, in microseconds, as the computer's time service
            bounds it. null: the time service does not say.
        replay: True when the pose is sent again or late, from the spool.
        latency_ms: From the capture to the first hand-over, in milliseconds.
        model: Id of the model that made the pose, such as openfield@3fa2c1.
        size_wh: Width and height of the frame, in pixels.
        animals: The animals. An animal whose score is below the device's `inference.min_animal_score` is left out.
    """

    seq: Count
    frame: Count
    t_us: Count
    mono_us: Count | None
    synced: bool
    clock_error_us: Count | None
    replay: bool
    # Without a limit: no pose is to be refused for what a camera's clock says.
    latency_ms: float
    model: Name
    size_wh: tuple[Pixels, Pixels]
    animals: Annotated[list[AnimalMessage], Meta(max_length=64)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the command `set` changes.

    Attributes:
        rate_hz: Most poses per second of a live camera; null is without a limit.
        min_score: Keypoints with a lower score are left out of the poses.
        region: Part of the frame that the model sees: x, y, width, height in pixels; null is all of it.
    """

    rate_hz: Rate | None = None
    min_score: Score = 0.0
    region: Region | None = None


class InfoMessage(Message, frozen=True, kw_only=True):
    """What a subscriber needs to read the poses.

    Attributes:
        model: Id of the model that runs, such as openfield@3fa2c1.
        skeleton: Names of the keypoints, and which of them are joined or mirrored.
        size_wh: Width and height of the frames, in pixels; null until the first frame.
        versions: Versions of edgepose, Python and the model's runtime.
        tags: Tags of the config, such as subject or cage.
        settings: The settings in effect now.
    """

    model: Name
    skeleton: Skeleton
    size_wh: tuple[Pixels, Pixels] | None
    versions: dict[str, str]
    tags: Tags
    settings: Settings


class StatusMessage(Message, frozen=True, kw_only=True):
    """Whether the daemon is there.

    Attributes:
        state: `stopped` after a clean end; `offline` comes from the broker, as the last will.
        run: Id of this start of the daemon, which tells the late will of an earlier one apart.
    """

    state: Literal["online", "stopped", "offline"]
    run: Name


class BatchMessage(Message, frozen=True, kw_only=True):
    """Many poses in one message: what had to wait, or bulk logging. `boot` is that of the daemon that sends.

    Attributes:
        replay: True when the poses come late, from the spool.
        poses: The poses; each carries its own boot id.
    """

    replay: bool
    poses: list[PoseMessage]


class EventMessage(Message, frozen=True, kw_only=True):
    """Something that happened, delivered as safely as a pose. (device, boot, event) never repeats.

    Attributes:
        event: Number of the event: it counts events as `seq` counts poses.
        seq: `seq` of the first pose that was accepted after it.
        t_us: When it happened: wall clock, microseconds since 1970, UTC.
        synced: Whether that clock was synchronised.
        replay: True when the event is sent again or late, from the spool.
        kind: What happened. `started`: the daemon. `mark_start`, `mark_stop`, `mark_note`: the command `mark`, of an
            experiment. `settings`: a command changed them. `dropped`: poses were given up. `alert`: something is wrong
            that was not before, as in /health. `camera_stalled`: no frame comes; then what is tried, `camera_flush`,
            `camera_restart`, `camera_reopen`; and how it ended, `camera_recovered` or `camera_lost` (the daemon ends,
            to be started again). `segment`: a part of the recording is complete; `segment_removed`: it was removed to
            make room. `model_installed`, `model_activated`, `model_switching` (the daemon restarts for it),
            `model_refused`, `model_rolled_back` (a model on trial), `model_configured` (the config names another model
            than before). `delegate_live`, `delegate_lost`: an accelerator. `rule_on`, `rule_off`: a rule; the text says
            which, and how long after the frame. `ttl_in`: an edge on an input. `ttl_out`: a pulse for synchronising.
            `processor_off`: own code failed. `heat`: fewer poses, before the board gets too hot, or all of them again.
            `renamed`: the device had another name before, and has taken over what was left under it. `left_behind`:
            poses of a device that no configuration describes wait on this computer.
        text: What happened, in words.
        count: How many: poses that were dropped, frames of a segment, edges, the pulse's number; else 0.
        tags: Tags of the config. Those of `started` hold for the poses up to the next start.
    """

    event: Count
    seq: Count
    t_us: Count
    synced: bool
    replay: bool
    kind: Name
    text: str
    count: Count
    tags: Tags


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of the frames on the device.

    Attributes:
        on: Whether frames are being recorded now.
        segments: Complete segments on the disk.
        mb: Size of all that is there, in megabytes.
        frames: Frames recorded since the start.
        dropped: Frames that should have been recorded and were not, by reason.
        uncertain: Frames saved for labelling.
    """

    on: bool
    segments: Count
    mb: Amount
    frames: Count
    dropped: dict[str, Count]
    uncertain: Count


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """The computer that the daemon runs on. null: it does not say.

    Attributes:
        temperature_c: Temperature of the processor, in degrees Celsius.
        throttled: What the firmware does now: under_voltage, frequency_capped, throttled, soft_temperature_limit.
        throttled_since_boot: The same, once or more since the boot.
        memory_free_mb: Memory that is free, in megabytes.
        disk_free_mb: Room on the disk, in megabytes.
        load: Load average of the last minute.
        clock_synced: Whether a time service has set the wall clock.
        up_s: Seconds since the boot.
    """

    temperature_c: float | None
    throttled: dict[str, bool]
    throttled_since_boot: dict[str, bool]
    memory_free_mb: Amount | None
    disk_free_mb: Amount | None
    load: Amount
    clock_synced: bool
    up_s: Amount


class HealthMessage(Message, frozen=True, kw_only=True):
    """How the daemon is, every 30 s. Counters begin at its start.

    Attributes:
        t_us: When it was said: wall clock, microseconds since 1970, UTC.
        uptime_s: Seconds since the daemon's start.
        fps: Poses per second, lately.
        captured: Frames captured.
        poses: Poses made.
        delivered: Poses and events that the broker acknowledged, of earlier runs too.
        waiting: Poses and events that wait in memory.
        spooled: Poses and events that wait on the disk.
        spool_mb: Size of the spool on the disk, in megabytes.
        connects: Connections to the broker.
        alerts: What is wrong now, in words, by what it is about.
        skipped: Frames that no pose was made of, by reason.
        dropped: Poses and events that were given up, by reason. `refused_...` counts those that the broker does not
            take now: they are kept on the disk, and tried again. `newer_version` counts those that a newer version of
            edgepose has left on the disk: that version sends them.
        rejected: Commands that were not carried out, by reason; `unanswered` counts replies that nobody got.
        camera: The camera's stalls, what was done about them (flushes, restarts, reopens), how often frames came back
            (recovered), and how many threads were left behind in a driver (abandoned).
        stage_ms: Median, 95th and 99th percentile of the last poses in milliseconds, by stage.
        rss_mb: Memory of the daemon, in megabytes.
        runtime: What runs the model, in words.
        delegate: What the model runs on: `cpu` or `edgetpu`.
        recorded: null where the config asks for no recording and no uncertain frames.
        board: The computer that the daemon runs on.
    """

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
