"""From a pose to a GPIO edge: what rules add to the pose itself, on gpiozero's mock pins.

    python benchmarks/closed_loop.py [--poses 5000]

The estimator runs the demo's model on rendered frames, the pipeline hands each pose to the rules; a rule on every other
pose switches a pin. Printed: the time from the moment the pose is there to the edge (the mock pin stamps it), and to
the return of all rules.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np

os.environ["GPIOZERO_PIN_FACTORY"] = "mock"

from edgepose.camera.synthetic.scene import Scene
from edgepose.closed_loop.closed_loop import ClosedLoop
from edgepose.config.closed_loop import GpioConfig, RuleConfig
from edgepose.daemon.observers import Observers
from edgepose.daemon.pipeline import Pipeline
from edgepose.inference.estimator import Estimator
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose

MODEL = Path(__file__).parents[1] / "edgepose" / "demo" / "demo.tflite"
LIMIT_MS = 1.0
ZONE = [[0, 0], [320, 0], [320, 240], [0, 240]]


class Camera:
    """Rendered frames, as fast as they are taken."""

    live = False

    def __init__(self, count: int) -> None:
        scene = Scene(0, (320, 240))
        self._images = [scene.render(index) for index in range(50)]
        self._count, self._index = count, 0

    def read(self) -> Frame | None:
        if self._index == self._count:
            return None
        self._index += 1
        image = self._images[self._index % len(self._images)]
        return Frame(image, "bgr", self._index, time.monotonic_ns(), time.time_ns() // 1000)

    def close(self) -> None:
        pass


class Timed:
    """The first observer: notes when each pose is there, and makes every other one unsure."""

    def __init__(self, loop: ClosedLoop) -> None:
        self.loop, self.there_s = loop, []
        self.edges_s: list[float] = []
        pin = loop._pins._outputs[17].pin
        real = pin._set_state

        def stamped(value: object) -> None:
            self.edges_s.append(time.perf_counter())
            real(value)

        pin._set_state = stamped
        self.there_s: list[float] = []

    def captured(self, frame: Frame) -> None:
        pass

    def posed(self, frame: Frame, pose: Pose) -> None:
        score = pose.score.copy()
        score[0] = 0.9 if frame.index % 2 else 0.1
        pose = Pose(pose.xy_px, score)
        self.there_s.append(time.perf_counter())
        self.loop.posed(frame, pose)


class Nowhere:
    def deliver(self, message: object) -> None:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=int, default=5000)
    args = parser.parse_args()
    estimator = Estimator(MODEL, 1)
    names = estimator.card.skeleton.keypoints
    rules = {
        "unsure": {"when": {"score": {"keypoint": names[0], "below": 0.5}}, "pin": 17},
        "zone": {"when": {"in_zone": {"keypoint": names[1], "zone": ZONE}}, "event": False},
        "fast": {"when": {"speed": {"keypoint": names[2], "above": 100}}, "event": False},
        "long": {"when": {"distance": {"between": [names[0], names[3]], "above": 100}}, "event": False},
    }
    reporter = Reporter()
    loop = ClosedLoop(
        {name: msgspec.convert(rule, RuleConfig) for name, rule in rules.items()},
        GpioConfig(),
        estimator.card.skeleton,
        reporter=reporter,
    )
    timed = Timed(loop)
    observers = Observers([timed.posed], reporter=reporter)
    pipeline = Pipeline(Camera(args.poses), _View(estimator), Nowhere(), "bench", observers, reporter=reporter)
    pipeline.run(threading.Event())
    edges = np.array(timed.edges_s)  # one at each pose but the first, which finds the pin low and leaves it so
    added_ms = (edges - np.array(timed.there_s)[-len(edges) :]) * 1e3
    p50, p99 = np.percentile(added_ms, [50, 99])
    told = f"p50 {p50:.3f}, p99 {p99:.3f}, at most {added_ms.max():.2f}"
    print(f"{len(edges)} edges of {args.poses} poses, 4 rules: pose to pin, ms: {told}")
    infer = pipeline.stages["infer"].percentiles()
    print(f"the pose itself: infer p50 {infer[0]:.2f}, p99 {infer[2]:.2f} ms")
    loop.close()
    return int(p99 > LIMIT_MS)


class _View:
    def __init__(self, estimator: Estimator) -> None:
        self.card, self._estimator = estimator.card, estimator

    def estimate(self, frame: Frame, region: object = None) -> Pose:  # noqa: ARG002  the pipeline's
        return self._estimator.estimate(frame)


if __name__ == "__main__":
    sys.exit(main())
