"""Measures loss-free delivery: a real device process, a real mosquitto with the durable configuration that we ship, and
a subscriber with a durable session that checks that every pose comes.

    export PYTHONPATH=tests
    python benchmarks/delivery.py outage              # 24 h at 30 fps without a broker, then the drain: 20 minutes
    python benchmarks/delivery.py outage --max-mb 20 --poses 500000    # beyond the bound: which poses are given up?
    python benchmarks/delivery.py healthy             # an hour with a broker: is anything written to the disk?
    python benchmarks/delivery.py publish [MODEL]     # what a pose costs beside its inference
    python benchmarks/delivery.py broker              # what mosquitto's settings cost and save

Each prints its numbers, with --json FILE also into a file. `make bench-delivery` runs all. The exit status is 1 when a
pose is neither received nor counted as dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from brokers import wait_until
from delivery_broker import measure_brokers
from delivery_lab import lab, percentiles

import edgepose
from edgepose.system.clock import wall_us

DAY, HOUR = 24 * 3600 * 30, 3600 * 30  # poses
LIVE_HZ = 30.0
SPEED = 100  # times faster than in truth pass the poses of the outage, and the spool's own half second
HEALTHY_HZ = 300.0


def outage(args: argparse.Namespace) -> dict[str, Any]:
    """Measures memory and disk while poses wait, how fast they go out, and how late live poses are meanwhile."""
    with lab(args.max_mb) as (broker, device, reader):
        device.ask("live", LIVE_HZ)
        time.sleep(10)
        device.ask("quiet")
        before = device.ask("counters")
        broker.kill()
        fed = device.ask("feed", args.poses, SPEED * LIVE_HZ, SPEED)
        wait_until(lambda: not device.ask("counters")["waiting"], "the rest to be on the disk")
        full, files = device.ask("counters"), device.files()
        reader.since_us = wall_us()
        reader.live_ms.clear()
        device.ask("live", LIVE_HZ)
        broker.start()
        while (drained := device.ask("counters"))["spooled"] > 0:
            time.sleep(0.2)
        live_ms = list(reader.live_ms)
        device.ask("quiet")
        end = device.ask("end")
        dropped = sum(end["dropped"].values())
        wait_until(lambda: len(reader.seqs) + dropped >= end["accepted"], "the reader to have all", 60)
        gaps, drain_s = reader.seqs.gaps(), reader.replayed_s[1] - reader.replayed_s[0]
        return {
            "poses accepted": end["accepted"],
            "poses received": len(reader.seqs),
            "poses dropped, by reason": end["dropped"],
            "neither received nor dropped": end["accepted"] - len(reader.seqs) - dropped,
            "came twice": reader.twice,
            "gaps, counted from the first pose": [[seq - end["first"] for seq in gap] for gap in gaps[:5]],
            "fed, poses/s": round(args.poses / fed["seconds"]),
            "drained, poses/s": round(reader.replayed / drain_s),
            "live during the drain, ms": percentiles(live_ms),
            "RSS before / full / drained / peak, MB": [
                *(found["rss_mb"] for found in (before, full, drained)),
                round(device.peak_mb, 1),
            ],
            "spool used / its files / bound, MB": [
                full["spool_mb"],
                round(sum(size for size, _ in files.values()) / 1e6, 2),
                args.max_mb,
            ],
            "bytes a spooled pose": round(full["spool_mb"] * 1e6 / full["spooled"]),
            "device CPU, us a drained pose": round(_cpu_s(full, drained) / reader.replayed * 1e6, 1),
        }


def _cpu_s(before: dict[str, Any], after: dict[str, Any]) -> float:
    return float(after["process_cpu_s"] - before["process_cpu_s"])


def healthy(args: argparse.Namespace) -> dict[str, Any]:
    """Measures what a connected device writes.

    `write_bytes` of /proc/self/io counts what a process causes to be written to storage; files in memory do not count.
    `wchar` counts every write(), so it has the spool in memory too; sockets are written by send() and are in neither.
    """
    with lab() as (_, device, reader):
        device.ask("feed", 30, LIVE_HZ)
        wait_until(lambda: not device.ask("counters")["waiting"], "the first acknowledgements")
        before, files = device.ask("counters"), device.files()
        fed = device.ask("feed", args.poses, args.rate)
        wait_until(lambda: not device.ask("counters")["waiting"], "the last acknowledgements")
        after, files_after = device.ask("counters"), device.files()
        wait_until(lambda: len(reader.seqs) >= after["accepted"], "the reader to have all")
        written, wchar = (after["io"][name] - before["io"][name] for name in ("write_bytes", "wchar"))
        return {
            "poses accepted": after["accepted"],
            "neither received nor dropped": after["accepted"] - len(reader.seqs),
            "fed, poses/s": round(args.poses / fed["seconds"]),
            "bytes to storage (write_bytes)": written,
            "bytes to storage a frame": round(written / args.poses, 2),
            "bytes to the spool in memory a frame (wchar)": round(wchar / args.poses),
            "files of the spool on the disk changed": [
                name for name in files_after if files_after[name] != files.get(name)
            ],
            "live, ms": percentiles(reader.live_ms),
            "RSS before / after, MB": [before["rss_mb"], after["rss_mb"]],
            "device CPU, us a pose": round(_cpu_s(before, after) / args.poses * 1e6),
        }


def publish(args: argparse.Namespace) -> dict[str, Any]:
    """Measures the CPU time of `deliver` (encode, spool in memory, hand-over to the link) in the running pipeline."""
    with lab() as (_, device, _reader):
        found = device.ask("infer", args.model.resolve(), args.seconds)
    share = found["deliver_us"]["p50"] / found["bare_invoke_us"]["p50"]
    return {
        "model": str(args.model),
        "poses": found["poses"],
        "deliver, us": found["deliver_us"],
        "bare invoke, us": found["bare_invoke_us"],
        "invoke in the pipeline, us": found["invoke_us"],
        "deliver / bare invoke": round(share, 4),
        "CPU of each thread, us a pose": found["thread_us_per_pose"],
        "CPU of the process, us a pose": found["process_us_per_pose"],
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    commands = parser.add_subparsers(required=True, dest="command")
    one = commands.add_parser("outage")
    one.add_argument("--poses", type=int, default=DAY)
    one.add_argument("--max-mb", type=float, default=1000.0)
    one.set_defaults(run=outage)
    one = commands.add_parser("healthy")
    one.add_argument("--poses", type=int, default=HOUR)
    one.add_argument("--rate", type=float, default=HEALTHY_HZ, metavar="HZ")
    one.set_defaults(run=healthy)
    one = commands.add_parser("publish")
    one.add_argument("model", nargs="?", type=Path, default=Path(edgepose.__file__).parent / "demo" / "demo.tflite")
    one.add_argument("--seconds", type=float, default=60.0)
    one.set_defaults(run=publish)
    commands.add_parser("broker").set_defaults(run=lambda _: measure_brokers())
    return parser.parse_args()


def main() -> int:
    args = parse()
    load = os.getloadavg()[0]
    result = {**args.run(args), "load average before / after": [round(load, 1), round(os.getloadavg()[0], 1)]}
    for name, value in result.items():
        print(f"{name:42} {value}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if result.get("neither received nor dropped") else 0


if __name__ == "__main__":
    sys.exit(main())
