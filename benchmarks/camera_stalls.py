"""A hundred stalls of a live camera at random moments, each cured by a step of the ladder: when told, when recovered?

    python benchmarks/camera_stalls.py [STALLS] [FASTER]

The daemon's own `Watched` over tests/scripted_camera, with its times divided by FASTER (10); 1 measures them as
shipped, which takes ten times as long.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in (".", "tests")]

from scripted_camera import Device, Remedy  # noqa: E402

from edgepose.camera import supervisor as watched  # noqa: E402

STEPS: tuple[Remedy, ...] = ("flush", "restart", "reopen")
TIMES = ("STALL_S", "OPEN_S", "HELD_S", "CLOSE_S", "LONGEST_PAUSE_S", "FILE_S")


def main() -> int:
    stalls, faster = (int(word) for word in [*sys.argv[1:], *("100", "10")[len(sys.argv) - 1 :]])
    for name in TIMES:
        setattr(watched, name, getattr(watched, name) / faster)
    chance, device = random.Random(1), Device(period_s=0.002)  # noqa: S311  no secret
    camera = watched.CameraSupervisor(device.open)
    events: list[tuple[str, float]] = []
    camera.tell = lambda kind, _text: events.append((kind, time.monotonic()))
    told_s: list[float] = []
    cured_s: dict[str, list[float]] = {step: [] for step in STEPS}
    for _ in range(stalls):
        until = time.monotonic() + chance.uniform(0.0, 3 * watched.HELD_S)
        while time.monotonic() < until:
            assert camera.read() is not None
        events.clear()
        step = chance.choice(STEPS)
        device.stop(step)
        begin = time.monotonic()
        while "camera_recovered" not in dict(events):
            assert camera.read() is not None
        told_s.append(dict(events)["camera_stalled"] - begin)
        cured_s[step].append(dict(events)["camera_recovered"] - begin)
    camera.close()
    print(f"times divided by {faster}: a stall is {watched.STALL_S:g} s without a frame")
    print(
        f"{stalls} stalls, {camera.counts['recovered']} recovered; told after {min(told_s):.2f} to {max(told_s):.2f} s"
    )
    for step, seconds in cured_s.items():
        print(f"cured by {step}: {len(seconds)}, frames again after {min(seconds):.2f} to {max(seconds):.2f} s")
    print({name: count for name, count in camera.counts.items() if count})
    return int(camera.counts["recovered"] < stalls)


if __name__ == "__main__":
    sys.exit(main())
