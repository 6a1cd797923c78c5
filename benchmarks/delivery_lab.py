"""What `delivery.py` measures with: a device process, a subscriber that checks, and a broker for both."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import yaml
from brokers import Mosquitto, wait_until
from chaos import durable_settings
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgepose.protocol.codec import decode
from edgepose.protocol.messages import BatchMessage, PoseMessage
from edgepose.protocol.seq_ranges import SeqRanges
from edgepose.protocol.topics import split_topic
from edgepose.system.clock import wall_us

HERE = Path(__file__).parent
MEMORY = Path("/dev/shm")  # noqa: S108  in folders of our own
DURABLE = ("allow_anonymous true", *durable_settings())


class Reader:
    """A subscriber whose session the broker keeps.

    Attributes:
        live_ms: from a pose's time to its arrival, of live poses after `since_us`.
        replayed: number of poses from the spool.
        replayed_s: monotonic clock of the first and the last of them.
    """

    def __init__(self, port: int) -> None:
        self.since_us = wall_us()
        self.seqs = SeqRanges()
        self.twice = self.replayed = 0
        self.live_ms: list[float] = []
        self.replayed_s = (0.0, 0.0)
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "reader", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe([("edgepose/+/pose", 1), ("edgepose/+/poses", 1)])
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 86_400
        self._client.connect("127.0.0.1", port, clean_start=False, properties=session)
        self._client.loop_start()
        if not self._subscribed.wait(10):
            sys.exit("no subscription within 10 s")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        arrived_us, now = wall_us(), time.monotonic()
        _, leaf = split_topic(message.topic) or ("", "")
        if leaf == "pose":
            poses = [decode(message.payload, PoseMessage)]
            if poses[0].t_us > self.since_us:  # the broker may have kept an older one
                self.live_ms.append((arrived_us - poses[0].t_us) / 1e3)
        else:
            poses = decode(message.payload, BatchMessage).poses
            self.replayed += len(poses)
            self.replayed_s = self.replayed_s[0] or now, now
        self.twice += sum(not self.seqs.add(pose.seq) for pose in poses)


class Device:
    """The process of `delivery_device.py`. peak_mb: the most memory it had, sampled."""

    def __init__(self, folder: Path, port: int, max_mb: float) -> None:
        self.folder = folder / "spool"
        self._ram = Path(tempfile.mkdtemp(prefix="edgepose-bench-", dir=MEMORY if MEMORY.is_dir() else folder))
        spool = {"folder": str(self.folder), "ram_folder": str(self._ram), "max_mb": max_mb}
        mqtt = {"host": "127.0.0.1", "port": port}
        config = {"model": "none", "camera": {"source": "synthetic"}, "mqtt": mqtt, "spool": spool}
        (folder / "edgepose.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, str(HERE / "delivery_device.py"), str(folder / "edgepose.yaml")]
        with (folder / "device.log").open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1
            )
        self.peak_mb = 0.0
        self._ended = threading.Event()
        threading.Thread(target=self._sample, daemon=True).start()
        wait_until(lambda: self.ask("counters")["connects"], "the device to connect")

    def ask(self, *words: object) -> dict[str, Any]:
        """Sends one of its commands, and returns the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"the device ended:\n{(self.folder.parent / 'device.log').read_text(encoding='utf-8')}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def files(self) -> dict[str, tuple[int, int]]:
        """Returns size and time of the last change of the spool's files on the disk, by name."""
        found = {path.name: path.stat() for path in self.folder.rglob("*") if path.is_file()}
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in sorted(found.items())}

    def close(self) -> None:
        self._ended.set()
        self._process.kill()
        self._process.communicate()
        shutil.rmtree(self._ram, ignore_errors=True)

    def _sample(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._ended.wait(0.1):
            with contextlib.suppress(OSError, IndexError):
                pages = int(Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1])
                self.peak_mb = max(self.peak_mb, pages * page / 1e6)


@contextlib.contextmanager
def started_broker(*lines: str) -> Iterator[Mosquitto]:
    """Runs a real mosquitto on its own port, with these settings."""
    folder = Path(tempfile.mkdtemp(prefix="edgepose-bench-"))
    broker = Mosquitto(folder)
    try:
        broker.start(*lines)
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(folder)


@contextlib.contextmanager
def lab(max_mb: float = 1000.0, settings: Sequence[str] = DURABLE) -> Iterator[tuple[Mosquitto, Device, Reader]]:
    """Runs a broker, a device that is connected to it, and a reader that has subscribed."""
    with contextlib.ExitStack() as ending:
        broker = ending.enter_context(started_broker(*settings))
        folder = ending.enter_context(tempfile.TemporaryDirectory(prefix="edgepose-bench-"))
        reader = Reader(broker.port)
        ending.callback(reader.close)
        device = Device(Path(folder), broker.port, max_mb)
        ending.callback(device.close)
        yield broker, device, reader


def percentiles(values: Sequence[float]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    found = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(values)}
    return {"n": len(values), **{name: round(value, 2) for name, value in found.items()}}
