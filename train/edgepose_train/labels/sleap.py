"""Reads and writes SLEAP's label files: `.slp` beside its videos or images, `.pkg.slp` with the frames inside.

Only what people labelled counts, and not SLEAP's predictions. Keypoints that are marked as not visible are no labels,
as in SLEAP's own training; their positions are kept as `hidden_px`. In files older than format 1.1, (0, 0) is the
corner of the top-left pixel; sleap-io shifts their points by half a pixel, so that nothing is shifted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DatasetError
from edgepose.system.wording import count, listing
from edgepose.types import Skeleton
from edgepose_train.labels.dataset import Dataset, LabelledImage, make_skeleton
from edgepose_train.labels.images import inside, read_image
from edgepose_train.labels.project_files import find_file


@dataclass(frozen=True, slots=True)
class _Source:
    """One frame as the label file describes it.

    Attributes:
        path: the frame, or None where it was not found.
        written: the image or video file as the label file names it.
        origin: the folder or video file that the frame was taken from.
    """

    path: Path | None
    written: str
    origin: PurePosixPath


def read_slp(path: Path) -> Dataset:
    """Reads a SLEAP file. Raises DatasetError with one line."""
    path = path.absolute()
    labels = _load(path)
    problems: list[str] = []
    labelled = _one_animal(labels.labeled_frames, problems)
    skeleton = _only_skeleton(path, [i.skeleton for _, i in labelled if i is not None] or labels.skeletons)
    width = len(str(max((frame.frame_idx for frame, _ in labelled), default=0)))
    sources = [_source(path, frame.video, frame.frame_idx, width) for frame, _ in labelled]
    absent = sorted({source.written for source in sources if source.path is None})
    if absent:
        problems.append(f"{count(len(absent), 'image or video file')} missing, looked for {listing(absent)}")
    videos = _video_names({source.origin for source in sources})
    images = []
    for source, (_, instance) in zip(sources, labelled, strict=True):
        if source.path is not None:
            xy_px, hidden_px = _points(instance, len(skeleton.nodes))
            images.append(LabelledImage(source.path, xy_px, videos[source.origin], hidden_px))
    known = make_skeleton(path, skeleton.node_names, skeleton.edge_names, skeleton.symmetry_names, problems)
    return Dataset(path.name.removesuffix(".slp").removesuffix(".pkg"), known, tuple(images), tuple(problems))


def _load(path: Path) -> Any:
    try:
        import sleap_io
    except ImportError:
        raise DatasetError(f"{path}: SLEAP files need sleap-io; pip install 'edgepose[train]'") from None
    try:
        return sleap_io.load_slp(str(path))
    # At a damaged or foreign file, h5py and sleap-io raise a dozen kinds of errors (OSError, KeyError…).
    except Exception as exc:
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise DatasetError(f"{path}: cannot read as a SLEAP file ({first}); copy it again, or save it anew") from None


def _one_animal(frames: Sequence[Any], problems: list[str]) -> list[tuple[Any, Any | None]]:
    """Returns the frames with the one instance that a person labelled, or None where a frame holds no instance."""
    several = [frame for frame in frames if len(frame.user_instances) > 1]
    if several:
        named = listing([f"frame {frame.frame_idx}" for frame in several])
        problems.append(
            f"{count(len(several), 'frame')} with several labelled animals, edgepose follows one; left out: {named}"
        )
    predicted = sum(bool(frame.predicted_instances) and not frame.user_instances for frame in frames)
    if predicted:
        problems.append(f"{count(predicted, 'frame')} with predictions only, which are no labels; left out")
    one = [frame for frame in frames if len(frame.user_instances) == 1 or not frame.instances]
    return [(frame, frame.user_instances[0] if frame.instances else None) for frame in one]


def _only_skeleton(path: Path, skeletons: Sequence[Any]) -> Any:
    different = {tuple(skeleton.node_names): skeleton for skeleton in skeletons}
    if len(different) != 1:
        raise DatasetError(f"{path}: labels with {len(different)} skeletons; edgepose follows one animal")
    return next(iter(different.values()))


def _points(instance: Any | None, keypoints: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns xy_px and hidden_px, (K, 2) each."""
    if instance is None:
        return np.full((keypoints, 2), np.nan), np.full((keypoints, 2), np.nan)
    xy = np.array(instance.points["xy"], np.float64)
    visible = np.array(instance.points["visible"], bool)[:, None]
    return np.where(visible, xy, np.nan), np.where(visible, np.nan, xy)


