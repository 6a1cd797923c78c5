"""A device whose broker refuses some of what it sends. Its /health has the real counts, and it waits for nothing."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import replace

from chaos_device import health
from delivering import BOOT, QUICK, info, new_delivery

from edgepose.config.schema import MqttConfig, SpoolConfig
from edgepose.daemon.dispatcher import CommandDispatcher
from edgepose.delivery.delivery import MqttDelivery
from edgepose.delivery.timing import DeliveryTiming

OFTEN = replace(QUICK, health_s=0.2, retry_refused_soonest_s=0.2)


def new_device(
    mqtt: MqttConfig,
    device: str = "cage-07",
    commands: Collection[str] = (),
    spool: SpoolConfig | None = None,
    timing: DeliveryTiming = OFTEN,
) -> MqttDelivery:
    delivery = new_delivery(mqtt, about=info(device), spool=spool, timing=timing)
    dispatcher = CommandDispatcher(device, BOOT, commands, {"ping": lambda _: {"version": "1"}})
    delivery.start(functools.partial(health, delivery, device, BOOT), dispatcher)
    return delivery
