"""A device whose broker refuses some of what it sends. Its /health has the real counts, and it waits for nothing."""

from __future__ import annotations

import functools
import threading
from collections.abc import Collection
from dataclasses import replace

from chaos_device import health
from delivering import QUICK
from fakes import SKELETON

from edgepose.config.schema import MqttConfig, SpoolConfig
from edgepose.daemon.dispatcher import CommandDispatcher
from edgepose.delivery.delivery import MqttDelivery
from edgepose.delivery.spool_lock import SpoolLock
from edgepose.delivery.timing import DeliveryTiming
from edgepose.protocol.messages import InfoMessage, Settings, StatusMessage
from edgepose.system.reporter import Reporter

BOOT = "b"
OFTEN = replace(QUICK, health_s=0.2, retry_refused_soonest_s=0.2)


def new_device(
    mqtt: MqttConfig,
    device: str = "cage-07",
    commands: Collection[str] = (),
    spool: SpoolConfig | None = None,
    timing: DeliveryTiming = OFTEN,
) -> MqttDelivery:
    status = StatusMessage(device=device, boot=BOOT, state="online", run="r")
    info = InfoMessage(
        device=device,
        boot=BOOT,
        model="fake@000000",
        skeleton=SKELETON,
        size_wh=None,
        versions={},
        tags={},
        settings=Settings(),
    )
    reporter = Reporter()
    lock = SpoolLock(spool or SpoolConfig(), device, wait=False, reporter=reporter)
    delivery = MqttDelivery(mqtt, lock, status, info, threading.Event(), reporter=reporter, timing=timing)
    dispatcher = CommandDispatcher(device, BOOT, commands, {"ping": lambda _: {"version": "1"}})
    delivery.start(functools.partial(health, delivery, device, BOOT), dispatcher)
    return delivery
