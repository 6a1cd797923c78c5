"""Power cuts."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from rig import FOLDER, Rig, Row

CHECKS = (
    "/opt/edgepose/bin/edgepose config show -c /etc/edgepose/edgepose.yaml >/dev/null && "
    "cat /var/lib/edgepose/models/choice-rig.json && /opt/edgepose/bin/edgepose model list && "
    "ls /var/lib/edgepose/spool/rig/ /var/lib/edgepose/models; systemctl is-active edgepose"
)


def step_cuts(rig: Rig, count: int = 20) -> Iterator[Row]:
    """Power cuts at random moments: every other one in an outage or a model switch."""
    chance, inconsistent = random.Random(7), []
    waits_s, lost = [], []
    rig.run(
        "cd /host; /opt/edgepose/bin/edgepose model install /etc/edgepose/first.tflite; "
        "/opt/edgepose/bin/edgepose model install models/second.tflite",
        300,
    )
    for number in range(count):
        kind = ("running", "outage", "running", "switch")[number % 4]
        boot = rig.listener.live(60).boot
        if kind == "outage":
            rig.run("systemctl stop mosquitto")
        if kind == "switch":
            name = ("first", "second")[(number // 4) % 2]
            model = rig.run(f"/opt/edgepose/bin/edgepose model list | grep -o '{name}@[0-9a-f]*' | head -1").strip()
            rig.listener.send("model", {"action": "activate", "model": model})
        time.sleep(chance.uniform(1, 12))
        cut_s = time.monotonic()
        rig.machine.cut()
        rig.machine.boot()
        waits_s.append(rig.listener.live(240, cut_s).arrived_s - cut_s)
        time.sleep(12)  # what waited on the disk
        lost.append(lost_poses(rig, boot))
        checks = rig.run(CHECKS, check=False)
        if checks.splitlines()[-1:] != ["active"] or "damaged" in checks:
            inconsistent.append(f"{number + 1} ({kind}): {checks}")
        poses, seconds = lost[-1]
        print(f"cut {number + 1} ({kind}): pose after {waits_s[-1]:.0f} s, {poses} lost ({seconds:.2f} s)", flush=True)
    text = f"every one booted, first pose after {max(waits_s):.0f} s at most; {len(inconsistent)} inconsistent"
    yield f"{count} power cuts, half of them in an outage or a model switch", text, not inconsistent
    poses, seconds = max(lost), max(seconds for _, seconds in lost)
    none = sum(not poses for poses, _ in lost)
    text = f"at most {poses[0]}, the last {seconds:.2f} s; none in {none} of {count} cuts"
    yield "accepted poses lost at a power cut", text, seconds <= 1
    for text in inconsistent:
        yield "a power cut", text, False


def lost_poses(rig: Rig, boot: str) -> tuple[int, float]:
    """Poses of that boot which the daemon had accepted and nobody ever got: how many, and from when to the last one."""
    rows = [line.split() for line in (FOLDER / "accepted.txt").read_text(encoding="ascii").splitlines()]
    accepted = {int(row[1]): float(row[2]) for row in rows if len(row) == 3 and row[0] == boot}
    came = {pose.seq for pose in rig.listener.poses if pose.boot == boot}
    missing = [when_s for seq, when_s in accepted.items() if seq not in came and seq >= min(came, default=0)]
    return len(missing), max(accepted.values()) - min(missing) if missing else 0.0
