"""A device whose broker refuses some of what it sends: with a health that tells, and little patience."""

from __future__ import annotations

import functools
import threading
from collections.abc import Collection

import pytest
from chaos_device import health
from fakes import SKELETON

from edgepose.config.schema import MqttConfig, SpoolConfig
from edgepose.daemon.dispatcher import CommandDispatcher
from edgepose.delivery import delivery as mqtt_module
from edgepose.delivery import link
from edgepose.delivery import refused_messages as aside
from edgepose.delivery.delivery import MqttDelivery
from edgepose.delivery.spool_lock import SpoolLock
from edgepose.mqtt import reconnect as patience
from edgepose.protocol.messages import InfoMessage, Settings, StatusMessage
from edgepose.system.reporter import Reporter

BOOT = "b"


def be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in (
        (mqtt_module, "DRAIN_S", 0.5),
        (link, "LAST_WORD_S", 0.5),
        (link, "HEALTH_S", 0.2),
        (aside, "SOONEST_S", 0.2),
        (patience, "LONGEST_PAUSE_S", 0.2),
    ):
        monkeypatch.setattr(module, name, seconds)


def new_device(
    mqtt: MqttConfig,
    device: str = "cage-07",
    commands: Collection[str] = (),
    spool: SpoolConfig | None = None,
    quiet_s: float = 60.0,
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
    reporter = Reporter(quiet_s=quiet_s)
    place = SpoolLock(spool or SpoolConfig(), device, wait=False, reporter=reporter)
    delivery = MqttDelivery(mqtt, place, status, info, threading.Event(), reporter=reporter)
    dispatcher = CommandDispatcher(device, BOOT, commands, {"ping": lambda _: {"version": "1"}})
    delivery.start(functools.partial(health, delivery, device, BOOT), dispatcher)
    return delivery
