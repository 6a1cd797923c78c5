"""`edgepose analyze`: the keypoints of video files, by the estimator that the daemon runs, and what they tell."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from edgepose.analysis import motion
from edgepose.analysis.motion import Analyzed, Files, Options
from edgepose.analysis.overlay_video import progress_bar, video_writer
from edgepose.camera.video_file import VideoFileSource
from edgepose.config.geometry_files import read_ground
from edgepose.config.loading import read_config
from edgepose.config.schema import GeometryConfig, ViewConfig
from edgepose.errors import CameraError, UsageError
from edgepose.inference.estimator import Estimator
from edgepose.inference.viewer import Viewer
from edgepose.pose.drawing import draw_pose
from edgepose.system.table_files import PoseTable, open_writer, write_table
from edgepose.types import U8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Finds the keypoints in every frame of video files, with the code and the model that run on the device.\n"
        "CSV and H5 are laid out as DeepLabCut writes them: one row per frame; x, y, likelihood per body part.\n"
        "Parquet has plain columns, such as snout_x. What is made of the poses goes into files beside it."
    )
    parser.epilog = (
        "With several videos each gets its own files, named after OUT and the video: poses_cage1.csv, poses_cage2.csv."
        "\n\nexamples:\n"
        "  edgepose analyze model.tflite mouse.mp4 -o poses.csv --overlay mouse-poses.mp4\n"
        "  edgepose analyze model.tflite cage1.mp4 cage2.mp4 -o poses.h5\n"
        "  edgepose analyze model.tflite mouse.mp4 -o poses.csv --smooth kalman --kinematics --plots pictures \\\n"
        "      --overlay mouse-poses.mp4 --trails 1"
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .tflite, its card beside it")
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="any file that OpenCV reads")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="ends in .csv, .h5 or .parquet")
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help="the daemon's config: look at what its view says, and measure in the cm of its geometry",
    )
    parser.add_argument("--overlay", type=Path, metavar="OUT.mp4", help="also a video with the poses drawn in")
    motion.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """A video that cannot be read does not keep the others from being analyzed; the status tells."""
    open_writer(args.out)
    if args.overlay and args.overlay.suffix.lower() != ".mp4":
        raise UsageError(f"{args.overlay}: the overlay is an .mp4")
    several = len(args.videos) > 1
    every = [_files(args, f"_{video.stem}" if several else "") for video in args.videos]
    _check_names(args, every)
    config = read_config(args.config) if args.config else None
    options = motion.read_options(args, config.geometry if config else None)
    estimator = Estimator(args.model)
    view = config.view if config else ViewConfig()
    if args.plots:
        args.plots.mkdir(exist_ok=True)
    status = 0
    for video, files in zip(args.videos, every, strict=True):
        try:
            _analyze(Viewer(estimator, view), video, files, options)
        except CameraError as exc:
            print(f"edgepose: {exc}", file=sys.stderr)
            status = exc.exit_code
    return status


def _files(args: argparse.Namespace, which: str) -> Files:
    """which: what tells this video's files from those of the others."""
    table: Path = args.out.with_name(f"{args.out.stem}{which}{args.out.suffix}")
    tidy = ".parquet" if table.suffix.lower() == ".parquet" else ".csv"
    return Files(
        table,
        args.overlay and args.overlay.with_name(f"{args.overlay.stem}{which}{args.overlay.suffix}"),
        table.with_name(f"{table.stem}_smoothed{table.suffix}") if args.smooth else None,
        table.with_name(f"{table.stem}_kinematics{tidy}") if args.kinematics else None,
        table.with_name(f"{table.stem}_zones{tidy}") if args.zones else None,
        tuple(args.plots / f"{table.stem}_{plot}.png" for plot in motion.PLOTS) if args.plots else (),
    )


def _check_names(args: argparse.Namespace, every: list[Files]) -> None:
    """Now rather than after an hour's analysis. Raises UsageError."""
    also = [path for path in (args.zones, args.config) if path]
    inputs = {path.resolve() for path in [*args.videos, *also, args.model, args.model.with_suffix(".json")]}
    for out in (args.out, args.overlay):
        if out:
            _check_folder(out, out.parent)
    if args.plots:
        _check_folder(args.plots, args.plots if args.plots.exists() else args.plots.parent)
    seen: set[Path] = set()
    for path in (path for files in every for path in files.wanted()):
        if path.resolve() in inputs:
            raise UsageError(f"{path}: is both read and an output; choose another name")
        if path.resolve() in seen and len(every) > 1:
            raise UsageError(f"{path}: two of the videos would both be written to it; analyze them one by one")
        if path.resolve() in seen:
            raise UsageError(f"{path}: two outputs would both be written to it; choose another name")
        seen.add(path.resolve())


def _check_folder(out: Path, folder: Path) -> None:
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{out}: there is no folder {folder}; make it first") from None
    except OSError as exc:
        raise UsageError(f"{out}: cannot write into its folder ({exc.strerror}); choose another one") from None


def _analyze(viewer: Viewer, path: Path, files: Files, options: Options) -> None:
    """Writes one video's table, and what else is wanted; each appears only when it is complete."""
    start = time.monotonic()
    done = _find_poses(viewer, path, files.table, None if options.two_passes else files.overlay, options.geometry)
    motion.write_motion(done, files, options)
    seconds, count = time.monotonic() - start, len(done.poses.frames)
    *others, last = map(str, files.wanted())
    written = f"{', '.join(others)} and {last}" if others else last
    print(f"{path.name}: {count} frames in {seconds:.1f} s ({count / seconds:.0f} fps), wrote {written}")


def _find_poses(
    viewer: Viewer, path: Path, table: Path, overlay: Path | None, geometry: GeometryConfig | None
) -> Analyzed:
    skeleton, rows = viewer.card.skeleton, []
    frames: list[int] = []
    video = VideoFileSource(path, realtime=False)
    try:
        ground = read_ground(geometry, video.size_wh) if geometry else None
        with progress_bar() as progress, _drawing(overlay, video) as write:
            task = progress.add_task(path.name, total=video.frame_count or None)
            for frame in video:
                pose = viewer.estimate(frame)
                if not frames:
                    picture = frame.image.copy()
                frames.append(frame.index)
                rows.append(np.column_stack([pose.xy_px, pose.score]))
                if write is not None:
                    draw_pose(frame.image, pose, skeleton)
                    write(frame.image)
                progress.advance(task)
            poses = PoseTable(np.stack(rows).astype(np.float64), tuple(frames), skeleton, viewer.card.model_id())
            # Before the overlay is finished: where that fails, the poses are saved.
            write_table(table, poses)
    finally:
        video.close()
    return Analyzed(path, video.fps, picture, poses, ground)


def _drawing(path: Path | None, video: VideoFileSource) -> AbstractContextManager[Callable[[U8], None] | None]:
    return nullcontext(None) if path is None else video_writer(path, video.fps, video.size_wh)
