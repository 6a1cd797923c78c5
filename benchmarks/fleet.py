"""A fleet: many devices, one mosquitto, two collectors that share the load, and their files merged. Is everything
there, once, and what did it cost?

    python benchmarks/fleet.py                            1000 devices, 30 poses/s each, 30 in a message, for a minute
    python benchmarks/fleet.py --autosave                 the same with a broker that saves each change
    python benchmarks/fleet.py --ceiling                  faster and faster, until the broker's queue grows

Everything runs on this machine and takes its share of the cores, the simulated devices too (`fleet_devices.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgepose.collect.hours import hours_in, read_hour

HERE = Path(__file__).parent
DURABLE = HERE.parent / "firmware_configs" / "broker" / "mosquitto-durable.conf"
FIRST_HOUR = 500_000
STEP_S = 30.0  # of a search for the ceiling: files are written 60 s after their hour, so while later steps run
GROWTH = 1.25  # from one step to the next
KEPT_UP_S = 3.0  # from the broker's last acknowledgement to a device until the collectors have everything
TICKS = os.sysconf("SC_CLK_TCK")


class Broker:
    """A broker, and what it says of itself. queue: messages that were not taken yet, one second ago."""

    def __init__(self, folder: Path, *, autosave: bool) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        config = folder / "mosquitto.conf"
        config.write_text("\n".join(settings(folder, self.port, autosave)), encoding="utf-8")
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            sys.exit("needs mosquitto (apt install mosquitto)")
        self.process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        wait(self._answers, "mosquitto")
        self._told: dict[str, int] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", self.port)
        self._client.subscribe([(f"$SYS/broker/{name}/count", 0) for name in ("store/messages", "retained messages")])
        self._client.loop_start()

    @property
    def queue(self) -> int:
        return self._told.get("store", 0) - self._told.get("retained messages", 0)

    def close(self) -> None:
        self._client.loop_stop()
        self.process.terminate()
        self.process.wait()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self._told[message.topic.split("/")[2]] = int(message.payload)


def settings(folder: Path, port: int, autosave: bool) -> list[str]:
    """Returns the configuration that we ship, with other users and paths; it saves as mosquitto does by itself, or each
    change."""
    skip = ("#", "listener", "allow_anonymous", "password_file", "acl_file", "persistence_location", "autosave")
    lines = [line for line in DURABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith(skip)]
    here = [f"listener {port} 127.0.0.1", "allow_anonymous true", f"persistence_location {folder}/", "user root"]
    saving = ["autosave_on_changes true", "autosave_interval 1"] if autosave else []
    return [*here, *lines, *saving, "sys_interval 1"]


@dataclass(frozen=True)
class Part:
    """A process, and the processor time that it had used when the measurement began."""

    name: str
    pid: int
    before_s: float

    def used_s(self) -> float:
        return cpu_s(self.pid) - self.before_s


@dataclass(frozen=True)
class Load:
    """The result of one rate.

    Attributes:
        drain_s: until the collectors had everything.
        cores: processor cores used, by part.
    """

    poses: int
    seconds: float
    behind_s: float
    queue: int
    drain_s: float
    cores: dict[str, float]

    def __str__(self) -> str:
        cores = ", ".join(f"{name} {used:.2f}" for name, used in self.cores.items())
        return (
            f"{self.poses:,} poses in {self.seconds:.1f} s: {self.poses / self.seconds:,.0f}/s (devices late by "
            f"{self.behind_s:.1f} s); at most {self.queue} messages queued, none {self.drain_s:.1f} s later; "
            f"cores: {cores}; load average {os.getloadavg()[0]:.1f}"
        )


def put_load(broker: Broker, collectors: list[subprocess.Popen[str]], args: argparse.Namespace, hour: int) -> Load:
    messages = round(args.seconds * args.rate / args.frames)
    share = -(-args.devices // args.processes)
    senders = [
        subprocess.Popen(
            [sys.executable, HERE / "fleet_devices.py", *map(str, words)], stdout=subprocess.PIPE, text=True
        )
        for first in range(0, args.devices, share)
        for words in [
            (broker.port, first, min(share, args.devices - first), args.rate, args.frames, messages, hour),
        ]
    ]
    processes = [("broker", broker.process), *((f"collector {n}", one) for n, one in enumerate(collectors, 1))]
    parts = [Part(name, process.pid, cpu_s(process.pid)) for name, process in processes]
    most, begin = 0, time.monotonic()
    while any(sender.poll() is None for sender in senders):
        time.sleep(0.5)
        most = max(most, broker.queue)
    results = [json.loads(sender.communicate()[0] or sys.exit("the devices failed")) for sender in senders]
    seconds = max(result["seconds"] for result in results)
    cores = {part.name: part.used_s() / (time.monotonic() - begin) for part in parts}
    end = time.monotonic()
    time.sleep(1.5)  # the broker tells its queue once a second
    wait(lambda: broker.queue <= 0, "the collectors to take everything", 600)
    return Load(
        poses=sum(result["poses"] for result in results),
        seconds=seconds,
        behind_s=max(result["behind_s"] for result in results),
        queue=most,
        drain_s=time.monotonic() - end,
        cores={**cores, "devices": sum(result["cpu_s"] for result in results) / seconds},
    )


@contextmanager
def two_collectors(folder: Path, port: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Runs the collectors; at the end of the block they have written everything."""
    made = []
    for name in ("a", "b"):
        words = ["--broker", f"mqtt://127.0.0.1:{port}", "-o", folder / name, "--share", "fleet", "--name", name]
        log = (folder / f"{name}.log").open("w", encoding="utf-8")
        made.append(subprocess.Popen([sys.executable, "-m", "edgepose", "collect", *words], stderr=log, text=True))
        wait(lambda name=name: "listening" in (folder / f"{name}.log").read_text(encoding="utf-8"), "a collector")
    try:
        yield made
        memory = " and ".join(f"{rss_mb(one.pid):.0f}" for one in made)
        begin = time.monotonic()
        for one in made:
            one.terminate()
        if any(one.wait() for one in made):
            sys.exit(f"a collector failed; see {folder}/*.log")
        seconds = time.monotonic() - begin
        lost = sum((folder / f"{name}.log").read_text(encoding="utf-8").count("connection lost") for name in ("a", "b"))
        print(
            f"collectors: {memory} MB, {lost} connections lost; {seconds:.1f} s to write what was not in files yet",
            flush=True,
        )
    finally:
        for one in made:
            one.kill()


