"""Writes the files beside it, with the edgepose of commit 38e3777: python make.py, in a checkout of that commit."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
from edgepose.core.commands import ReplyMessage
from edgepose.core.config import Mqtt, Spool
from edgepose.core.messages import (
    BatchMessage,
    EventMessage,
    HealthMessage,
    InfoMessage,
    Keypoint,
    PoseMessage,
    Settings,
    StatusMessage,
    encode,
)
from edgepose.core.types import Skeleton
from edgepose.delivery.mqtt import MqttDelivery
from edgepose.delivery.place import SpoolPlace

from edgepose.collect.archive import Archive

HERE = Path(__file__).parent
DEVICE, BOOT = "cage-07", "old"
JSON_POSES, MSGPACK_POSES = range(1000, 1020), range(1020, 1040)
INFO = InfoMessage(
    device=DEVICE,
    boot=BOOT,
    model="m@1",
    skeleton=Skeleton(("snout", "tail"), ()),
    size_wh=(640, 480),
    versions={"edgepose": "0.1.0"},
    tags={"subject": "m3"},
    settings=Settings(),
)
STATUS = StatusMessage(device=DEVICE, boot=BOOT, state="online", run="r")


def pose(seq: int) -> PoseMessage:
    return PoseMessage(
        device=DEVICE,
        boot=BOOT,
        seq=seq,
        frame=seq - 1000,
        t_us=1_700_000_000_000_000 + seq,
        synced=True,
        replay=False,
        latency_ms=1.5,
        model="m@1",
        size_wh=(640, 480),
        keypoints={"snout": Keypoint(float(seq), 2.5, 0.9), "tail": Keypoint(3.25, 4.5, 0.5)},
    )


def event(number: int) -> EventMessage:
    return EventMessage(
        device=DEVICE,
        boot=BOOT,
        event=number,
        seq=1000,
        t_us=1_700_000_000_000_000,
        synced=True,
        replay=False,
        kind="started",
        text="edgepose 0.1.0, model m@1",
        count=0,
        tags=INFO.tags,
    )


HEALTH = HealthMessage(
    device=DEVICE,
    boot=BOOT,
    t_us=1_700_000_000_000_000,
    uptime_s=30.0,
    fps=30.0,
    captured=9,
    poses=9,
    delivered=9,
    waiting=0,
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


def messages() -> None:
    batch = BatchMessage(device=DEVICE, boot=BOOT, replay=True, poses=[pose(seq) for seq in range(1000, 1003)])
    reply = ReplyMessage(device=DEVICE, boot=BOOT, command="ping", id="7", ok=True, error="", result={})
    kinds = {
        "pose": pose(1000),
        "poses": batch,
        "event": event(1),
        "info": INFO,
        "status": STATUS,
        "health": HEALTH,
        "reply": reply,
    }
    for leaf, message in kinds.items():
        (HERE / f"{leaf}.json").write_bytes(encode(message) + b"\n")
    for leaf in ("pose", "poses", "event"):
        (HERE / f"{leaf}.msgpack").write_bytes(msgspec.msgpack.encode(kinds[leaf]))


def spool(wire: str) -> None:
    """Half of the poses go to the disk; then the process ends as if it were killed."""
    place = SpoolPlace(Spool(folder=str(HERE / wire / "disk"), ram_folder=str(HERE / wire / "ram")), DEVICE, wait=False)
    mqtt = Mqtt(host="127.0.0.1", port=1, format=wire)  # no broker listens there
    delivery = MqttDelivery(mqtt, place, STATUS, INFO, threading.Event())
    delivery.start(lambda: HEALTH)
    seqs = JSON_POSES if wire == "json" else MSGPACK_POSES
    for seq in seqs[:10]:
        delivery.deliver(pose(seq))
    time.sleep(2)
    for seq in seqs[10:]:
        delivery.deliver(pose(seq))
    os._exit(0)


def journal() -> None:
    archive = Archive(HERE / "recordings")
    for seqs, wire in ((JSON_POSES, "json"), (MSGPACK_POSES, "msgpack")):
        for seq in seqs:
            payload = encode(pose(seq), wire)
            archive.write(archive.accept(DEVICE, "pose", payload, [pose(seq)]), [event(seq)] if seq == seqs[0] else [])
    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        messages()
        for what in ("json", "msgpack", "journal"):
            subprocess.run([sys.executable, __file__, what], check=True)
        for path in HERE.glob("**/*.db"):
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA journal_mode = DELETE")  # one file instead of two
    elif sys.argv[1] == "journal":
        journal()
    else:
        spool(sys.argv[1])
