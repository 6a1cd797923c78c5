"""A delivery to a broker, and messages for it, as several tests need them."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
from brokers import Mosquitto
from fakes import SIZE_WH, SKELETON

from edgepose.config.schema import MqttConfig, SpoolConfig
from edgepose.delivery.delivery import MqttDelivery
from edgepose.delivery.spool_lock import SpoolLock
from edgepose.delivery.timing import DeliveryTiming
from edgepose.mqtt.reconnect import ReconnectTiming
from edgepose.protocol.messages import (
    AnimalMessage,
    HealthMessage,
    InfoMessage,
    Keypoint,
    PoseMessage,
    Settings,
    StatusMessage,
)
from edgepose.system.reporter import Reporter

DEVICE, BOOT = "cage-07", "b"
QUICK = DeliveryTiming(drain_s=0.5, last_word_s=0.5, reconnect=ReconnectTiming(longest_pause_s=0.2))
"""Times for brokers that never take what is left, and for brokers that come back at once."""


def pose(seq: int, **changes: Any) -> PoseMessage:
    message = PoseMessage(
        device=DEVICE,
        boot=BOOT,
        seq=seq,
        frame=seq,
        t_us=1,
        mono_us=None,
        synced=True,
        clock_error_us=None,
        replay=False,
        latency_ms=1.0,
        model="fake@000000",
        size_wh=SIZE_WH,
        animals=[AnimalMessage(id="1", id_score=1.0, score=0.9, keypoints={"snout": Keypoint(1.0, 2.0, 0.9)})],
    )
    return msgspec.structs.replace(message, **changes)


def health() -> HealthMessage:
    counts = dict.fromkeys(("t_us", "captured", "poses", "delivered", "waiting", "spooled", "connects"), 0)
    return HealthMessage(
        device=DEVICE,
        boot=BOOT,
        uptime_s=0.0,
        fps=0.0,
        skipped={},
        dropped={},
        stage_ms={},
        rejected={},
        camera={},
        rss_mb=0.0,
        runtime="",
        spool_mb=0.0,
        alerts={},
        **counts,
    )


def info(device: str = DEVICE, **changes: Any) -> InfoMessage:
    message = InfoMessage(
        device=device,
        boot=BOOT,
        model="fake@000000",
        skeleton=SKELETON,
        size_wh=None,
        versions={},
        tags={},
        settings=Settings(),
    )
    return msgspec.structs.replace(message, **changes)


def new_delivery(
    mqtt: MqttConfig,
    stop: threading.Event | None = None,
    about: InfoMessage | None = None,
    *,
    spool: SpoolConfig | None = None,
    wait: bool = False,
    reporter: Reporter | None = None,
    timing: DeliveryTiming = QUICK,
) -> MqttDelivery:
    """Returns a delivery that is not started. `about` has the device's name, and what its /info says."""
    about, reporter = about or info(), reporter or Reporter()
    status = StatusMessage(device=about.device, boot=BOOT, state="online", run="r")
    lock = SpoolLock(spool or SpoolConfig(), about.device, wait=wait, reporter=reporter)
    return MqttDelivery(mqtt, lock, status, about, stop or threading.Event(), reporter=reporter, timing=timing)


def at(broker: Mosquitto, **settings: object) -> MqttConfig:
    return MqttConfig(host="127.0.0.1", port=broker.port, **settings)  # type: ignore[arg-type]