def merge(folder: Path) -> None:
    begin = time.monotonic()
    words = [folder / "all", folder / "a", folder / "b"]
    command = [sys.executable, "-m", "edgepose", "collect", "merge", *words]
    summary = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    print(f"merge: {time.monotonic() - begin:.1f} s, {summary.split(': ')[1].strip()}", flush=True)


def judge(folder: Path, sent: dict[int, int], devices: int) -> bool:
    """Checks that each pose is there once, in its hour, with its tags. sent: number of poses by device and hour."""
    files, lost, twice, tags = hours_in(folder / "all"), 0, 0, 0
    for hour, poses in sent.items():
        for n in range(devices):
            device = f"cage-{n:05d}"
            path = files.get((device, hour))
            if path is None:
                lost += poses
                continue
            table = read_hour(path)
            seqs, frames = table["seq"].to_numpy(), table["frame"].to_numpy()
            lost += len(np.setdiff1d(hour * 1_000_000 + np.arange(poses), seqs))
            twice += len(seqs) - len(np.unique(seqs))
            right = table["tag:cage"].unique().to_pylist() == [device] and (seqs - frames == hour * 1_000_000).all()
            tags += not (right and table["tag:run"].unique().to_pylist() == [str(hour)])
    gaps = len((folder / "all" / "gaps.csv").read_text(encoding="utf-8").splitlines()) - 1
    print(f"{lost} lost, {twice} twice, {gaps} gaps reported, {tags} files with wrong tags or frames", flush=True)
    return not (lost or twice or gaps or tags)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def wait(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)


def loads(broker: Broker, collectors: list[subprocess.Popen[str]], args: argparse.Namespace) -> dict[int, int]:
    """Runs one load, or increasing ones. Returns the number of poses by device and hour."""
    sent: dict[int, int] = {}
    while True:
        hour = FIRST_HOUR + len(sent)
        load = put_load(broker, collectors, args, hour)
        sent[hour] = load.poses // args.devices
        print(f"{args.devices} devices, {args.rate:.1f} poses/s each, {args.frames} a message: {load}", flush=True)
        kept_up = load.drain_s < KEPT_UP_S and load.behind_s < KEPT_UP_S
        if not args.ceiling or not kept_up:
            return sent
        args.rate *= GROWTH


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=30.0, metavar="HZ", help="poses a second of each device")
    parser.add_argument("--frames", type=int, default=30, help="poses in a message")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=2, help="that simulate the devices")
    parser.add_argument("--autosave", action="store_true")
    parser.add_argument("--ceiling", action="store_true")
    args = parser.parse_args()
    args.seconds = STEP_S if args.ceiling else args.seconds
    folder = Path(tempfile.mkdtemp(prefix="edgepose-fleet-"))
    broker = Broker(folder, autosave=args.autosave)
    try:
        with two_collectors(folder, broker.port) as collectors:
            sent = loads(broker, collectors, args)
    finally:
        broker.close()
    merge(folder)
    good = judge(folder, sent, args.devices)
    if good:
        shutil.rmtree(folder)
    else:
        print(f"not as it should be: {folder}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