# --- where the frames are ----------------------------------------------------------------------------------


def _source(path: Path, video: Any, index: int, width: int) -> _Source:
    """Finds a frame. `width` is the number of digits of the frame number in the name that the frame gets."""
    if video.is_cropped:
        raise DatasetError(f"{path}: holds a cropped video, which edgepose cannot read; save it uncropped")
    group = str(video.backend_metadata.get("dataset") or "").removesuffix("/video")
    original = video.original_video if group and video.original_video is not None else video
    files = original.filename
    if isinstance(files, list):
        written = str(files[index]) if index < len(files) else f"frame {index}"
        name, origin = PurePosixPath(written).name, PurePosixPath(written).parent
    else:
        written, name = str(files), f"img{index:0{width}}.png"
        origin = PurePosixPath(group if original is video and group else written)
    if group:
        written = str(video.filename)
    file = find_file(written, path.parent)
    if file is None or (isinstance(files, list) and not group):
        return _Source(file, written, origin)
    return _Source(inside(file, group, index, name), written, origin)


def _video_names(origins: set[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Names each origin by its last part, after as many folders as make the name different from the others."""
    names = {}
    for origin in origins:
        parts = [part for part in origin.with_suffix("").parts if part != "/"] or ["video"]
        others = [other.with_suffix("").parts for other in origins if other != origin]
        n = 1
        while n < len(parts) and any(list(other[-n:]) == parts[-n:] for other in others):
            n += 1
        names[origin] = "-".join(parts[-n:])
    return names


# --- writing -----------------------------------------------------------------------------------------------


def write_slp(path: Path, skeleton: Skeleton, images: Sequence[LabelledImage], *, embed: bool) -> None:
    """Writes a SLEAP file that refers to the image files, and with `embed` holds them as well. Raises OSError."""
    import sleap_io

    nodes = [sleap_io.Node(name) for name in skeleton.keypoints]
    known = sleap_io.Skeleton(
        nodes,
        [sleap_io.Edge(nodes[a], nodes[b]) for a, b in skeleton.edge_indices()],
        [sleap_io.Symmetry({nodes[skeleton.keypoints.index(name)] for name in pair}) for pair in skeleton.flip_pairs],
        name=skeleton.keypoints[0],
    )
    videos, frames = [], []
    kinds: dict[tuple[object, ...], list[LabelledImage]] = {}
    for image in images:
        kinds.setdefault(_kind(image), []).append(image)
    for group in kinds.values():
        videos.append(sleap_io.Video.from_filename([str(image.path) for image in group]))
        frames += [
            sleap_io.LabeledFrame(video=videos[-1], frame_idx=i, instances=_instances(sleap_io, image, known))
            for i, image in enumerate(group)
        ]
    labels = sleap_io.Labels(frames, videos=videos, skeletons=[known])
    where = [(frame.video, frame.frame_idx) for frame in frames]
    sleap_io.save_slp(labels, str(path), embed=where if embed else False, verbose=False)


def _kind(image: LabelledImage) -> tuple[object, ...]:
    """Returns what the images of one SLEAP video share: only then are their files embedded byte for byte."""
    return image.video, image.path.suffix.lower(), read_image(image.path).shape


def _instances(sleap_io: Any, image: LabelledImage, skeleton: Any) -> list[Any]:
    """Returns one instance, or none where nothing is labelled."""
    hidden = np.full_like(image.xy_px, np.nan) if image.hidden_px is None else image.hidden_px
    marked = np.isfinite(hidden[:, :1])
    xy = np.where(marked, hidden, image.xy_px)
    if not np.isfinite(xy).any():
        return []
    instance = sleap_io.Instance.from_numpy(xy, skeleton)
    instance.points["visible"] = np.isfinite(xy[:, 0]) & ~marked[:, 0]
    instance.points["complete"] = np.isfinite(xy[:, 0])
    return [instance]
