"""One message of each kind, as a device sends or receives it, for the AsyncAPI document."""

from __future__ import annotations

import msgspec

from edgepose.protocol.commands import Command, Health, Mark, Model, Ping, ReplyMessage, Restart, Set, Snapshot
from edgepose.protocol.messages import (
    AnimalMessage,
    BatchMessage,
    Board,
    EventMessage,
    HealthMessage,
    InfoMessage,
    Keypoint,
    Message,
    PoseMessage,
    Settings,
    StatusMessage,
)
from edgepose.types import Skeleton

_DEVICE, _BOOT, _MODEL = "cage-07", "6897e9b6-ad95-43e0-94f6-fa64dce10c9d", "openfield@e61171"
_SIZE_WH, _T_US = (640, 480), 1795404663715981

POSE = PoseMessage(
    device=_DEVICE,
    boot=_BOOT,
    seq=4951884516,
    frame=99,
    t_us=_T_US,
    mono_us=4955191902,
    synced=True,
    clock_error_us=180,
    replay=False,
    latency_ms=11.06,
    model=_MODEL,
    size_wh=_SIZE_WH,
    animals=[
        AnimalMessage(
            id="1",
            id_score=1.0,
            score=0.868,
            keypoints={
                "snout": Keypoint(75.48, 248.59, 0.889),
                "leftear": Keypoint(87.92, 271.2, 0.808),
                "rightear": Keypoint(102.38, 254.89, 0.866),
                "tailbase": Keypoint(170.65, 313.45, 0.908),
            },
        )
    ],
)
BATCH = BatchMessage(device=_DEVICE, boot=_BOOT, replay=True, poses=[msgspec.structs.replace(POSE, replay=True)])
EVENT = EventMessage(
    device=_DEVICE,
    boot=_BOOT,
    event=4951884517,
    seq=4951884516,
    t_us=_T_US,
    synced=True,
    replay=False,
    kind="mark_start",
    text="light on",
    count=0,
    tags={"subject": "m3"},
)
INFO = InfoMessage(
    device=_DEVICE,
    boot=_BOOT,
    model=_MODEL,
    skeleton=Skeleton(
        tuple(POSE.animals[0].keypoints), (("snout", "leftear"), ("snout", "rightear")), (("leftear", "rightear"),)
    ),
    size_wh=_SIZE_WH,
    versions={"edgepose": "0.1.0", "python": "3.13.5", "runtime": "litert 2.1.0"},
    tags={"subject": "m3"},
    settings=Settings(rate_hz=10.0),
)
STATUS = StatusMessage(device=_DEVICE, boot=_BOOT, state="online", run="0a8f3c5d9b7e4d6f8a1b2c3d4e5f6071")
HEALTH = HealthMessage(
    device=_DEVICE,
    boot=_BOOT,
    t_us=_T_US,
    uptime_s=3600.2,
    fps=30.01,
    captured=108010,
    poses=108003,
    delivered=108000,
    waiting=3,
    spooled=0,
    spool_mb=0.0,
    connects=2,
    alerts={"pose": "broker 192.168.1.10:1883: refuses edgepose/cage-07/pose: not authorized; correct its access list"},
    skipped={"newer_frame": 7, "rate": 0},
    dropped={"delivery_full": 0},
    camera={"stalls": 0, "recovered": 0},
    rejected={"disabled": 1},
    stage_ms={"capture": (33.1, 33.9, 35.2), "infer": (6.2, 7.0, 9.8), "publish": (0.1, 0.2, 0.4)},
    rss_mb=109.3,
    runtime="litert 2.1.0, XNNPACK, 2 threads",
    board=Board(
        temperature_c=61.3,
        throttled={"under_voltage": False, "throttled": False},
        throttled_since_boot={"under_voltage": True, "throttled": False},
        memory_free_mb=512.0,
        disk_free_mb=21_400.0,
        load=1.7,
        clock_synced=True,
        up_s=3720.5,
    ),
)
REPLY = ReplyMessage(device=_DEVICE, boot=_BOOT, command="mark", id="7c9e6679", ok=True, error="", result={})
MESSAGES: dict[str, Message] = {
    "pose": POSE,
    "poses": BATCH,
    "event": EVENT,
    "info": INFO,
    "status": STATUS,
    "health": HEALTH,
    "reply": REPLY,
}
COMMANDS: dict[str, Command] = {
    "ping": Ping(),
    "health": Health(id="7c9e6677"),
    "snapshot": Snapshot(),
    "set": Set(rate_hz=10.0, region=(100, 80, 320, 240)),
    "mark": Mark(id="7c9e6679", phase="start", text="light on"),
    "restart": Restart(),
    "model": Model(id="7c9e6680", action="activate", model="openfield@e61171"),
}
