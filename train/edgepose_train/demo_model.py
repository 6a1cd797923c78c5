"""Makes the model that ships with the package: renders a labelled project, trains on it, keeps the result.

    python -m edgepose_train.demo_model -o edgepose/demo

The mice of these frames are never the demo's own: it shows a mouse, floor and light that the model has not seen.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import msgspec
import yaml

from edgepose.camera.synthetic.mouse import LOOP_FRAMES, SKELETON
from edgepose.camera.synthetic.scene import Scene
from edgepose.config.camera import SyntheticCameraConfig
from edgepose.errors import EdgeposeError
from edgepose.inference.model_card import read_card, write_card

SCORER = "edgepose"
SIZE_WH = SyntheticCameraConfig().size_wh  # the frames' size where nothing else is configured, as in the demo
SEEDS = range(100, 140)
FRAMES_PER_SEED = 6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgepose_train.demo_model", description="Trains the demo's model.")
    parser.add_argument("-o", dest="out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--weights", default="imagenet", help="as for edgepose-train fit (default: imagenet)")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="edgepose-demo-model-") as folder:
            project, run = Path(folder) / "project", Path(folder) / "run"
            write_project(project, SEEDS, FRAMES_PER_SEED, SIZE_WH)
            print(f"rendered {len(SEEDS) * FRAMES_PER_SEED} labelled frames", flush=True)
            train(project, run, args.weights)
            install(run / "model.tflite", args.out / "demo.tflite")
    except EdgeposeError as exc:
        print(f"demo_model: {exc}", file=sys.stderr)
        return exc.exit_code
    print(f"{args.out / 'demo.tflite'}: {(args.out / 'demo.tflite').stat().st_size / 1000:.0f} kB")
    return 0


def write_project(project: Path, seeds: Iterable[int], frames: int, size_wh: tuple[int, int]) -> None:
    """A DeepLabCut project folder: one video per seed, `frames` images each, spread over its walk."""
    bodyparts = list(SKELETON.keypoints)
    for seed in seeds:
        scene = Scene(seed, size_wh)
        folder = project / "labeled-data" / f"mouse{seed}"
        folder.mkdir(parents=True)
        rows = []
        for i in range(frames):
            # Seeds begin at different places of the walk, so that no time of it is left out.
            index = (i * LOOP_FRAMES // frames + seed * 37) % LOOP_FRAMES
            image = folder / f"img{index:04d}.png"
            if not cv2.imwrite(str(image), scene.render(index)):
                raise EdgeposeError(f"{image}: cannot write; is the disk full?")
            rows.append([image.relative_to(project).as_posix(), *scene.mouse.truth(index).ravel().tolist()])
        with (folder / f"CollectedData_{SCORER}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["scorer", *[SCORER] * 2 * len(bodyparts)])
            writer.writerow(["bodyparts", *(name for name in bodyparts for _ in "xy")])
            writer.writerow(["coords", *"xy" * len(bodyparts)])
            writer.writerows(sorted(rows))
    config = {"Task": "demo", "scorer": SCORER, "bodyparts": bodyparts, "skeleton": [list(e) for e in SKELETON.edges]}
    (project / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def train(project: Path, run: Path, weights: str) -> None:
    from edgepose_train import cli

    if cli.main(["fit", str(project), "-o", str(run), "--recipe", "demo", "--weights", weights]) != 0:
        raise EdgeposeError("the demo's model was not trained; see above")


def install(model: Path, target: Path) -> None:
    """Copies a model with its card, whose entry takes the new name."""
    card = read_card(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(model.read_bytes())
    file = msgspec.structs.replace(card.files.cpu, name=target.name)
    write_card(msgspec.structs.replace(card, files=msgspec.structs.replace(card.files, cpu=file)), target)


if __name__ == "__main__":
    sys.exit(main())
