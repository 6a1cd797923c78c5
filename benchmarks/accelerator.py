"""Measures the cost of a process of its own for an accelerator, and how soon the CPU takes over when it fails.

    python benchmarks/accelerator.py [--frames 500]

The device is tests/accelerator.c, an external delegate that computes the model's first operation. The rest runs on the
CPU in that process. So both ways do the same work, and their difference is the way to the other process and back.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgepose.camera.synthetic.scene import Scene
from edgepose.config.schema import InferenceConfig
from edgepose.inference.accelerated import open_estimator
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_card import EDGETPU_MEMBER
from edgepose.inference.model_file import read_model, write_model
from edgepose.system.reporter import Reporter
from edgepose.types import Frame

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "edgepose" / "demo" / "demo.tflite"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=500)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return measure(Path(name), args.frames)


def measure(folder: Path, count: int) -> int:
    library, mood, model = folder / "good.so", folder / "mood", folder / "model.tflite"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-w", ROOT / "tests" / "accelerator.c", "-o", library], check=True)
    os.environ["TEST_ACCELERATOR_MOOD"] = str(mood)
    demo = read_model(DEMO)
    write_model(model, demo.network, demo.card, {EDGETPU_MEMBER: demo.network})
    scene = Scene(0, (320, 240))
    frames = [Frame(scene.render(index), "bgr", index, 0, 0) for index in range(20)]
    cpu = Estimator(model, 1)
    settings = InferenceConfig(threads=1, delegate="edgetpu", library=str(library))
    worst_s = 0.0
    for fault in ("lost", "crash", "hang"):
        mood.write_text("ok", encoding="ascii")
        device = open_estimator(model, settings, reporter=Reporter())
        if device.delegate != "edgetpu":
            sys.exit(f"the device is not at work: {device.trouble}")
        if fault == "lost":
            # Both run in turn, so that other programs disturb them alike.
            times = np.array([[timed(one, frames[i % 20]) for one in (cpu, device)] for i in range(count)])
            alone, apart = np.median(times, axis=0)
            here, there, more = alone * 1e3, apart * 1e3, (apart - alone) * 1e6
            print(f"a frame: {here:.2f} ms in this process, {there:.2f} ms in its own, {more:+.0f} us")
        mood.write_text(fault, encoding="ascii")
        seconds = timed(device, frames[0])
        worst_s = max(worst_s, seconds)
        alert = device.trouble
        print(f"device {fault}: the frame's pose, from the CPU, after {seconds * 1e3:.0f} ms ({alert})")
        device.close()
    return int(worst_s > 10)


def timed(estimator: object, frame: Frame) -> float:
    begin = time.perf_counter()
    estimator.estimate(frame)  # type: ignore[attr-defined]
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
