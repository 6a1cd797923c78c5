"""A hundred stalls of a live camera at random moments, each cured by a step of the ladder: when told, when recovered?

    python benchmarks/camera_stalls.py [STALLS] [FASTER]

It runs the daemon's own `CameraSupervisor` over tests/scripted_camera, with its times divided by FASTER (10). FASTER 1
measures them as they are shipped, which takes ten times as long.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in (".", "tests")]

from scripted_camera import Device, Remedy  # noqa: E402

from edgepose.camera.supervisor import CameraSupervisor, SupervisorTiming  # noqa: E402
from edgepose.system.reporter import Reporter  # noqa: E402

STEPS: tuple[Remedy, ...] = ("flush", "restart", "reopen")
TIMES = ("stall_s", "open_s", "held_s", "close_s", "longest_pause_s", "file_s")


class TimedReporter(Reporter):
    """Keeps when each kind of event came, monotonic clock in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.times_s: dict[str, float] = {}

    def event(self, kind: str, text: str, count: int = 0, *, mono_ns: int | None = None) -> None:  # noqa: ARG002
        self.times_s[kind] = time.monotonic()


def main() -> int:
    stalls, faster = (int(word) for word in [*sys.argv[1:], *("100", "10")[len(sys.argv) - 1 :]])
    usual = SupervisorTiming()
    timing = replace(usual, **{name: getattr(usual, name) / faster for name in TIMES})
    chance, device = random.Random(1), Device(period_s=0.002)  # noqa: S311  no secret
    reporter = TimedReporter()
    camera, events = CameraSupervisor(device.open, reporter=reporter, timing=timing), reporter.times_s
    told_s: list[float] = []
    cured_s: dict[str, list[float]] = {step: [] for step in STEPS}
    for _ in range(stalls):
        until = time.monotonic() + chance.uniform(0.0, 3 * timing.held_s)
        while time.monotonic() < until:
            assert camera.read() is not None
        events.clear()
        step = chance.choice(STEPS)
        device.stop(step)
        begin = time.monotonic()
        while "camera_recovered" not in events:
            assert camera.read() is not None
        told_s.append(events["camera_stalled"] - begin)
        cured_s[step].append(events["camera_recovered"] - begin)
    camera.close()
    print(f"times divided by {faster}: a stall is {timing.stall_s:g} s without a frame")
    print(
        f"{stalls} stalls, {camera.counts['recovered']} recovered; told after {min(told_s):.2f} to {max(told_s):.2f} s"
    )
    for step, seconds in cured_s.items():
        print(f"cured by {step}: {len(seconds)}, frames again after {min(seconds):.2f} to {max(seconds):.2f} s")
    print({name: count for name, count in camera.counts.items() if count})
    return int(camera.counts["recovered"] < stalls)


if __name__ == "__main__":
    sys.exit(main())
