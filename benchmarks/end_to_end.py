"""Compares a video that went through the daemon and a real broker with `analyze` of the file; measures the daemon.

    python benchmarks/end_to_end.py MODEL VIDEO

Prints how many poses arrived, whether each arrived once and in order, and how far they are from those of `analyze`.
With the synthetic camera, it also prints the daemon's memory and the time from the start of its process to the first
pose.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from edgepose.mqtt.demo_broker import demo_broker


class PoseListener:
    """Collects every pose on the broker and the monotonic time of the first one."""

    def __init__(self, port: int) -> None:
        self.poses: list[dict[str, Any]] = []
        self.first_s = 0.0
        self.health: dict[str, Any] = {}
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("edgepose/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if not self._subscribed.wait(10):
            sys.exit("no subscription within 10 s")

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        payload = json.loads(message.payload)
        if message.topic.endswith("/pose"):
            self.first_s = self.first_s or time.monotonic()
            self.poses.append(payload)
        elif message.topic.endswith("/health"):
            self.health = payload


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("video", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, demo_broker() as broker:
        compare(args.model.resolve(), args.video.resolve(), broker.port, Path(folder))
        footprint(args.model.resolve(), broker.port, Path(folder))


def compare(model: Path, video: Path, port: int, folder: Path) -> None:
    listener = PoseListener(port)
    camera = {"source": "video", "path": str(video), "realtime": False}
    subprocess.run(daemon(model, camera, port, folder, "video"), check=True)
    time.sleep(1)
    seqs = [pose["seq"] for pose in listener.poses]
    once, in_order = len(set(seqs)) == len(seqs), seqs == sorted(seqs)
    gaps = sum(b - a != 1 for a, b in itertools.pairwise(seqs))
    print(f"{len(seqs)} poses, each once: {once}, in order: {in_order}, gaps: {gaps}")
    table = folder / "poses.csv"
    subprocess.run([sys.executable, "-m", "edgepose", "analyze", model, video, "-o", table], check=True)
    with table.open(newline="") as file:
        _, names, coords, *rows = csv.reader(file)
    worst = 0.0
    for pose, row in zip(listener.poses, rows, strict=True):
        for name, coord, cell in zip(names[1:], coords[1:], row[1:], strict=True):
            if coord in {"x", "y"}:
                worst = max(worst, abs(pose["animals"][0]["keypoints"][name][coord] - float(cell)))
    print(f"{len(rows)} rows from analyze; largest difference {worst:.4f} px")


def footprint(model: Path, port: int, folder: Path) -> None:
    listener = PoseListener(port)
    start = time.monotonic()
    process = subprocess.Popen(daemon(model, {"source": "synthetic"}, port, folder, "synthetic"))
    time.sleep(20)
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    loaded = Path(f"/proc/{process.pid}/maps").read_text()
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    print(f"first pose {listener.first_s - start:.2f} s after the process began")
    print(f"RSS {pages * os.sysconf('SC_PAGE_SIZE') / 1e6:.1f} MB, TensorFlow loaded: {'tensorflow' in loaded}")
    print(f"health: {json.dumps(listener.health)}")


def daemon(model: Path, camera: dict[str, Any], port: int, folder: Path, name: str) -> list[str]:
    """Writes a config with this camera and returns the daemon's command line."""
    config = folder / f"{name}.yaml"
    mqtt = {"host": "127.0.0.1", "port": port}
    config.write_text(yaml.safe_dump({"device": name, "model": str(model), "camera": camera, "mqtt": mqtt}))
    return [sys.executable, "-m", "edgepose", "run", "-c", str(config)]


if __name__ == "__main__":
    main()
