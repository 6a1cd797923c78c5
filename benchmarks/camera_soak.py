"""A million frames of a Camera Module through the real pipeline: does memory, a thread or a descriptor grow?

    python benchmarks/camera_soak.py [FRAMES]

The camera is tests/fake_picamera2, which gives frames as fast as they are taken; everything behind it is the daemon's
own, but for the network, which takes no time here, and the broker. Every tenth frame the whole picture is copied too.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in (".", "tests")]

from fake_picamera2 import Hardware, install  # noqa: E402
from fakes import FakeEstimator  # noqa: E402

from edgepose.camera.picamera2.camera import Picamera2Source  # noqa: E402
from edgepose.camera.supervisor import CameraSupervisor  # noqa: E402
from edgepose.config.camera import Picamera2Config  # noqa: E402
from edgepose.daemon.pipeline import Pipeline  # noqa: E402
from edgepose.geometry.letterbox import ModelInput  # noqa: E402
from edgepose.protocol.codec import encode  # noqa: E402
from edgepose.protocol.messages import PoseMessage  # noqa: E402
from edgepose.system.reporter import Reporter  # noqa: E402
from edgepose.types import Frame, Pose  # noqa: E402

SAMPLES = 50


class Estimator(FakeEstimator):
    """Looks at every pixel of the model's picture, as a real one would, and has opinions about the whole one."""

    def __init__(self, camera: Picamera2Source) -> None:
        super().__init__()
        self._camera = camera

    def estimate(self, frame: Frame, region: object = None) -> Pose:  # noqa: ARG002
        self._camera.wants_full = frame.index % 10 == 0
        assert frame.image.sum(dtype=np.int64) > 0
        return super().estimate(frame)


class Sink:
    """Encodes each pose as delivery does, and forgets it."""

    def __init__(self) -> None:
        self.bytes = 0

    def deliver(self, message: PoseMessage) -> None:
        self.bytes += len(encode(message))


def resources() -> tuple[float, int, int]:
    """(MB in RAM, threads, descriptors)"""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6, threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def main() -> int:
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with pytest.MonkeyPatch.context() as patch:
        hardware = install(patch, Hardware(lazy=True))
        camera = Picamera2Source(Picamera2Config(size_wh=(128, 96)), ModelInput((64, 48), 3, "letterbox"))
        sink, stop = Sink(), threading.Event()
        supervised = CameraSupervisor(lambda: camera, reporter=Reporter())
        pipeline = Pipeline(supervised, Estimator(camera), sink, "soak", reporter=Reporter())
        running = threading.Thread(target=pipeline.run, args=(stop,))
        begin = time.monotonic()
        running.start()
        samples = []
        while supervised.captured < frames and running.is_alive():
            if supervised.captured >= len(samples) * frames / SAMPLES:
                gc.collect()
                samples.append((supervised.captured, *resources()))
            time.sleep(0.01)
        seconds, held, dead = time.monotonic() - begin, hardware.camera.held, not running.is_alive()
        stop.set()
        running.join(20)
    captured, rss_mb, threads, descriptors = (
        np.array(column) for column in zip(*samples[SAMPLES // 10 :], strict=True)
    )
    slope_kb = np.polyfit(captured / 1e6, rss_mb, 1)[0] * 1e3
    rate = supervised.captured / seconds
    print(f"{supervised.captured} frames, {pipeline.poses} poses, {seconds:.0f} s ({rate:.0f} a second)")
    print(f"memory   {rss_mb[0]:.1f} MB, after all {rss_mb[-1]:.1f} MB; slope {slope_kb:+.0f} kB a million frames")
    print(f"threads  {threads.min()} to {threads.max()}   descriptors  {descriptors.min()} to {descriptors.max()}")
    print(f"buffers  {held} held at the end")
    grown = threads.max() > threads.min() or descriptors.max() > descriptors.min()
    return int(dead or grown or held > 1 or slope_kb > 1000)


if __name__ == "__main__":
    sys.exit(main())
