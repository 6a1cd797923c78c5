"""Distillation: a large model's poses on unlabelled video are the labels (pseudo-labels) for a smaller network.

A few labelled frames train the large model, and the large model labels as many frames as there are for the small one.
"""

from __future__ import annotations

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
from edgepose_train.labels.frame_identity import frame_identity
from edgepose_train.labels.images import inside, read_image
from edgepose_train.selection.extract import evenly_spaced

FRAMES = 400  # of all videos together
LEAST_SCORE = 0.6  # a keypoint with a lower score gets no pseudo-label


@dataclass(frozen=True, slots=True)
class DistillationSet:
    """Pseudo-labelled frames.

    Attributes:
        teacher: the card of the model that labelled them.
        teacher_id: its id.
        images: frames of the videos with the teacher's poses as their labels.
    """

    teacher: ModelCard
    teacher_id: str
    images: list[LabelledImage]


def prepare_distillation(
    teacher: Path, videos: Sequence[Path], dataset: Dataset, frames: int = FRAMES, least_score: float = LEAST_SCORE
) -> DistillationSet:
    """Runs a finished model over frames that are spread over the videos; frames that are labelled are left out.

    Args:
        teacher: the model's file.
        videos: the unlabelled videos.
        dataset: the labelled frames.
        frames: how many frames are used of all videos together.
        least_score: a keypoint with a lower score gets no label.

    Raises:
        UsageError: the teacher has other keypoints, or a file is not a video.
        DatasetError: no keypoint in any frame has a high enough score.
    """
    estimator, skeleton = Estimator(teacher), dataset.skeleton
    if estimator.card.skeleton.keypoints != skeleton.keypoints:
        raise UsageError(
            f"--teacher {teacher}: finds {', '.join(estimator.card.skeleton.keypoints)}, but the labels are of "
            f"{', '.join(skeleton.keypoints)}; give a model of the same keypoints"
        )
    each = -(-frames // len(videos))
    with progress_bar() as bar:
        task = bar.add_task("labelling with the teacher", total=each * len(videos))
        images = [
            image
            for video in videos
            for image in _pseudo_labelled(estimator, video, each, least_score, lambda: bar.advance(task))
        ]
    known = {frame_identity(image.path) for image in dataset.images}  # the test frames are among them
    images = [image for image in images if frame_identity(image.path) not in known]
    if not images:
        raise DatasetError(f"--unlabelled: {teacher.name} is sure of no keypoint in any frame; give other videos")
    return DistillationSet(estimator.card, estimator.model.id, images)


def _pseudo_labelled(
    estimator: Estimator, path: Path, most: int, least_score: float, advance: Callable[[], object]
) -> list[LabelledImage]:
    found = []
    try:
        video = open_video(path)
    except CameraError as exc:
        raise UsageError(f"--unlabelled {exc}") from None
    for index in evenly_spaced(video.count, most):
        frame = inside(path, "", index, f"img{index:06d}.png")
        try:
            image = read_image(frame)  # as training will read it: seeking may reach a neighbouring frame
        except DatasetError:
            continue  # the video is shorter than its header says, or damaged there
        finally:
            advance()
        pose = estimator.estimate(Frame(image, "bgr", index, 0, 0))
        xy_px = np.where(pose.score[:, None] >= least_score, pose.xy_px, np.nan).astype(np.float64)
        if np.isfinite(xy_px).any():
            found.append(LabelledImage(frame, xy_px, path.stem))
    return found
