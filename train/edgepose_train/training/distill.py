"""A teacher's poses on unlabelled video, as labels for a smaller network: hard-won frames teach the large model, and
the large model teaches the small one on as many frames as there are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepose.errors import CameraError, DatasetError, UsageError
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_card import ModelCard
from edgepose.system.progress import progress_bar
from edgepose.types import Frame
from edgepose.video.frames import open_video
from edgepose_train.labels.dataset import Dataset, LabelledImage
from edgepose_train.labels.images import inside, read_image
from edgepose_train.selection.extract import evenly_spaced

FRAMES = 400  # of all videos together
SURE = 0.6  # keypoints with a lower score are unknown, not labels


@dataclass(frozen=True, slots=True)
class DistillationSet:
    """teacher: its card. images: frames of the videos with the teacher's poses for labels."""

    teacher: ModelCard
    images: list[LabelledImage]


def prepare_distillation(teacher: Path, videos: Sequence[Path], dataset: Dataset) -> DistillationSet:
    """Runs the teacher, a finished model, over frames spread over the videos; those that are labelled are left out.
    Raises UsageError when the teacher finds other keypoints, DatasetError when it is sure of none."""
    estimator, skeleton = Estimator(teacher), dataset.skeleton
    if estimator.card.skeleton.keypoints != skeleton.keypoints:
        raise UsageError(
            f"--teacher {teacher}: finds {', '.join(estimator.card.skeleton.keypoints)}, but the labels are of "
            f"{', '.join(skeleton.keypoints)}; give a model of the same keypoints"
        )
    each = -(-FRAMES // len(videos))
    with progress_bar() as bar:
        task = bar.add_task("asking the teacher", total=each * len(videos))
        images = [image for video in videos for image in _taught(estimator, video, each, lambda: bar.advance(task))]
    # By their pixels: a labelled frame is a file of its own, and here one of a video. The tested frames are among them.
    known = {_pixels(image.path) for image in dataset.images}
    images = [image for image in images if _pixels(image.path) not in known]
    if not images:
        raise DatasetError(f"--unlabelled: {teacher.name} is sure of no keypoint in any frame; give other videos")
    return DistillationSet(estimator.card, images)


def _taught(estimator: Estimator, path: Path, most: int, tick: Callable[[], object]) -> list[LabelledImage]:
    found = []
    try:
        video = open_video(path)
    except CameraError as exc:
        raise UsageError(f"--unlabelled {exc}") from None
    for index in evenly_spaced(video.count, most):
        frame = inside(path, "", index, f"img{index:06d}.png")
        try:
            image = read_image(frame)  # as training will read it: seeking may land a frame beside
        except DatasetError:
            continue  # the video is shorter than its header says, or damaged there
        finally:
            tick()
        pose = estimator.estimate(Frame(image, "bgr", index, 0, 0))
        xy = np.where(pose.score[:, None] >= SURE, pose.xy_px, np.nan).astype(np.float64)
        if np.isfinite(xy).any():
            found.append(LabelledImage(frame, xy, path.stem))
    return found


def _pixels(path: Path) -> str:
    return hashlib.sha256(read_image(path)).hexdigest()
