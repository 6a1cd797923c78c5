"""Power cuts."""

from __future__ import annotations

import random
import time

from rig import Rig, Row


def step_cuts(rig: Rig, count: int = 20) -> list[Row]:
    """Power cuts at random moments: every other one in an outage or a model switch."""
    chance, worst_s, inconsistent, lost_s = random.Random(7), 0.0, [], []
    names = ["first", "second"]
    rig.run(
        "cd /host; /opt/edgepose/bin/edgepose model install /etc/edgepose/first.tflite; "
        "/opt/edgepose/bin/edgepose model install models/second.tflite",
        300,
    )
    for number in range(count):
        kind = ("running", "outage", "running", "switch")[number % 4]
        boot = rig.listener.live(60).boot
        offset_s = time.time() - float(rig.run("date +%s.%N"))
        if kind == "outage":
            rig.run("systemctl stop mosquitto")
        if kind == "switch":
            name = names[(number // 4) % 2]
            model = rig.run(f"/opt/edgepose/bin/edgepose model list | grep -o '{name}@[0-9a-f]*' | head -1").strip()
            rig.listener.send("model", {"action": "activate", "model": model})
        time.sleep(chance.uniform(1, 12))
        cut_wall_s, cut_s = time.time(), time.monotonic()
        rig.machine.cut()
        rig.machine.boot()
        first = rig.listener.live(240, cut_s)
        worst_s = max(worst_s, first.arrived_s - cut_s)
        time.sleep(12)  # what waited on the disk
        old = [pose for pose in rig.listener.poses if pose.boot == boot]
        lost_s.append(cut_wall_s - (max(old, key=lambda pose: pose.t_us).t_us / 1e6 + offset_s))
        checks = rig.run(
            "/opt/edgepose/bin/edgepose config show -c /etc/edgepose/edgepose.yaml >/dev/null && "
            "cat /var/lib/edgepose/models/choice-rig.json && /opt/edgepose/bin/edgepose model list && "
            "ls /var/lib/edgepose/spool/rig/ /var/lib/edgepose/models; systemctl is-active edgepose",
            check=False,
        )
        if "active" not in checks.splitlines()[-1] or "damaged" in checks:
            inconsistent.append(f"{number} ({kind}): {checks}")
        print(
            f"cut {number + 1} ({kind}): first pose after {first.arrived_s - cut_s:.0f} s, {lost_s[-1]:.2f} s lost",
            flush=True,
        )
    row = f"every one booted, first pose after {worst_s:.0f} s at most; {len(inconsistent)} inconsistent"
    text = (
        f"{max(lost_s):.2f} s at most, {sorted(lost_s)[len(lost_s) // 2]:.2f} s median (a pose each 0.25 s or slower)"
    )
    return [
        (f"{count} power cuts, half of them in an outage or a model switch", row, not inconsistent),
        ("poses lost at a power cut, up to the cut", text, max(lost_s) < 2),
        *[(f"cut {text.split(':')[0]}", text, False) for text in inconsistent],
    ]
