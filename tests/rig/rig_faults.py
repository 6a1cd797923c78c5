"""Faults on demand, in the guest's daemon: what /etc/edgepose/fault says happens in every process that is older than
it.

raise-PART or hang-PART, of the parts below. Models called `raises` and `hangs` do so at their first frame.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any

FILE = Path("/etc/edgepose/fault")
ACCEPTED = Path("/host/accepted.txt")
STARTED_S = time.time()
PARTS = {
    "capture": ("edgepose.camera.supervisor", "CameraSupervisor", "read"),
    "camera": ("edgepose.camera.picamera2.camera", "Picamera2Source", "read"),
    "infer": ("edgepose.inference.estimator", "Estimator", "invoke"),
    "publish": ("edgepose.delivery.delivery", "MqttDelivery", "deliver"),
    "link": ("edgepose.mqtt.connection", "Connection", "step"),
    "spool": ("edgepose.delivery.outbox", "Outbox", "overdue"),
    "models": ("edgepose.model_store.switching", "ModelSwitch", "_follow"),
    "monitor": ("edgepose.daemon.assembly", "Daemon", "_inspect_board"),
}


def fault() -> str:
    try:
        return FILE.read_text(encoding="ascii").strip() if FILE.stat().st_mtime > STARTED_S else ""
    except OSError:
        return ""


def wrap(part: str, module: str, name: str, method: str) -> None:
    owner = getattr(importlib.import_module(module), name)
    real = getattr(owner, method)

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if fault() == f"raise-{part}":
            raise RuntimeError(f"a fault in {part}, on demand")
        while fault() == f"hang-{part}":
            time.sleep(0.2)
        return real(self, *args, **kwargs)

    setattr(owner, method, wrapped)


def misbehave() -> None:
    estimator = importlib.import_module("edgepose.inference.estimator")
    real = estimator.Estimator.estimate

    def estimate(self: Any, frame: Any) -> Any:
        if self.card.name == "raises":
            raise ValueError("not today")
        if self.card.name == "hangs":
            time.sleep(3600)
        return real(self, frame)

    estimator.Estimator.estimate = estimate


def note_accepted() -> None:
    """Each pose that the delivery has taken charge of, to the host at once: what a power cut then loses can be
    counted."""
    delivery = importlib.import_module("edgepose.delivery.delivery").MqttDelivery
    real = delivery.deliver
    file = ACCEPTED.open("a", buffering=1, encoding="ascii")

    def deliver(self: Any, message: Any) -> None:
        real(self, message)
        file.write(f"{message.boot} {message.seq} {time.monotonic():.3f}\n")

    delivery.deliver = deliver


def main() -> int:
    """The command line, as ever, but for the faults."""
    for part, place in PARTS.items():
        wrap(part, *place)
    misbehave()
    note_accepted()
    found: int = importlib.import_module("edgepose.cli.main").main()
    return found


if __name__ == "__main__":
    sys.exit(main())
