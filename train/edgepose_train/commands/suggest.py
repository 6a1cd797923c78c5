"""`edgepose-train suggest MODEL VIDEO… -o PROJECT`: the frames to label next, predictions filled in."""

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
from edgepose.types import F64, U8, Pose
from edgepose.video.frames import Video, progress_bar
from edgepose_train.commands.labelling_project import is_project, make_or_extend, open_videos, positive
from edgepose_train.labels.deeplabcut import has_labels
from edgepose_train.labels.deeplabcut_writer import image_name, new_frames, read_config
from edgepose_train.labels.machine_labels import write_machine_labels
from edgepose_train.labels.project_files import CONFIG, LABELS
from edgepose_train.selection.contact_sheet import Picture, make_picture, write_sheet
from edgepose_train.selection.extract import fetch
from edgepose_train.selection.suggest import (
    PosedVideo,
    choose,
    find_trouble,
    frames_to_watch,
    make_pool,
    reasons,
    watch,
)
from edgepose_train.selection.thumbnails import known_digests

SHEET = "suggested.png"
_FARTHEST_APART_S = 1.0  # chosen frames of a long video are at least so far apart in time


@dataclass(frozen=True, eq=False)
class Chosen:
    """A frame: position in what was watched of its video, and why."""

    watched: PosedVideo
    position: int
    why: str

    @property
    def index(self) -> int:
        return self.watched.indices[self.position]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Runs a model over videos and picks the frames that it can learn most from: where it is unsure, where a\n"
        "keypoint jumps or left and right are exchanged, and poses unlike the others. Writes them as a DeepLabCut\n"
        "project with the predictions filled in, to be corrected. Until somebody does, they do not count as labels."
    )
    parser.epilog = (
        "example:\n"
        "  edgepose-train suggest RUN/model.tflite cage3.mp4 -o round2 -n 40\n"
        "  # correct them with napari-deeplabcut, save, then\n"
        "  edgepose-train merge round2 my-project"
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .tflite, its card beside it")
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="any file that OpenCV reads")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="PROJECT", help="a new folder, or the labelled project"
    )
    parser.add_argument("-n", "--frames", type=positive, default=40, metavar="N", help="of all videos (default 40)")


def run(args: argparse.Namespace) -> int:
    """A video that cannot be read does not keep the others from being used; the status tells."""
    estimator = Estimator(args.model)
    card = estimator.card
    _check_project(args.output, card)
    videos, status = open_videos(args.videos)
    watched = _watch(estimator, videos)
    chosen = _choose(watched, card, args.frames, known_digests(args.output / LABELS))
    if not chosen:
        raise DatasetError(
            "no frame of the videos is worth labelling: all are dark, blurred, or in the project already"
        )
    make_or_extend(args.output, card.skeleton, None, [each.video for each in watched])
    pictures: dict[Chosen, Picture] = {}
    for each in watched:
        pictures |= _write(args.output, each, [frame for frame in chosen if frame.watched is each], card)
    if not pictures:
        raise DatasetError("the model learnt from every frame that was chosen; give it another video")
    write_sheet(args.output / SHEET, list(pictures.values()), card.skeleton)
    _tell(args, list(pictures))
    return status


def _check_project(folder: Path, card: ModelCard) -> None:
    """Now rather than after an hour's analysis. Raises DatasetError."""
    if is_project(folder) and set(there := read_config(folder)["bodyparts"] or ()) != set(card.skeleton.keypoints):
        named = there if isinstance(there, str) else ", ".join(map(str, there))
        raise DatasetError(
            f"{folder / CONFIG}: bodyparts {named}, but the model predicts {', '.join(card.skeleton.keypoints)}; "
            "give a new folder with -o"
        )


def _watch(estimator: Estimator, videos: list[Video]) -> list[PosedVideo]:
    with progress_bar() as progress:
        tasks = [progress.add_task(video.path.name, total=len(frames_to_watch(video.count))) for video in videos]
        every = [
            watch(estimator, video, partial(progress.advance, task)) for video, task in zip(videos, tasks, strict=True)
        ]
    return [watched for watched in every if watched.indices]


def _choose(watched: list[PosedVideo], card: ModelCard, count: int, known: set[bytes]) -> list[Chosen]:
    """In the order of videos and time."""
    total_s = sum(each.video.count / each.video.fps for each in watched)
    apart_s = min(_FARTHEST_APART_S, total_s / (4 * count))
    troubles = [find_trouble(each, card.skeleton) for each in watched]
    troubled, new = choose(make_pool(watched, troubles, known, apart_s), count, apart_s)
    places = [(v, i) for v, each in enumerate(watched) for i in range(len(each.indices))]
    found = []
    for p in sorted([*troubled, *new]):
        v, i = places[p]
        why = "; ".join(reasons(watched[v], troubles[v], i, card.skeleton)) or "pose unlike the others"
        found.append(Chosen(watched[v], i, why))
    return found


def _write(project: Path, watched: PosedVideo, chosen: list[Chosen], card: ModelCard) -> dict[Chosen, Picture]:
    """Images and predictions of one video; returns what was written. Frames the model learnt from are left out."""
    if not chosen:
        return {}
    stem, count = watched.video.stem, watched.video.count
    learnt = {digest for split in card.training.splits.values() for digest in split}
    by_index = {frame.index: frame for frame in chosen}
    predictions: dict[str, F64] = {}
    pictures: dict[Chosen, Picture] = {}
    with new_frames(project, stem) as write:

        def save(index: int, image: U8) -> None:
            if sha256_of(cv2.imencode(".png", image)[1].tobytes()) in learnt:
                return
            frame, name = by_index[index], image_name(index, count)
            xy, score = watched.xy_px[frame.position], watched.score[frame.position]
            write(name, image)
            predictions[name] = np.column_stack([xy, score])
            text = f"{stem} frame {index}: {frame.why}"
            pose = Pose(xy.astype(np.float32), score.astype(np.float32))
            pictures[frame] = make_picture(image, pose, card.skeleton, text)

        fetch(watched, [frame.position for frame in chosen], save)
    if predictions:
        iteration = read_config(project).get("iteration") or 0
        write_machine_labels(project / LABELS / stem, iteration, card.model_id(), card.skeleton.keypoints, predictions)
    return pictures


def _tell(args: argparse.Namespace, chosen: list[Chosen]) -> None:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for heading in ("video", "frame", "time", "why"):
        table.add_column(heading, justify="right" if heading in {"frame", "time"} else "left")
    for frame in chosen:
        minutes, seconds = divmod(frame.watched.time_s[frame.position], 60)
        video = escape(frame.watched.video.stem)
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
