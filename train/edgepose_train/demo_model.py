"""Makes the model that ships with the package: renders a labelled project, trains on it and installs the result.

    python -m edgepose_train.demo_model -o edgepose/demo

The demo shows another mouse, floor and light than these frames, so the model was not trained on what it shows.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgepose.camera.synthetic.mouse import LOOP_FRAMES, SKELETON
from edgepose.camera.synthetic.scene import Scene
from edgepose.config.camera import SyntheticCameraConfig
from edgepose.errors import EdgeposeError
from edgepose_train.labels.deeplabcut_writer import create_project, image_name, new_frames, write_labels
from edgepose_train.labels.project_files import LABELS

SCORER = "edgepose"
SIZE_WH = SyntheticCameraConfig().size_wh  # the camera's default size, which the demo uses
SEEDS = range(100, 140)
FRAMES_PER_SEED = 6


def main() -> int:
    """Makes the model and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m edgepose_train.demo_model", description="Trains the demo's model.")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="the folder for demo.tflite")
    parser.add_argument("--weights", default="imagenet", help="as for edgepose-train fit (default: imagenet)")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="edgepose-demo-model-") as folder:
            project, run = Path(folder) / "project", Path(folder) / "run"
            write_project(project, SEEDS, FRAMES_PER_SEED, SIZE_WH)
            print(f"rendered {len(SEEDS) * FRAMES_PER_SEED} labelled frames", flush=True)
            train(project, run, args.weights)
            model = args.output / "demo.tflite"
            args.output.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / "model.tflite", model)
    except EdgeposeError as exc:
        print(f"demo_model: {exc}", file=sys.stderr)
        return exc.exit_code
    print(f"{model}: {model.stat().st_size / 1000:.0f} kB")
    return 0


def write_project(project: Path, seeds: Sequence[int], frames: int, size_wh: tuple[int, int]) -> None:
    """Writes a DeepLabCut project folder with one video per seed and `frames` images of each, spread over its walk."""
    create_project(project, "demo", SCORER, SKELETON, {f"mouse{seed}.avi": size_wh for seed in seeds})
    for seed in seeds:
        scene, video = Scene(seed, size_wh), f"mouse{seed}"
        # The seeds begin at different times of the walk, so that the images show all of it.
        indices = sorted((i * LOOP_FRAMES // frames + seed * 37) % LOOP_FRAMES for i in range(frames))
        names = [image_name(index, LOOP_FRAMES) for index in indices]
        with new_frames(project, video) as write:
            for name, index in zip(names, indices, strict=True):
                write(name, scene.render(index))
        truth = np.stack([scene.mouse.truth(index) for index in indices])
        write_labels(project / LABELS / video, SCORER, SKELETON.keypoints, names, truth)


def train(project: Path, run: Path, weights: str) -> None:
    """Trains on the project; raises EdgeposeError when the model is not made or int8 costs it too much."""
    from edgepose_train import cli

    if cli.main(["fit", str(project), "-o", str(run), "--recipe", "demo", "--weights", weights]) != 0:
        raise EdgeposeError("the demo's model was not trained; see above")


if __name__ == "__main__":
    sys.exit(main())
