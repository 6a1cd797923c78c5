"""The device of `delivery.py`: the real delivery in a process of its own, fed without a camera.

It reads commands from stdin, one per line, and answers each with one line of JSON:

    feed N HZ [SPEED]     hands N poses over; with SPEED, time passes so many times faster: the spool's half second, and
                          the times of the poses
    live HZ               begins to hand poses over, each stamped with the time; `quiet` ends that
    infer MODEL SECONDS   the daemon's pipeline on frames in memory, 30 per second, and what it costs
    counters              counters, memory, bytes written, CPU seconds of each thread
    end                   waits until everything is delivered
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from chaos_device import NAMES, health, new_delivery
from delivery_lab import percentiles

from edgepose.camera.pacer import Pacer
from edgepose.camera.synthetic.scene import Scene
from edgepose.cli.run import log_to_stderr
from edgepose.config.loading import read_config
from edgepose.config.schema import ViewConfig
from edgepose.daemon.health import rss_mb
from edgepose.daemon.pipeline import Pipeline
from edgepose.delivery.timing import DeliveryTiming
from edgepose.inference.estimator import Estimator
from edgepose.inference.viewer import Viewer
from edgepose.protocol.messages import AnimalMessage, Keypoint, PoseMessage
from edgepose.system.clock import boot_id, boot_us, wall_us
from edgepose.system.reporter import Reporter
from edgepose.types import Frame

DEVICE = "cage-07"
FRAME_US = 33_333
RATE_HZ = 30.0
WAITING = 10_000  # in memory, from which on `feed` waits for the disk
BARE = 300  # invokes of the interpreter on its own


class Device:
    def __init__(self, config: Path) -> None:
        self._delivery = new_delivery(read_config(config), DEVICE, threading.Event())
        self._delivery.start(lambda: health(self._delivery, DEVICE, boot_id()))
        self._walk = walk()
        self._first = boot_us()
        self._accepted = 0
        self._quiet = threading.Event()
        self._feeder = threading.Thread()

    def feed(self, count: str, rate_hz: str, speed: str = "1") -> dict[str, Any]:
        usual = DeliveryTiming()
        self._use(replace(usual, spill_s=usual.spill_s / float(speed), tick_s=usual.tick_s / float(speed)))
        begin, t_us, held_s = time.monotonic(), wall_us(), 0.0
        for i in range(int(count)):
            ahead = begin + held_s + i / float(rate_hz) - time.monotonic()
            if ahead > 0.001:
                time.sleep(ahead)
            while self._delivery.waiting > WAITING:
                time.sleep(0.001)
                held_s += 0.001
            self._deliver(t_us + i * FRAME_US if float(speed) > 1 else wall_us())
        self._use(usual)
        return {"seconds": time.monotonic() - begin}

    def _use(self, timing: DeliveryTiming) -> None:
        """Changes the pace of the running delivery, which no program but this one needs."""
        self._delivery._outbox._timing = self._delivery._outbox.spool._timing = timing

    def live(self, rate_hz: str) -> dict[str, Any]:
        self._quiet.clear()
        self._feeder = threading.Thread(target=self._live, args=(float(rate_hz),), name="feeder")
        self._feeder.start()
        return {}

    def _live(self, rate_hz: float) -> None:
        begin, count = time.monotonic(), 0
        while not self._quiet.wait(max(0.0, begin + count / rate_hz - time.monotonic())):
            self._deliver(wall_us())
            count += 1

    def quiet(self) -> dict[str, Any]:
        self._quiet.set()
        self._feeder.join()
        return {}

    def infer(self, model: str, seconds: str) -> dict[str, Any]:
        estimator, clock = Estimator(Path(model), 1), Clock()
        bare_us: list[float] = []
        for _ in range(BARE):
            clock.timed(estimator.invoke, bare_us)()
        estimator.invoke = clock.timed(estimator.invoke, invoke_us := [])  # type: ignore[method-assign]
        pipeline = Pipeline(Preloaded(), Viewer(estimator, ViewConfig()), self, DEVICE, reporter=Reporter())
        self.deliver = clock.timed(self._delivery.deliver, deliver_us := [])
        stop = threading.Event()
        running = threading.Thread(target=pipeline.run, args=(stop,), name="pipeline")
        running.start()
        time.sleep(2)
        before, poses = self.counters(), pipeline.poses
        time.sleep(float(seconds))
        after, poses = self.counters(), pipeline.poses - poses
        stop.set()
        running.join()
        cpu_us = {name: (s - before["cpu_s"].get(name, 0.0)) / poses * 1e6 for name, s in after["cpu_s"].items()}
        return {
            "poses": poses,
            "deliver_us": percentiles(deliver_us[60:]),
            "invoke_us": percentiles(invoke_us[60:]),
            "bare_invoke_us": percentiles(bare_us),
            "thread_us_per_pose": {name: round(us) for name, us in cpu_us.items() if us >= 0.5},
            "process_us_per_pose": round((after["process_cpu_s"] - before["process_cpu_s"]) / poses * 1e6),
        }

    def counters(self) -> dict[str, Any]:
        delivery = self._delivery
        threads = {thread.name: thread.ident for thread in threading.enumerate() if thread.ident}
        io = [line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines()]
        return {
            "first": self._first,
            "accepted": self._accepted,
            "waiting": delivery.waiting,
            "spooled": delivery.spooled,
            "spool_mb": delivery.spool_mb,
            "dropped": delivery.given_up,
            "connects": delivery.connects,
            "rss_mb": rss_mb(),
            "io": {name: int(value) for name, value in io},
            "cpu_s": {name: time.clock_gettime(time.pthread_getcpuclockid(i)) for name, i in threads.items()},
            "process_cpu_s": time.process_time(),
        }

    def end(self) -> dict[str, Any]:
        self._delivery.wait_delivered()
        return self.counters()

    def _deliver(self, t_us: int) -> None:
        self._delivery.deliver(next_pose(next(self._walk), self._first + self._accepted, self._accepted, t_us))
        self._accepted += 1


class Clock:
    """Measures the CPU time of the calling thread."""

    def timed(self, function: Callable[..., Any], times_us: list[float]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            begin = time.thread_time_ns()
            result = function(*args)
            times_us.append((time.thread_time_ns() - begin) / 1e3)
            return result

        return call


class Preloaded:
    """A live camera that takes its frames from memory."""

    live = True

    def __init__(self) -> None:
        scene = Scene(0, (640, 480))
        self._images = [scene.render(i) for i in range(64)]
        self._pacer, self._index = Pacer(RATE_HZ), -1

    def read(self) -> Frame | None:
        if not self._pacer.wait():
            return None
        self._index += 1
        return Frame(self._images[self._index % 64].copy(), "bgr", self._index, time.monotonic_ns(), wall_us())

    def close(self) -> None:
        self._pacer.stop()


def walk() -> Iterator[dict[str, Keypoint]]:
    """Yields keypoints of an animal that walks about: numbers like a network's, which do not repeat."""
    chance = random.Random(1)  # noqa: S311  no secret
    xy = [chance.uniform(100, 400) for _ in range(2 * len(NAMES))]
    while True:
        xy = [min(max(at + chance.gauss(0, 2), 0), 480) for at in xy]
        yield {
            name: Keypoint(round(xy[2 * k], 2), round(xy[2 * k + 1], 2), round(chance.betavariate(20, 2), 3))
            for k, name in enumerate(NAMES)
        }


def next_pose(points: dict[str, Keypoint], seq: int, frame: int, t_us: int) -> PoseMessage:
    return PoseMessage(
        device=DEVICE,
        boot=boot_id(),
        seq=seq,
        frame=frame,
        t_us=t_us,
        mono_us=8123456789,
        synced=True,
        clock_error_us=180,
        replay=False,
        latency_ms=round(10 + points[NAMES[0]].score * 3, 2),
        model="openfield@3fa2c1",
        size_wh=(640, 480),
        animals=[AnimalMessage(id="1", id_score=1.0, score=0.9, keypoints=points)],
    )


def main(config: str) -> None:
    log_to_stderr()
    device = Device(Path(config))
    for line in sys.stdin:
        name, *words = line.split()
        print(json.dumps(getattr(device, name)(*words)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
