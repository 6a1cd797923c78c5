"""Messages of a device that follows the synthetic mouse."""

from __future__ import annotations

import msgspec
from paho.mqtt import publish

from edgepose.camera.synthetic.mouse import SKELETON, Mouse
from edgepose.protocol.codec import encode
from edgepose.protocol.messages import (
    AnimalMessage,
    HealthMessage,
    InfoMessage,
    Keypoint,
    Message,
    PoseMessage,
    Settings,
    StatusMessage,
)
from edgepose.protocol.topics import topic_name
from edgepose.types import F64

MOUSE = Mouse(1, (640, 480))


def truth(frame: int) -> dict[str, F64]:
    return dict(zip(SKELETON.keypoints, MOUSE.truth(frame), strict=True))


def pose(i: int, seq: int | None = None, device: str = "cage-07", off_px: float = 0.0) -> PoseMessage:
    keypoints = {
        name: Keypoint(float(x) + off_px, float(y), 0.9 - 0.2 * k)
        for k, (name, (x, y)) in enumerate(zip(SKELETON.keypoints, MOUSE.truth(i), strict=True))
    }
    return PoseMessage(
        device=device,
        boot="b",
        seq=100 + i if seq is None else seq,
        frame=i,
        t_us=1,
        mono_us=None,
        synced=True,
        clock_error_us=None,
        replay=False,
        latency_ms=10.0 + i,
        model="mouse@123456",
        size_wh=(640, 480),
        animals=[AnimalMessage(id="1", id_score=1.0, score=0.9, keypoints=keypoints)],
    )


def status(run: str = "1", state: str = "online", device: str = "cage-07") -> StatusMessage:
    return StatusMessage(device=device, boot="b", state=state, run=run)


INFO = InfoMessage(
    device="cage-07",
    boot="b",
    model="mouse@123456",
    skeleton=SKELETON,
    size_wh=None,
    versions={},
    tags={},
    settings=Settings(),
)
HEALTH = HealthMessage(
    device="cage-07",
    boot="b",
    t_us=1,
    uptime_s=30.0,
    fps=30.0,
    captured=9,
    poses=9,
    delivered=9,
    waiting=4,
    spooled=0,
    spool_mb=0.0,
    connects=1,
    alerts={},
    skipped={},
    dropped={},
    rejected={},
    camera={},
    stage_ms={},
    rss_mb=88.6,
    runtime="litert, 1 thread",
)


def send(port: int, message: Message, leaf: str, retain: bool = False) -> None:
    publish.single(topic_name(message.device, leaf), encode(message), qos=1, retain=retain, port=port)


def without(message: PoseMessage, *names: str) -> PoseMessage:
    """Returns the pose without some keypoints, as `min_score` leaves them out."""
    (animal,) = message.animals
    kept = {name: point for name, point in animal.keypoints.items() if name not in names}
    return msgspec.structs.replace(message, animals=[msgspec.structs.replace(animal, keypoints=kept)])
