"""`make soak`: the daemon runs for an hour or longer with everything that may leak memory.

That is rules on mock pins, own code, video, metrics and commands. The benchmark checks that the memory stays constant,
that the daemon does not restart, and that every pose arrives.

    python benchmarks/soak.py [--minutes 60]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgepose.mqtt.demo_broker import demo_broker
from edgepose.protocol.seq_ranges import SeqRanges

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "edgepose" / "demo" / "demo.tflite"
WARM_S = 300.0  # until then, caches are filled and the first segments are written
METRICS = 19464
CONFIG = """
device: soak
model: {model}
inference: {{threads: 1}}
camera: {{source: synthetic, size_wh: [320, 240], rate_hz: 30, seed: 1}}
mqtt: {{host: 127.0.0.1, port: {port}}}
commands: [ping, health, snapshot, mark]
prometheus: {{port: {metrics}}}
rules:
  left:
    when: {{in_zone: {{keypoint: snout, zone: [[0, 0], [160, 0], [160, 240], [0, 240]]}}}}
    pin: 17
    pulse_ms: 20
gpio: {{sync: {{pin: 24}}}}
processor: {{load: 'processor:Counter', folder: {hooks}, arguments: {{zone: [0, 0, 160, 240]}}}}
record: {{folder: {folder}/recordings, segment_s: 60, max_gb: 0.2}}
"""


class DeviceListener:
    """Collects the numbers of the poses, the starts, and each /health of the device."""

    def __init__(self, port: int) -> None:
        self.poses, self.twice = SeqRanges(), 0
        self.health: list[dict[str, Any]] = []
        self.starts = 0
        self._seen = 0
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("edgepose/#", qos=1)
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        payload, leaf = json.loads(message.payload), message.topic.rsplit("/", 1)[1]
        if leaf in {"pose", "poses"}:
            for pose in payload.get("poses", [payload]):
                self.twice += not self.poses.add(pose["seq"])
        elif leaf == "health":
            self.health.append(payload)
        elif leaf == "event" and payload["kind"] == "started":
            self.starts += 1

    def ask(self, name: str) -> None:
        self.client.publish(f"edgepose/soak/command/{name}", "{}", qos=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with demo_broker() as broker:
            return soak(folder, broker.port, args.minutes * 60)


def soak(folder: Path, port: int, seconds: float) -> int:
    config = folder / "soak.yaml"
    hooks = ROOT / "firmware_configs" / "uses"
    text = CONFIG.format(model=MODEL, port=port, metrics=METRICS, hooks=hooks, folder=folder)
    config.write_text(text, encoding="utf-8")
    listener = DeviceListener(port)
    env = {
        **os.environ,
        "GPIOZERO_PIN_FACTORY": "mock",
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
    }
    words = [sys.executable, "-m", "edgepose", "run", "-c", str(config)]
    with subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL) as daemon:
        rows = watch(daemon, listener, seconds)
        daemon.send_signal(signal.SIGTERM)
        status = daemon.wait(60)
    time.sleep(2)
    return report(listener, rows, status, seconds)


def watch(
    daemon: subprocess.Popen[bytes], listener: DeviceListener, seconds: float
) -> list[tuple[float, float, int, int]]:
    """Returns (seconds, MB of memory, threads, file descriptors) for every ten seconds."""
    rows, begin = [], time.monotonic()
    proc = Path(f"/proc/{daemon.pid}")
    while time.monotonic() - begin < seconds and daemon.poll() is None:
        time.sleep(10)
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        mb = int(status["VmRSS"].split()[0]) / 1e3
        descriptors = len(list((proc / "fd").iterdir()))
        rows.append((time.monotonic() - begin, mb, int(status["Threads"]), descriptors))
        listener.ask("health")
        listener.ask("snapshot")
        urllib.request.urlopen(f"http://127.0.0.1:{METRICS}/metrics", timeout=10).read()
        if len(rows) % 30 == 0:
            print(
                f"{rows[-1][0] / 60:.0f} min: {mb:.1f} MB, {rows[-1][2]} threads, {descriptors} descriptors", flush=True
            )
    return rows


def report(listener: DeviceListener, rows: list[tuple[float, float, int, int]], status: int, seconds: float) -> int:
    warm = np.array([row for row in rows if row[0] >= min(WARM_S, seconds / 3)])
    slope = np.polyfit(warm[:, 0] / 3600, warm[:, 1], 1)[0]
    last = listener.health[-1]
    missing = last["poses"] - len(listener.poses)
    skipped = sum(last["skipped"].values())
    print(f"{seconds / 60:.0f} min, {last['poses']} poses of {last['captured']} frames, {skipped} skipped")
    print(f"missing {missing}, twice {listener.twice}, starts {listener.starts}, exit status {status}")
    print(f"RSS {warm[0, 1]:.1f} -> {warm[-1, 1]:.1f} MB, slope {slope:+.2f} MB an hour")
    print(f"threads {int(warm[0, 2])} -> {int(warm[-1, 2])}, descriptors {int(warm[0, 3])} -> {int(warm[-1, 3])}")
    print(f"alerts at the end: {last['alerts'] or 'none'}")
    return int(bool(missing or listener.starts != 1 or status))


if __name__ == "__main__":
    sys.exit(main())
