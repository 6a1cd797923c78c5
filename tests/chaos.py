"""Faults at random moments. Is every accepted pose in the collector's files afterwards, once?

    python tests/chaos.py --faults 100 --poses 100000 --seed 1

Device, broker and collector are real processes, and the device reaches the broker through a proxy. There are at least
as many faults as asked for, and more for as long as the device makes poses. A seed always gives the same faults, with
the same pauses and lengths; the log has each fault, and when it came.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from brokers import Mosquitto, wait_until
from chaos_proxy import Proxy

from edgepose.collect.hours import read_hour
from edgepose.delivery.timing import DeliveryTiming
from edgepose.system.clock import boot_id

KEEP_ACKED_S = DeliveryTiming().keep_acked_s
HERE = Path(__file__).parent
DURABLE = HERE.parent / "firmware_configs" / "broker" / "mosquitto-durable.conf"
FAULTS = (
    "device",
    "broker",
    "collector",
    "cut",
    "stall",
    "swallow",
    "delay",
    "wipe",
    "device+broker",
    "collector+broker",
)
LONG_EVERY, LONG_S = 50, 75.0  # now and then the broker is away for longer than a device remembers by its clock alone


@dataclass(frozen=True)
class Fault:
    """A fault that lasts for `seconds`, after a pause of `pause_s`."""

    pause_s: float
    name: str
    seconds: float


def faults_of(seed: int) -> Iterator[Fault]:
    """Yields faults without end, the same for the same seed."""
    chance = random.Random(seed)
    for number in itertools.count(1):
        fault = Fault(chance.uniform(0.2, 2.0), chance.choice(FAULTS), chance.uniform(0.1, 3.0))
        yield fault if number % LONG_EVERY else Fault(fault.pause_s, "broker", LONG_S)


@dataclass
class Outcome:
    """What has come of the poses.

    Attributes:
        lost: poses that were accepted and are in no file.
        twice: number of rows that repeat another one.
        gaps: first and last seq of those that the collector reports as missing.
    """

    seed: int
    accepted: int
    lost: list[int]
    twice: int
    gaps: list[tuple[int, int]]
    seconds: float
    faults: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        faults = ", ".join(f"{n} {name}" for name, n in sorted(self.faults.items()))
        return (
            f"seed {self.seed}: {sum(self.faults.values())} faults ({faults}) over {self.accepted} poses in "
            f"{self.seconds:.0f} s: {len(self.lost)} lost, {self.twice} twice, {len(self.gaps)} gaps reported"
        )


class Chaos:
    """The processes. All their files are in `folder`. memory_s: how long the device keeps what was acknowledged."""

    def __init__(self, folder: Path, poses: int, rate_hz: float, memory_s: float = KEEP_ACKED_S) -> None:
        self._folder, self._poses, self._rate_hz, self._memory_s = folder, poses, rate_hz, memory_s
        (folder / "mosquitto").mkdir()
        self._broker = Mosquitto(folder / "mosquitto")
        self._broker.start("allow_anonymous true", *durable_settings())
        self._proxy = Proxy(self._broker.port)
        config = {
            "model": "none",
            "camera": {"source": "synthetic"},
            "mqtt": {"host": "127.0.0.1", "port": self._proxy.port, "keepalive_s": 5},
            "spool": {"folder": str(folder / "spool"), "ram_folder": str(folder / "ram")},
        }
        (folder / "edgepose.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self._log = (folder / "log.txt").open("a", encoding="utf-8")
        self._collector = self._start_collector()
        self._device = self._start_device()

    def run(self, faults: int, seed: int) -> Outcome:
        begin, done = time.monotonic(), Counter[str]()
        for fault in faults_of(seed):
            if done.total() >= faults and len(self._accepted()) >= self._poses:
                break
            time.sleep(fault.pause_s)
            done[fault.name] += 1
            self._note(f"--- {done.total()}, {time.monotonic() - begin:.1f} s, {len(self._accepted())} poses: {fault}")
            self._do(fault.name, fault.seconds)
        return self._heal(seed, done, begin)

    def wipe_while_the_reader_is_away(self) -> Outcome:
        """Deletes what the broker knows while the collector is away for longer than the device keeps messages."""
        begin = time.monotonic()
        wait_until(lambda: self._listening() > self._listened, "the collector to listen", 60)
        self._wait_for_poses(100)
        self._collector.kill()
        self._collector.wait()
        time.sleep(2 * self._memory_s)
        self._wipe()
        self._collector = self._start_collector()
        wait_until(lambda: self._listening() > self._listened, "the collector to listen", 60)
        self._wait_for_poses(100)
        return self._heal(0, Counter(wipe=1), begin)

    def _wait_for_poses(self, more: int) -> None:
        enough = len(self._accepted()) + more
        wait_until(lambda: len(self._accepted()) >= enough, f"{more} more poses", 60)

    def _heal(self, seed: int, faults: Counter[str], begin: float) -> Outcome:
        """Ends the faults: what was accepted arrives now, or never will."""
        wait_until(lambda: self._listening() > self._listened, "the collector to listen", 60)
        time.sleep(3.0)  # in which the device goes on, as one does: only it can repeat what a fault has swallowed
        self._note("--- healed")
        (self._folder / "healed").touch()
        self._device.wait(600)
        assert self._device.returncode == 0, f"the device failed; see {self._folder}/log.txt"
        for _ in range(5):
            wait_until(lambda: self._listening() > self._listened, "the collector to listen", 60)
            time.sleep(3.0)  # what the broker still has for it
            self._collector.terminate()
            assert self._collector.wait(120) == 0, f"the collector failed; see {self._folder}/log.txt"
            outcome = self._judge(seed, faults, time.monotonic() - begin)
            if not outcome.lost:
                break
            self._collector = self._start_collector()
        return outcome

    def close(self) -> None:
        for process in (self._device, self._collector):
            process.kill()
            process.wait()
        self._proxy.close()
        self._broker.kill()
        self._log.close()

    def _do(self, name: str, seconds: float) -> None:
        """Causes the fault, waits until it is to end, and ends it."""
        match name:
            case "cut":
                self._proxy.cut()
            case "stall" | "swallow" | "delay":
                self._proxy.mode = name
                time.sleep(seconds * 4)
                self._proxy.mode = "pass"
            case "wipe":
                # Nobody can save what a broker deletes while the reader is away, so this one has time to catch up.
                time.sleep(5.0)
                self._wipe()
            case _:
                self._kill(name.split("+"), seconds)

    def _kill(self, names: list[str], seconds: float) -> None:
        if "device" in names:
            self._device.kill()
            self._device.wait()
        if "collector" in names:
            self._collector.kill()
            self._collector.wait()
        if "broker" in names:
            self._broker.kill()
        time.sleep(seconds)
        if "broker" in names:
            self._broker.start()
        if "collector" in names:
            self._collector = self._start_collector()
        if "device" in names:
            self._device = self._start_device()

    def _wipe(self) -> None:
        self._broker.kill()
        for path in (self._folder / "mosquitto").glob("mosquitto.db*"):
            path.unlink()
        self._broker.start()

    def _start_device(self) -> subprocess.Popen[str]:
        words = [
            str(self._folder / "edgepose.yaml"),
            str(self._folder / "ledger"),
            str(self._poses),
            str(self._rate_hz),
            str(self._folder / "healed"),
            str(self._memory_s),
        ]
        return self._start([sys.executable, str(HERE / "chaos_device.py"), *words])

    def _start_collector(self) -> subprocess.Popen[str]:
        self._listened = self._listening()
        url = f"mqtt://127.0.0.1:{self._broker.port}"
        return self._start(
            [sys.executable, "-m", "edgepose", "collect", "--broker", url, "-o", str(self._folder / "out")]
        )

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdout=self._log, stderr=self._log, text=True)

    def _listening(self) -> int:
        """Returns how often a collector has begun to listen."""
        return (self._folder / "log.txt").read_text(encoding="utf-8").count(": listening")

    def _note(self, text: str) -> None:
        self._log.write(f"{text}\n")
        self._log.flush()

    def _accepted(self) -> set[int]:
        data = (self._folder / "ledger").read_bytes() if (self._folder / "ledger").exists() else b""
        return {int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)}

    def _judge(self, seed: int, faults: Counter[str], seconds: float) -> Outcome:
        accepted = self._accepted()
        rows = [
            (boot, seq)
            for path in (self._folder / "out").glob("*/*.parquet")
            for boot, seq in zip(*read_hour(path, ["boot", "seq"]).to_pydict().values(), strict=True)
        ]
        assert {boot for boot, _ in rows} <= {boot_id()}
        lost = sorted(accepted - {seq for _, seq in rows})
        with (self._folder / "out" / "gaps.csv").open(encoding="utf-8") as file:
            gaps = [(int(row["first_seq"]), int(row["last_seq"])) for row in csv.DictReader(file)]
        return Outcome(seed, len(accepted), lost, len(rows) - len(set(rows)), gaps, seconds, faults)


def durable_settings() -> list[str]:
    """Returns those lines of the configuration that we ship which do not depend on the machine."""
    lines = DURABLE.read_text(encoding="utf-8").splitlines()
    return [
        line
        for line in lines
        if line.split(" ")[0] in {"persistence", "autosave_on_changes", "autosave_interval"}
        or line.startswith(("max_", "persistent_"))
    ]


@contextlib.contextmanager
def chaos(folder: Path, poses: int, rate_hz: float, memory_s: float = KEEP_ACKED_S) -> Iterator[Chaos]:
    made = Chaos(folder, poses, rate_hz, memory_s)
    try:
        yield made
    finally:
        made.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--poses", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=200.0, metavar="HZ")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="edgepose-chaos-"))
    print(f"seed {args.seed}, in {folder}", flush=True)
    with chaos(folder, args.poses, args.rate) as made:
        outcome = made.run(args.faults, args.seed)
    print(outcome)
    return 1 if outcome.lost or outcome.twice else 0


if __name__ == "__main__":
    sys.exit(main())
