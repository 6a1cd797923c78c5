"""`edgepose-train extract VIDEO… -o PROJECT`: frames worth labelling, before there is a model."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from edgepose.errors import DatasetError, UsageError
from edgepose.system.progress import progress_bar
from edgepose.system.wording import count
from edgepose.types import U8, Skeleton
from edgepose_train.commands import labelling_project
from edgepose_train.labels.deeplabcut_writer import image_name, new_frames
from edgepose_train.labels.project_files import CONFIG, LABELS
from edgepose_train.selection import extract
from edgepose_train.selection.thumbnails import as_rows, known_frames

_PLACEHOLDERS = ("bodypart1", "bodypart2", "bodypart3")  # the names that DeepLabCut gives to a new project


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Picks frames worth labelling from videos and puts them into a DeepLabCut project, a new one or one that "
        "exists; frames and labels that are there stay as they are. Each video gives the same number of frames. "
        "Black, overexposed and blurred frames, frames without an animal and duplicates are left out."
    )
    parser.epilog = (
        "example:\n"
        "  edgepose-train extract cage1.mp4 cage2.mp4 -o my-project -n 200 --bodyparts snout,leftear,rightear,tailbase"
    )
    labelling_project.add_video_arguments(parser, "a new folder, or a DeepLabCut project", frames=200)
    parser.add_argument(
        "--method",
        choices=("kmeans", "uniform"),
        default="kmeans",
        help="kmeans: frames as different as possible (default); uniform: frames at equal distances in time",
    )
    parser.add_argument(
        "--bodyparts", type=_names, metavar="A,B,C", help="body parts of a new project, in the order to label them"
    )
    parser.add_argument(
        "--scorer", type=_scorer, metavar="NAME", help="who labels, in a new project (default: your user name)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of kmeans (default: %(default)s)")


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
    """Returns 1 when a video could not be read; the others are used all the same."""
    if labelling_project.is_project(args.output) and (args.bodyparts or args.scorer):
        raise UsageError(f"{args.output}: is a project already, with its body parts; leave out --bodyparts, --scorer")
    videos, status = labelling_project.open_videos(args.videos)
    known = known_frames(args.output / LABELS)
    samples = labelling_project.read_videos(videos, extract.frames_to_sample, extract.sample_video)
    positions = [extract.candidates(sample, known) for sample in samples]
    wanted = extract.shares([len(available) for available in positions], args.frames)
    if not sum(wanted):
        raise DatasetError(labelling_project.NOTHING_TO_LABEL)
    used = [sample.video for sample, number in zip(samples, wanted, strict=True) if number]
    labelling_project.make_or_extend(args.output, Skeleton(args.bodyparts or _PLACEHOLDERS), args.scorer, used)
    written = {}
    for sample, available, number in zip(samples, positions, wanted, strict=True):
        if number:
            rows = as_rows([sample.thumbnails[i] for i in available])
            chosen = available[extract.choose(rows, number, args.method, args.seed)]
            written[sample.video.stem] = _write(args.output, sample, chosen.tolist())
    _report(args, written)
    return status


def _write(project: Path, sample: extract.SampledVideo, positions: Sequence[int]) -> int:
    """Returns the number of frames that were written."""
    with progress_bar() as progress, new_frames(project, sample.video.stem) as write:
        task = progress.add_task(f"writing {sample.video.stem}", total=len(positions))

        def save(index: int, image: U8) -> None:
            write(image_name(index, sample.video.count), image)
            progress.advance(task)

        return len(extract.write_frames(sample, positions, save))


def _report(args: argparse.Namespace, written: dict[str, int]) -> None:
    folder, total = args.output / LABELS, sum(written.values())
    for stem, number in written.items():
        print(f"{folder / stem}: {count(number, 'new frame')}")
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
