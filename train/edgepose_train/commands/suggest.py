"""`edgepose-train suggest MODEL VIDEO… -o PROJECT`: the frames to label next, with predictions filled in."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgepose.errors import DatasetError
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_card import ModelCard, sha256_of
from edgepose.inference.model_file import ModelFile
from edgepose.system.arguments import model_path
from edgepose.types import F64, U8, Pose
from edgepose_train.commands import labelling_project
from edgepose_train.labels.deeplabcut import has_labels
from edgepose_train.labels.deeplabcut_writer import image_name, new_frames, read_config
from edgepose_train.labels.frame_identity import identity_of
from edgepose_train.labels.machine_labels import write_machine_labels
from edgepose_train.labels.project_files import CONFIG, LABELS
from edgepose_train.selection import suggest
from edgepose_train.selection.contact_sheet import Picture, make_picture, write_sheet
from edgepose_train.selection.extract import write_frames
from edgepose_train.selection.suggest import PosedVideo
from edgepose_train.selection.thumbnails import known_frames

SHEET = "suggested.png"
_LARGEST_GAP_S = 1.0  # the chosen frames of a long video are at least this far apart in time


@dataclass(frozen=True, eq=False)
class Chosen:
    """A chosen frame: its position in the posed video, and the reason."""

    posed: PosedVideo
    position: int
    why: str

    @property
    def index(self) -> int:
        return self.posed.indices[self.position]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Runs a model over videos and picks the frames that it can learn most from: where it is unsure, where a "
        "keypoint jumps or left and right are exchanged, and poses unlike the others. Writes them as a DeepLabCut "
        "project with the predictions filled in. Until somebody corrects them, they do not count as labels."
    )
    parser.epilog = (
        "example:\n"
        "  edgepose-train suggest RUN/model.tflite cage3.mp4 -o round2 -n 40\n"
        "  # correct them with napari-deeplabcut, save, then\n"
        "  edgepose-train merge round2 my-project"
    )
    parser.add_argument("model", type=model_path, metavar="MODEL", help="a .tflite file, or the folder of a fit")
    labelling_project.add_video_arguments(parser, "a new folder, or the labelled project", frames=40)


def run(args: argparse.Namespace) -> int:
    """Returns 1 when a video could not be read; the others are used all the same."""
    estimator = Estimator(args.model)
    card = estimator.card
    _check_project(args.output, card)
    videos, status = labelling_project.open_videos(args.videos)
    posed_videos = labelling_project.read_videos(videos, suggest.frames_to_pose, partial(suggest.pose_video, estimator))
    posed_videos = [posed for posed in posed_videos if posed.indices]
    chosen = _choose(posed_videos, card, args.frames, known_frames(args.output / LABELS))
    if not chosen:
        raise DatasetError(labelling_project.NOTHING_TO_LABEL)
    labelling_project.make_or_extend(args.output, card.skeleton, None, [posed.video for posed in posed_videos])
    pictures: dict[Chosen, Picture] = {}
    for posed in posed_videos:
        pictures |= _write(args.output, posed, [frame for frame in chosen if frame.posed is posed], estimator.model)
    if not pictures:
        raise DatasetError("the model learnt from every frame that was chosen; give it another video")
    write_sheet(args.output / SHEET, list(pictures.values()), card.skeleton)
    _report(args, list(pictures))
    return status


def _check_project(folder: Path, card: ModelCard) -> None:
    """Compares body parts before an hour of analysis is spent. Raises DatasetError."""
    if not labelling_project.is_project(folder):
        return
    there = read_config(folder)["bodyparts"] or ()
    if set(there) != set(card.skeleton.keypoints):
        named = there if isinstance(there, str) else ", ".join(map(str, there))
        raise DatasetError(
            f"{folder / CONFIG}: bodyparts {named}, but the model predicts {', '.join(card.skeleton.keypoints)}; "
            "give a new folder with -o"
        )


def _choose(posed_videos: list[PosedVideo], card: ModelCard, number: int, known: set[str]) -> list[Chosen]:
    """Returns the frames in the order of videos and time."""
    total_s = sum(posed.video.count / posed.video.fps for posed in posed_videos)
    min_gap_s = min(_LARGEST_GAP_S, total_s / (4 * number))
    qualities = [suggest.quality_of(posed, card.skeleton) for posed in posed_videos]
    failing, new = suggest.choose(suggest.make_pool(posed_videos, qualities, known, min_gap_s), number, min_gap_s)
    positions = [(v, i) for v, posed in enumerate(posed_videos) for i in range(len(posed.indices))]
    found = []
    for p in sorted([*failing, *new]):
        v, i = positions[p]
        why = "; ".join(suggest.reasons(posed_videos[v], qualities[v], i, card.skeleton)) or "pose unlike the others"
        found.append(Chosen(posed_videos[v], i, why))
    return found


def _write(project: Path, posed: PosedVideo, chosen: list[Chosen], model: ModelFile) -> dict[Chosen, Picture]:
    """Writes images and predictions of one video, without the frames that the model learnt from.

    Returns:
        A picture for the contact sheet of each frame that was written.
    """
    if not chosen:
        return {}
    stem, card = posed.video.stem, model.card
    learnt = {digest for split in card.training.splits.values() for digest in split}
    by_index = {frame.index: frame for frame in chosen}
    predictions: dict[str, F64] = {}
    pictures: dict[Chosen, Picture] = {}
    with new_frames(project, stem) as write:

        def save(index: int, image: U8) -> None:
            png_sha256 = sha256_of(cv2.imencode(".png", image)[1].tobytes())  # which cards of edgepose 0.1 name
            if learnt & {identity_of(image), png_sha256}:
                return
            frame, name = by_index[index], image_name(index, posed.video.count)
            xy, score = posed.xy_px[frame.position], posed.score[frame.position]
            write(name, image)
            predictions[name] = np.column_stack([xy, score])
            text = f"{stem} frame {index}: {frame.why}"
            pose = Pose(xy.astype(np.float32), score.astype(np.float32))
            pictures[frame] = make_picture(image, pose, card.skeleton, text)

        write_frames(posed, [frame.position for frame in chosen], save)
    if predictions:
        iteration = read_config(project).get("iteration") or 0
        write_machine_labels(project / LABELS / stem, iteration, model.id, card.skeleton.keypoints, predictions)
    return pictures


def _report(args: argparse.Namespace, chosen: list[Chosen]) -> None:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for heading in ("video", "frame", "time", "why"):
        table.add_column(heading, justify="right" if heading in {"frame", "time"} else "left")
    for frame in chosen:
        minutes, seconds = divmod(frame.posed.time_s[frame.position], 60)
        video = escape(frame.posed.video.stem)
        table.add_row(video, str(frame.index), f"{minutes:.0f}:{seconds:04.1f}", escape(frame.why))
    Console(highlight=False).print(table)
    if len(chosen) < args.frames:
        print(f"{len(chosen)} instead of {args.frames}: the rest is dark, blurred, empty, known, or too close in time")
    folder, labelled = args.output, has_labels(args.output)
    print(
        f"\nLook at them in {folder / SHEET}. To correct the predictions with napari-deeplabcut: start napari, drop\n"
        f"the folder of a video in {folder / LABELS} onto it, move or delete the points that are wrong, save with\n"
        "Ctrl+S. Frames in which no point was changed do not count as labelled. Then:\n"
    )
    if not labelled:
        print(f"  edgepose-train merge {folder} MY-PROJECT")
    print(f"  edgepose-train fit {folder if labelled else 'MY-PROJECT'} -o RUN2 --weights {args.model.parent}")
