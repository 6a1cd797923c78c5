"""Measures what following the animal gains and costs, on labelled frames and on a video.

    python benchmarks/follow.py MODEL DATASET VIDEO [--plain OTHER] [--reference LARGE] [--sheet sheet.png]

MODEL is the result of `edgepose-train fit --follow`. On the frames that it was not trained on, the px error is measured
in the whole frame, and five times through a window round the prediction there, moved by up to a tenth of its sides.
OTHER is a model with the same input and split that was trained without --follow; it is the fairer comparison. For the
times, whole frames and windows alternate in one run. On the video, the benchmark counts how often the animal is lost
and found again; LARGE is a better model that says where the animal really is. The sheet shows frames of the video with
the window.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import cv2
import numpy as np

from edgepose.camera.video_file import VideoFileSource
from edgepose.config.schema import ViewConfig
from edgepose.inference.estimator import Estimator
from edgepose.inference.viewer import Viewer, estimate_in, follow, window_size
from edgepose.pose.drawing import draw_pose
from edgepose.types import Frame, Pose
from edgepose_train.evaluation.evaluate import JITTER, held_out, measure, measure_followed
from edgepose_train.evaluation.metrics import mean_interval
from edgepose_train.labels.images import read_image
from edgepose_train.labels.reading import read_dataset

SEEDS = range(5)
SURE = 0.6
SHEET = (6, 4)  # frames across and down


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--plain", type=Path)
    parser.add_argument("--reference", type=Path)
    parser.add_argument(
        "--every", type=int, default=1, help="use every Nth frame of the video, as with a lower frame rate"
    )
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    estimator = Estimator(args.model, 1)
    on_labels(estimator, args.dataset, Estimator(args.plain, 1) if args.plain else None)
    on_video(estimator, args)


def on_labels(estimator: Estimator, dataset: Path, plain: Estimator | None) -> None:
    card = estimator.card
    images = held_out(read_dataset(dataset), card)
    w, h = card.input.size_wh
    print(f"{estimator.model.id}, input {w}x{h}, zoom {card.input.zoom:g}; {len(images)} frames it was not trained on")
    whole = measure(estimator, images).errors_px
    followed = np.stack([measure_followed(estimator, images, seed).errors_px for seed in SEEDS])
    print_error("whole frame", whole)
    each = ", ".join(f"{np.nanmean(errors):.2f}" for errors in followed)
    print_error(f"window, off by up to {100 * JITTER:.0f} % of its sides (each time: {each})", followed.mean(axis=0))
    print(f"  {100 * (np.nanmean(followed) / np.nanmean(whole) - 1):+.0f} % against the whole frame")
    if plain is not None:
        assert plain.card.input.size_wh == card.input.size_wh
        assert plain.card.training.learnt_frames() == card.training.learnt_frames()
        beside = measure(plain, images).errors_px
        print_error("whole frame, trained without --follow", beside)
        print(f"  {100 * (np.nanmean(followed) / np.nanmean(beside) - 1):+.0f} % against that")
    frames = [Frame(read_image(image.path), "bgr", i, 0, 0) for i, image in enumerate(images)]
    whole_ms, window_ms = times(frames, estimator)
    print(f"  ms a frame: {whole_ms:.2f} whole, {window_ms:.2f} through a window, {window_ms / whole_ms:.2f} as long")


def print_error(what: str, errors_px: np.ndarray) -> None:
    low, high = mean_interval(errors_px)
    print(f"  {what}: mean {np.nanmean(errors_px):.2f} px [{low:.2f}-{high:.2f}], median {np.nanmedian(errors_px):.2f}")


def times(frames: list[Frame], estimator: Estimator) -> tuple[float, float]:
    """Returns the median milliseconds for whole frames, and for cutting and estimating windows."""
    windows = []
    for frame in frames:
        size_wh = window_size(estimator.card, frame.size_wh, estimator.card.input.zoom)
        windows.append(follow(None, estimator.estimate(frame), 0, (0, 0, *frame.size_wh), size_wh).window)
    taken: tuple[list[float], list[float]] = ([], [])
    for _, (frame, window) in itertools.product(range(20), zip(frames, windows, strict=True)):
        for kind, region in enumerate([(0, 0, *frame.size_wh), window]):
            start = time.perf_counter()
            estimate_in(estimator, frame, region)
            taken[kind].append((time.perf_counter() - start) * 1e3)
    return float(np.median(taken[0])), float(np.median(taken[1]))


def on_video(estimator: Estimator, args: argparse.Namespace) -> None:
    viewer = Viewer(estimator, ViewConfig(follow=True))
    reference = Estimator(args.reference, 1) if args.reference else estimator
    windows, inside, distances_px, pictures = [], [], [], []
    video = VideoFileSource(args.video)
    shown = max(1, video.frame_count // (SHEET[0] * SHEET[1]))
    for frame in video:
        if frame.index % args.every:
            continue
        window, lost = viewer.window, viewer.lost
        pose, known = viewer.estimate(frame), reference.estimate(frame)
        windows.append(window)
        sure = known.score >= SURE
        if window is not None and sure.any():
            low, high = np.array(window[:2]), np.array(window[:2]) + window[2:] - 1
            inside.append(bool(((known.xy_px[sure] >= low) & (known.xy_px[sure] <= high)).all()))
        if sure.sum() * 2 >= len(sure):
            distances_px.append(np.linalg.norm(np.median(pose.xy_px[sure] - known.xy_px[sure], axis=0)))
        if frame.index % shown < args.every or viewer.lost > lost:
            pictures.append(drawn(frame, pose, window, estimator))
    everywhere = [i for i, window in enumerate(windows) if window is None]
    moves = sum(a is not None and b is not None and a != b for a, b in itertools.pairwise(windows))
    print(f"{args.video.name}, every {args.every}. frame: {len(windows)} poses")
    print(f"  lost {viewer.lost} times; used the whole frame for {len(everywhere)} poses: {everywhere[:20]}")
    print(f"  all sure keypoints of {reference.model.id} inside the window: {sum(inside)} of {len(inside)} poses")
    print(f"  animal more than 50 px from there: {sum(d > 50 for d in distances_px)} of {len(distances_px)} poses")
    print(f"  the window moved {moves} times")
    if args.sheet:
        across = SHEET[0]
        pictures += [np.zeros_like(pictures[0])] * (-len(pictures) % across)
        rows = [np.hstack(pictures[i : i + across]) for i in range(0, len(pictures), across)]
        cv2.imwrite(str(args.sheet), np.vstack(rows))


def drawn(frame: Frame, pose: Pose, window: tuple[int, int, int, int] | None, estimator: Estimator) -> np.ndarray:
    picture = frame.image.copy()
    draw_pose(picture, pose, estimator.card.skeleton)
    x, y, w, h = window or (0, 0, *frame.size_wh)
    cv2.rectangle(picture, (x, y), (x + w - 1, y + h - 1), (0, 255, 255) if window else (0, 0, 255), 3)
    cv2.putText(picture, str(frame.index), (8, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 3)
    return cv2.resize(picture, None, fx=0.45, fy=0.45, interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
