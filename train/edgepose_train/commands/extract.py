"""`edgepose-train extract VIDEO… -o PROJECT`: frames worth labelling, before there is any model."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from edgepose.errors import DatasetError, UsageError
from edgepose.types import U8, Skeleton
from edgepose.video.frames import Video, progress_bar
from edgepose_train.commands.labelling_project import is_project, make_or_extend, open_videos, positive
from edgepose_train.labels.deeplabcut_writer import image_name, new_frames
from edgepose_train.labels.project_files import CONFIG, LABELS
from edgepose_train.selection.extract import MOST_LOOKED_AT, Survey, candidates, choose, fetch, shares, survey
from edgepose_train.selection.thumbnails import known_digests, stack

_PLACEHOLDERS = ("bodypart1", "bodypart2", "bodypart3")  # DeepLabCut's own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Picks frames worth labelling from videos and puts them into a DeepLabCut project, a new one or one that\n"
        "exists; frames and labels that are there stay as they are. Each video gives the same number of frames.\n"
        "Left out: black, overexposed and blurred frames, frames without an animal, frames that look the same."
    )
    parser.epilog = (
        "example:\n"
        "  edgepose-train extract cage1.mp4 cage2.mp4 -o my-project -n 200 --bodyparts snout,leftear,rightear,tailbase"
    )
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="any file that OpenCV reads")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PROJECT", help="project folder")
    parser.add_argument("-n", "--frames", type=positive, default=200, metavar="N", help="of all videos (default 200)")
    parser.add_argument(
        "--method",
        choices=("kmeans", "uniform"),
        default="kmeans",
        help="kmeans: as different as possible (default); uniform: at equal distances in time",
    )
    parser.add_argument(
        "--bodyparts", type=_names, metavar="A,B,C", help="of a new project, in the order to label them"
    )
    parser.add_argument("--scorer", type=_scorer, metavar="NAME", help="who labels, in a new project (default: you)")
    parser.add_argument("--seed", type=int, default=0, help="of kmeans (default 0)")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if "" in names or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"{text}: give different names with commas between them")
    return names


def _scorer(text: str) -> str:
    if not re.fullmatch(r"[\w-]+", text):
        raise argparse.ArgumentTypeError(f"{text}: becomes part of file names; give letters and digits only")
    return text


def run(args: argparse.Namespace) -> int:
    """A video that cannot be read does not keep the others from being used; the status tells."""
    if is_project(args.output) and (args.bodyparts or args.scorer):
        raise UsageError(f"{args.output}: is a project already, with its body parts; leave out --bodyparts, --scorer")
    videos, status = open_videos(args.videos)
    known = known_digests(args.output / LABELS)
    found = _survey(videos)
    good = [candidates(each, known) for each in found]
    counts = shares([len(positions) for positions in good], args.frames)
    if not sum(counts):
        raise DatasetError(
            "no frame of the videos is worth labelling: all are dark, blurred, or in the project already"
        )
    used = [each.video for each, count in zip(found, counts, strict=True) if count]
    make_or_extend(args.output, Skeleton(args.bodyparts or _PLACEHOLDERS), args.scorer, used)
    written = {}
    for each, positions, count in zip(found, good, counts, strict=True):
        if count:
            chosen = positions[choose(stack([each.looks[i] for i in positions]), count, args.method, args.seed)]
            written[each.video.stem] = _write(args.output, each, chosen.tolist())
    _tell(args, written)
    return status


def _survey(videos: Sequence[Video]) -> list[Survey]:
    with progress_bar() as progress:
        tasks = [progress.add_task(video.path.name, total=min(video.count, MOST_LOOKED_AT)) for video in videos]
        return [survey(video, partial(progress.advance, task)) for video, task in zip(videos, tasks, strict=True)]


def _write(project: Path, found: Survey, positions: Sequence[int]) -> int:
    """How many frames."""
    with progress_bar() as progress, new_frames(project, found.video.stem) as write:
        task = progress.add_task(f"writing {found.video.stem}", total=len(positions))

        def save(index: int, image: U8) -> None:
            write(image_name(index, found.video.count), image)
            progress.advance(task)

        return len(fetch(found, positions, save))


def _tell(args: argparse.Namespace, written: dict[str, int]) -> None:
    folder, total = args.output / LABELS, sum(written.values())
    for stem, count in written.items():
        print(f"{folder / stem}: {count} new frame{'s' * (count != 1)}")
    if total < args.frames:
        print(f"{total} instead of {args.frames}: the rest is dark, blurred, empty, known, or looks the same")
    if not args.bodyparts and _PLACEHOLDERS[0] in (args.output / CONFIG).read_text("utf-8"):
        print(f"\nFirst put the names of your body parts into {args.output / CONFIG} (`bodyparts:`).")
    print(
        f"\nTo label them with napari-deeplabcut (pip install napari-deeplabcut): start napari, drop the folder of a "
        f"video\nand then {args.output / CONFIG} onto it, label, save with Ctrl+S. Then:\n\n"
        f"  edgepose-train inspect {args.output}\n"
        f"  edgepose-train fit {args.output} -o RUN\n\n"
        "Or label the images in SLEAP, and give its .slp file to both instead."
    )
