"""A device for `chaos.py`, and for measurements: the real delivery, fed at a fixed rate without a camera.

chaos_device.py CONFIG LEDGER TOTAL RATE_HZ HEALED MEMORY_S: writes the number of each pose that it has handed over into
LEDGER, so that afterwards it is known what had to arrive. Ends when the ledger has TOTAL poses, the file HEALED is
there, and all poses are delivered. Keeps acknowledged messages for MEMORY_S.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from edgepose.cli.run import log_to_stderr
from edgepose.config.loading import read_config
from edgepose.config.schema import Config
from edgepose.daemon.health import rss_mb
from edgepose.delivery.delivery import MqttDelivery
from edgepose.delivery.spool_lock import SpoolLock
from edgepose.delivery.timing import DeliveryTiming
from edgepose.protocol.messages import (
    AnimalMessage,
    HealthMessage,
    InfoMessage,
    Keypoint,
    PoseMessage,
    Settings,
    StatusMessage,
)
from edgepose.system.clock import boot_id, boot_us, wall_us
from edgepose.system.reporter import Reporter
from edgepose.types import Skeleton

NAMES = ("snout", "leftear", "rightear", "tailbase")


def main(config_path: str, ledger_path: str, total: str, rate_hz: str, healed: str, memory_s: str) -> None:
    log_to_stderr()
    config, device, boot = read_config(Path(config_path)), "cage-07", boot_id()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    timing = DeliveryTiming(keep_acked_s=float(memory_s), health_s=min(30.0, float(memory_s) / 2))
    delivery = new_delivery(config, device, stop, timing)
    delivery.start(lambda: health(delivery, device, boot))
    first = boot_us()
    with Path(ledger_path).open("ab", buffering=0) as ledger:
        begin, frame = time.monotonic(), 0
        while (ledger.tell() < 8 * int(total) or not Path(healed).exists()) and not stop.is_set():
            delivery.deliver(pose(device, boot, first + frame, frame))
            ledger.write((first + frame).to_bytes(8, "little"))
            frame += 1
            ahead = begin + frame / float(rate_hz) - time.monotonic()
            if ahead > 0.001:
                time.sleep(ahead)
    if not stop.is_set():
        delivery.wait_delivered()
    delivery.close()


def new_delivery(
    config: Config, device: str, stop: threading.Event, timing: DeliveryTiming = DeliveryTiming()
) -> MqttDelivery:
    """Returns the delivery of a live camera."""
    boot = boot_id()
    status = StatusMessage(device=device, boot=boot, state="online", run=str(os.getpid()))
    info = InfoMessage(
        device=device,
        boot=boot,
        model="m@1",
        skeleton=Skeleton(NAMES, ()),
        size_wh=None,
        versions={},
        tags={},
        settings=Settings(),
    )
    reporter = Reporter()
    lock = SpoolLock(config.spool, device, wait=False, reporter=reporter, timing=timing)
    return MqttDelivery(config.mqtt, lock, status, info, stop, reporter=reporter, timing=timing)


def pose(device: str, boot: str, seq: int, frame: int) -> PoseMessage:
    points = {name: Keypoint(round(100 + frame % 500 + i * 7.31, 2), 200.12, 0.987) for i, name in enumerate(NAMES)}
    return PoseMessage(
        device=device,
        boot=boot,
        seq=seq,
        frame=frame,
        t_us=wall_us(),
        mono_us=None,
        synced=True,
        clock_error_us=None,
        replay=False,
        latency_ms=1.0,
        model="m@1",
        size_wh=(640, 480),
        animals=[AnimalMessage(id="1", id_score=1.0, score=0.9, keypoints=points)],
    )


def health(delivery: MqttDelivery, device: str, boot: str) -> HealthMessage:
    return HealthMessage(
        device=device,
        boot=boot,
        t_us=wall_us(),
        uptime_s=0.0,
        fps=0.0,
        captured=0,
        poses=0,
        delivered=delivery.delivered,
        waiting=delivery.waiting,
        spooled=delivery.spooled,
        spool_mb=delivery.spool_mb,
        connects=delivery.connects,
        alerts=dict(delivery.reporter.alerts),
        skipped={},
        dropped=delivery.given_up,
        rejected={},
        camera={},
        stage_ms={},
        rss_mb=rss_mb(),
        runtime="none",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
