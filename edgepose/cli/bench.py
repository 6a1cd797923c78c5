"""`edgepose bench`: how fast a model runs here, stage by stage, against the bare interpreter in the same run."""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgepose.camera.supervisor import CameraSupervisor
from edgepose.camera.synthetic.scene import Scene
from edgepose.camera.video_file import VideoFileSource
from edgepose.config.schema import ViewConfig
from edgepose.daemon.health import rss_mb
from edgepose.daemon.pipeline import Pipeline
from edgepose.errors import EdgeposeError, UsageError
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
BLOCK = 20  # frames, then as many bare invokes: what else the machine does then slows both alike


@dataclass(frozen=True, slots=True)
class Result:
    """stages_ms: median, 95th and 99th percentile of the last poses. outside_invoke_ms: the other stages' medians
    summed, also of those that run while the interpreter works."""

    frames: int
    fps: float
    raw_fps: float
    stages_ms: dict[str, tuple[float, float, float]]

    @property
    def ratio(self) -> float:
        return self.fps / self.raw_fps

    @property
    def outside_invoke_ms(self) -> float:
        return sum(p50 for name, (p50, _, _) in self.stages_ms.items() if name != "invoke")


class _Preloaded:
    """A camera whose driver is the memory: each frame is copied out, as from any camera's buffer."""

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
    """The estimator, its stages timed; after every `BLOCK` frames it runs the bare interpreter as often."""

    def __init__(self, estimator: Estimator, seconds: float, stop: threading.Event) -> None:
        self.card = estimator.card
        self.stages = {name: RollingStats() for name in ("load", "invoke", "decode", "hand_over")}
        self.frames = 0
        self.frames_s = self.raw_s = 0.0
        self._estimator, self._stop = estimator, stop
        self._end = time.perf_counter() + seconds
        self._block_start = self._left = 0.0

    def estimate(self, frame: Frame) -> Pose:
        begin = time.perf_counter()
        if self.frames % BLOCK:
            self.stages["hand_over"].add((begin - self._left) * 1e3)
        elif not self.frames:
            self._block_start = begin
        elif not self._stop.is_set():
            begin = self._bare_block(begin)
        if self._stop.is_set():  # only whole blocks count; frames under way get the last pose
            return self._estimator.read()
        self._estimator.load(frame)
        loaded = time.perf_counter()
        self._estimator.invoke()
        invoked = time.perf_counter()
        pose = self._estimator.read()
        self._left = time.perf_counter()
        for name, seconds in (("load", loaded - begin), ("invoke", invoked - loaded), ("decode", self._left - invoked)):
            self.stages[name].add(seconds * 1e3)
        self.frames += 1
        return pose

    def _bare_block(self, begin: float) -> float:
        """Called between two blocks of frames; returns when it is done."""
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
    """Takes poses as far as their bytes; what a network does with them is not this machine's speed."""

    def deliver(self, message: PoseMessage) -> None:
        encode(message)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Runs the daemon's pipeline on frames that lie in memory, so no camera or video decoder is in the way, and in\n"
        "turn with it the bare interpreter. Says what each stage takes and what the pipeline costs on top."
    )
    parser.epilog = (
        "examples:\n  edgepose bench model.tflite\n  edgepose bench model.tflite --source mouse.mp4 --json bench.json"
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .tflite, its card beside it")
    parser.add_argument(
        "--source",
        default="synthetic",
        metavar="S",
        help=f"a video file, of which the first {PRELOADED} frames are taken, or synthetic (default: a 640x480 mouse)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to a file")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        choices=range(17),
        metavar="N",
        help="of the interpreter; 0: the fastest number",
    )
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="how long to measure (default: 10)")


def run(args: argparse.Namespace) -> int:
    if not (0 < args.seconds < math.inf):
        raise UsageError(f"--seconds {args.seconds}: must be more than 0")
    estimator = Estimator(args.model, args.threads)
    images = _synthetic_frames() if args.source == "synthetic" else _video_frames(Path(args.source))
    result = measure(estimator, images, args.seconds)
    if "tensorflow" in sys.modules:
        raise EdgeposeError("TensorFlow was imported on the device side; report this as a bug")
    report = _report(args, estimator, images, result)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _print(report)
    return 0


def measure(estimator: Estimator, images: list[U8], seconds: float) -> Result:
    """Frames through the real pipeline for about `seconds`, in turn with the bare interpreter."""
    stop = threading.Event()
    timed = _TimedEstimator(estimator, seconds, stop)
    reporter = Reporter()
    camera = CameraSupervisor(lambda: _Preloaded(images), reporter=reporter)
    pipeline = Pipeline(camera, Viewer(timed, ViewConfig()), _Encoded(), "bench", reporter=reporter)
    pipeline.run(stop)
    stages = {"copy": camera.latency, **timed.stages, "encode": pipeline.stages["publish"]}
    percentiles = {name: stage.percentiles() for name, stage in stages.items()}
    return Result(timed.frames, timed.frames / timed.frames_s, timed.frames / timed.raw_s, percentiles)


def _synthetic_frames() -> list[U8]:
    scene = Scene(0, SYNTHETIC_WH)
    return [scene.render(i) for i in range(PRELOADED)]


def _video_frames(path: Path) -> list[U8]:
    video = VideoFileSource(path, realtime=False)
    try:
        return [frame.image for frame, _ in zip(video, range(PRELOADED), strict=False)]
    finally:
        video.close()


def _report(args: argparse.Namespace, estimator: Estimator, images: list[U8], result: Result) -> dict[str, Any]:
    """What `--json` holds."""
    return {
        "model": estimator.card.model_id(),
        "input_wh": estimator.card.input.size_wh,
        "runtime": estimator.runtime.describe(),
        "threads": estimator.runtime.threads,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "source": args.source,
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


_STAGES = {
    "copy": "out of the camera's buffer",
    "load": "resize, colours, input tensor",
    "invoke": "the interpreter",
    "decode": "heatmaps to keypoints",
    "hand_over": "waiting between threads",
    "encode": "pose to JSON bytes",
}


def _print(report: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    w, h = report["frame_wh"]
    console.print(f"{report['model']} on {report['runtime']}, {report['machine']}", markup=False)
    console.print(f"{report['frames']} frames of {w}x{h} ({report['source']})", markup=False)
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("stage")
    for heading in ("p50 ms", "p95 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    table.add_column(style="dim")
    for name, what in _STAGES.items():
        table.add_row(name, *(f"{value:.3f}" for value in report["stages_ms"][name].values()), what)
    console.print(table)
    console.print(
        f"[bold]{report['fps']:.1f} fps[/], {report['ratio']:.3f} of the bare interpreter's {report['raw_fps']}"
    )
    console.print(f"{report['outside_invoke_ms']:.2f} ms a frame outside invoke (medians, also what runs beside it)")
    console.print(f"{report['rss_mb']:.0f} MB in RAM, {report['preloaded_mb']:.0f} MB of it frames held for this run")
