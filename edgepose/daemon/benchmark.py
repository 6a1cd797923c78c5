"""Measures how fast a model runs on this machine, stage by stage, in turn with the bare interpreter."""

from __future__ import annotations

import platform
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepose.camera.supervisor import CameraSupervisor
from edgepose.camera.synthetic.scene import Scene
from edgepose.camera.video_file import VideoFileSource
from edgepose.config.schema import ViewConfig
from edgepose.daemon.health import rss_mb
from edgepose.daemon.pipeline import Pipeline
from edgepose.inference.estimator import Estimator
from edgepose.inference.viewer import Viewer
from edgepose.protocol.codec import encode
from edgepose.protocol.messages import PoseMessage
from edgepose.system.clock import wall_us
from edgepose.system.reporter import Reporter
from edgepose.system.rolling_stats import RollingStats
from edgepose.types import U8, Frame, Pose

PRELOADED = 64  # frames held in memory, 59 MB at 640x480
SYNTHETIC_WH = (640, 480)
BLOCK = 20  # frames, and then as many bare invokes: in turns so short, other work of the machine slows both alike


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """The numbers of one benchmark.

    Attributes:
        frames: number of frames.
        fps: frames a second through the pipeline.
        raw_fps: invokes a second of the bare interpreter.
        stages_ms: median, 95th and 99th percentile of each stage, milliseconds.
    """

    frames: int
    fps: float
    raw_fps: float
    stages_ms: dict[str, tuple[float, float, float]]

    @property
    def ratio(self) -> float:
        return self.fps / self.raw_fps

    @property
    def outside_invoke_ms(self) -> float:
        """Returns the sum of the other stages' medians, also of those that run while the interpreter works."""
        return sum(p50 for name, (p50, _, _) in self.stages_ms.items() if name != "invoke")


def run_benchmark(model: Path, threads: int, source: str, seconds: float) -> dict[str, Any]:
    """Measures a model, and returns the report for `--json`.

    Args:
        model: the .tflite.
        threads: number of threads of the interpreter; 0: the fastest number.
        source: a video file, or `synthetic`.
        seconds: how long to measure.

    Raises:
        EdgeposeError: The model or the video cannot be read.
    """
    estimator = Estimator(model, threads)
    images = _synthetic_frames() if source == "synthetic" else _video_frames(Path(source))
    result = measure(estimator, images, seconds)
    return {
        "model": estimator.model.id,
        "input_wh": estimator.card.input.size_wh,
        "runtime": estimator.runtime.describe(),
        "threads": estimator.runtime.threads,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "source": source,
        "frame_wh": (images[0].shape[1], images[0].shape[0]),
        "frames": result.frames,
        "fps": round(result.fps, 2),
        "raw_fps": round(result.raw_fps, 2),
        "ratio": round(result.ratio, 4),
        "outside_invoke_ms": round(result.outside_invoke_ms, 3),
        "stages_ms": {
            name: dict(zip(("p50", "p95", "p99"), values, strict=True)) for name, values in result.stages_ms.items()
        },
        "rss_mb": rss_mb(),
        "preloaded_mb": round(sum(image.nbytes for image in images) / 1e6, 1),
    }


def measure(estimator: Estimator, images: list[U8], seconds: float) -> BenchmarkResult:
    """Sends frames through the real pipeline for about `seconds`, in turn with the bare interpreter."""
    stop, reporter = threading.Event(), Reporter()
    timed = _TimedEstimator(estimator, seconds, stop)
    camera = CameraSupervisor(lambda: _Preloaded(images), reporter=reporter)
    pipeline = Pipeline(camera, Viewer(timed, ViewConfig()), _Encoded(), "bench", reporter=reporter)
    pipeline.run(stop)
    stages = {"copy": camera.latency, **timed.stages, "encode": pipeline.stages["publish"]}
    percentiles = {name: stage.percentiles() for name, stage in stages.items()}
    return BenchmarkResult(timed.frames, timed.frames / timed.frames_s, timed.frames / timed.raw_s, percentiles)


def _synthetic_frames() -> list[U8]:
    scene = Scene(0, SYNTHETIC_WH)
    return [scene.render(i) for i in range(PRELOADED)]


def _video_frames(path: Path) -> list[U8]:
    video = VideoFileSource(path, realtime=False)
    try:
        return [frame.image for frame, _ in zip(video, range(PRELOADED), strict=False)]
    finally:
        video.close()


class _Preloaded:
    """A source whose driver is the memory: each frame is copied out, as from the buffer of a camera."""

    live, rate_hz = False, None

    def __init__(self, images: list[U8]) -> None:
        self._images = images
        self._index = 0

    def read(self) -> Frame | None:
        image = self._images[self._index % len(self._images)].copy()
        frame = Frame(image, "bgr", self._index, time.monotonic_ns(), wall_us())
        self._index += 1
        return frame

    def close(self) -> None:
        pass


class _TimedEstimator:
    """The estimator with its stages timed. After every `BLOCK` frames it runs the bare interpreter as often."""

    def __init__(self, estimator: Estimator, seconds: float, stop: threading.Event) -> None:
        self.card, self.model = estimator.card, estimator.model
        self.stages = {name: RollingStats() for name in ("load", "invoke", "decode", "hand_over")}
        self.frames = 0
        self.frames_s = self.raw_s = 0.0
        self._estimator, self._stop = estimator, stop
        self._end = time.perf_counter() + seconds
        self._block_start = self._returned = 0.0

    def estimate(self, frame: Frame) -> Pose:
        begin = time.perf_counter()
        if self.frames % BLOCK:
            self.stages["hand_over"].add((begin - self._returned) * 1e3)
        elif not self.frames:
            self._block_start = begin
        elif not self._stop.is_set():
            begin = self._bare_block(begin)
        if self._stop.is_set():  # only whole blocks count; frames on their way get the last pose
            return self._estimator.read()
        self._estimator.load(frame)
        loaded = time.perf_counter()
        self._estimator.invoke()
        invoked = time.perf_counter()
        pose = self._estimator.read()
        self._returned = end = time.perf_counter()
        for name, seconds in (("load", loaded - begin), ("invoke", invoked - loaded), ("decode", end - invoked)):
            self.stages[name].add(seconds * 1e3)
        self.frames += 1
        return pose

    def _bare_block(self, begin: float) -> float:
        """Runs between two blocks of frames, and returns the time of its end."""
        self.frames_s += begin - self._block_start
        start = time.perf_counter()
        for _ in range(BLOCK):
            self._estimator.invoke()
        self._block_start = time.perf_counter()
        self.raw_s += self._block_start - start
        if self._block_start >= self._end:
            self._stop.set()
        return self._block_start


class _Encoded:
    """Takes poses as far as their bytes; what a network does with them is not the speed of this machine."""

    def deliver(self, message: PoseMessage) -> None:
        encode(message)
