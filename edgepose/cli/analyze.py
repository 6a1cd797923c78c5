"""`edgepose analyze`: the keypoints of video files, with the estimator that the daemon runs."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgepose.camera.video import VideoFile
from edgepose.core.errors import CameraError, EdgeposeError, UsageError
from edgepose.core.overlay import draw_pose
from edgepose.core.types import U8
from edgepose.inference.estimator import Estimator
from edgepose.tables import PoseTable, open_writer, write_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Finds the keypoints in every frame of video files, with the code and the model that run on the device.\n"
        "CSV and H5 are laid out as DeepLabCut writes them: one row per frame; x, y, likelihood per body part.\n"
        "Parquet has plain columns, such as snout_x."
    )
    parser.epilog = (
        "With several videos each gets its own files, named after OUT and the video: poses_cage1.csv, poses_cage2.csv."
        "\n\nexamples:\n"
        "  edgepose analyze model.tflite mouse.mp4 -o poses.csv --overlay mouse-poses.mp4\n"
        "  edgepose analyze model.tflite cage1.mp4 cage2.mp4 -o poses.h5"
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .tflite, its card beside it")
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="any file that OpenCV reads")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="ends in .csv, .h5 or .parquet")
    parser.add_argument("--overlay", type=Path, metavar="OUT.mp4", help="also a video with the poses drawn in")


def run(args: argparse.Namespace) -> int:
    """A video that cannot be read does not keep the others from being analyzed; the status tells."""
    open_writer(args.out)
    tables = _output_names(args.out, args.videos)
    overlays = _output_names(args.overlay, args.videos) if args.overlay else [None] * len(args.videos)
    if args.overlay and args.overlay.suffix.lower() != ".mp4":
        raise UsageError(f"{args.overlay}: the overlay is an .mp4")
    if taken := {p.resolve() for p in args.videos} & {p.resolve() for p in [*tables, *overlays] if p}:
        raise UsageError(f"{taken.pop()}: is both a video to analyze and an output; choose another name")
    estimator = Estimator(args.model)
    status = 0
    for video, table, overlay in zip(args.videos, tables, overlays, strict=True):
        try:
            _analyze(estimator, video, table, overlay)
        except CameraError as exc:
            print(f"edgepose: {exc}", file=sys.stderr)
            status = exc.exit_code
    return status


def _output_names(out: Path, videos: list[Path]) -> list[Path]:
    _check_folder(out)
    if len(videos) == 1:
        return [out]
    names = [out.with_name(f"{out.stem}_{video.stem}{out.suffix}") for video in videos]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{twice[0]}: two of the videos would both be written to it; analyze them one by one")
    return names


def _check_folder(out: Path) -> None:
    """Now rather than after an hour's analysis. Raises UsageError."""
    try:
        tempfile.TemporaryFile(dir=out.absolute().parent).close()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{out}: there is no folder {out.parent}; make it first") from None
    except OSError as exc:
        raise UsageError(f"{out}: cannot write into its folder ({exc.strerror}); choose another one") from None


def _analyze(estimator: Estimator, path: Path, table: Path, overlay: Path | None) -> None:
    """Writes one video's table, and its overlay if wanted; both appear only when they are complete."""
    skeleton, frames, rows = estimator.card.skeleton, [], []
    video = VideoFile(path, realtime=False)
    start = time.monotonic()
    try:
        with _progress() as progress, _drawing(overlay, video) as write:
            task = progress.add_task(path.name, total=video.frame_count or None)
            for frame in video:
                pose = estimator.estimate(frame)
                frames.append(frame.index)
                rows.append(np.column_stack([pose.xy_px, pose.score]))
                if write is not None:
                    draw_pose(frame.image, pose, skeleton)
                    write(frame.image)
                progress.advance(task)
            values = np.stack(rows).astype(np.float64)
            # Before the overlay is finished: where that fails, the poses are saved.
            write_table(table, PoseTable(values, tuple(frames), skeleton, estimator.card.model_id()))
    finally:
        video.close()
    seconds = time.monotonic() - start
    written = f"{table} and {overlay}" if overlay else f"{table}"
    print(f"{path.name}: {len(frames)} frames in {seconds:.1f} s ({len(frames) / seconds:.0f} fps), wrote {written}")


def _progress() -> Progress:
    """On a terminal only: in a log file a bar is noise."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


def _drawing(path: Path | None, video: VideoFile) -> AbstractContextManager[Callable[[U8], None] | None]:
    return nullcontext(None) if path is None else _video_writer(path, video.fps, video.size_wh)


@contextmanager
def _video_writer(path: Path, fps: float, size_wh: tuple[int, int]) -> Iterator[Callable[[U8], None]]:
    """A function that takes BGR frames. The file gets its name when all frames are in it."""
    temporary = path.with_name(f".{path.stem}.part.mp4")
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, size_wh)
    count = 0

    def write(image: U8) -> None:
        nonlocal count
        writer.write(image)
        count += 1

    try:
        if not writer.isOpened():
            raise EdgeposeError(f"{path}: this OpenCV cannot write an .mp4 there; leave out --overlay")
        yield write
        writer.release()
        # OpenCV says nothing when the disk is full.
        if cv2.VideoCapture(str(temporary)).get(cv2.CAP_PROP_FRAME_COUNT) != count:
            raise EdgeposeError(f"{path}: not all of its {count} frames could be written; make room on the disk")
        temporary.replace(path)
    finally:
        writer.release()
        temporary.unlink(missing_ok=True)
