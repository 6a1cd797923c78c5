"""Reads and writes SLEAP's label files: `.slp` beside its videos or images, `.pkg.slp` with the frames inside.

Only what people labelled counts, and not SLEAP's predictions. Keypoints that are marked as not visible are no labels,
as in SLEAP's own training; their positions are kept as `hidden_px`. In files older than format 1.1, (0, 0) is the
corner of the top-left pixel; sleap-io shifts their points by half a pixel, so that nothing is shifted here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import h5py
import numpy as np
from numpy.typing import NDArray

from edgepose.errors import CameraError, DatasetError
from edgepose.system.wording import count, listing
from edgepose.types import Skeleton
from edgepose.video.frames import open_video
from edgepose_train.labels.dataset import Dataset, LabelledImage, make_skeleton
from edgepose_train.labels.h5_safety import check_h5
from edgepose_train.labels.images import inside, read_image
from edgepose_train.labels.project_files import find_file, is_file, one_name_each

_COUNT_ERROR = 0.01  # a header is a few frames off
# A JSON text that begins like http:, with the white space that urllib overlooks. `C:` is a drive.
_ADDRESS = re.compile(r'"(?:\\u00..|\\.|\s)*[A-Za-z](?:[\w+.-]|\\[nrt])+:')


@dataclass(frozen=True, slots=True)
class _Source:
    """One frame as the label file describes it.

    Attributes:
        written: the image, video or package file as the label file names it.
        origin: the folder or video file that the frame was taken from.
        is_folder: whether `origin` is a folder.
        place: where the frame is inside the file, as for `images.inside`; None for an image file.
        stated_wh: the size of the video's frames when it was labelled, where the file has it.
        stated_count: the number of its frames then, where the file has it.
    """

    written: str
    origin: PurePosixPath
    is_folder: bool
    place: tuple[str, int, str] | None
    stated_wh: tuple[float, float] | None
    stated_count: int | None


def read_slp(path: Path) -> Dataset:
    """Reads a SLEAP file. Raises DatasetError with one line."""
    path = path.absolute()
    labels = _load(path)
    problems: list[str] = []
    labelled = _one_animal(labels.labeled_frames, problems)
    skeleton = _only_skeleton(path, [i.skeleton for _, i in labelled if i is not None] or labels.skeletons)
    width = len(str(max((frame.frame_idx for frame, _ in labelled), default=0)))
    sources = [_source(path, frame.video, frame.frame_idx, width) for frame, _ in labelled]
    found = {source.written: _find(source.written, path.parent) for source in sources}
    files = one_name_each(found, problems)
    if absent := sorted(written for written, file in found.items() if file is None):
        problems.append(f"{count(len(absent), 'image or video file')} missing, looked for {listing(absent)}")
    videos = _video_names({source.origin: source.is_folder for source in sources})
    images = []
    for source, (_, instance) in zip(sources, labelled, strict=True):
        if (file := files[source.written]) is not None:
            xy_px, hidden_px = _points(instance, skeleton.node_names)
            frame_path = file if source.place is None else inside(file, *source.place)
            images.append(LabelledImage(frame_path, xy_px, videos[source.origin], hidden_px, source.stated_wh))
    problems += _other_videos(sources, files)
    known = make_skeleton(path, skeleton.node_names, skeleton.edge_names, skeleton.symmetry_names, problems)
    return Dataset(path.name.removesuffix(".slp").removesuffix(".pkg"), known, tuple(images), tuple(problems))


def _load(path: Path) -> Any:
    try:
        import sleap_io
    except ImportError:
        raise DatasetError(f"{path}: SLEAP files need sleap-io; pip install 'edgepose[train]'") from None
    try:
        # Frames inside the file are only found through opened videos, but sleap-io would fetch a video at an address.
        return sleap_io.load_slp(str(path), open_videos=not _names_an_address(path))
    # At a damaged or foreign file, h5py and sleap-io raise a dozen kinds of errors (OSError, KeyError…).
    except Exception as exc:
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise DatasetError(f"{path}: cannot read as a SLEAP file ({first}); copy it again, or save it anew") from None


def _names_an_address(path: Path) -> bool:
    """Returns True when a video may be an address. Raises ValueError for a file that must not be read."""
    texts: list[bytes | str] = []

    def collect(_: str, node: h5py.Group | h5py.Dataset) -> None:
        texts.extend(value for value in node.attrs.values() if isinstance(value, bytes | str))
        if isinstance(node, h5py.Dataset) and node.shape == () and h5py.check_string_dtype(node.dtype):
            texts.append(node[()])

    with h5py.File(path) as file:
        check_h5(file)
        file.visititems(collect)
        texts.extend(file["videos_json"][()].tolist())
    return any(_ADDRESS.search(_plain_json(text)) for text in texts)


def _plain_json(text: bytes | str) -> str:
    """Returns JSON in which characters are not written as their numbers; other text as it is."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:
        return text if isinstance(text, str) else text.decode(errors="replace")


def _one_animal(frames: Sequence[Any], problems: list[str]) -> list[tuple[Any, Any | None]]:
    """Returns the frames with the one instance that a person labelled, or None where a frame holds no instance.

    An instance without any visible point was added by mistake, and is none.
    """
    one, several, predicted = [], [], 0
    for frame in frames:
        labelled = [instance for instance in frame.user_instances if instance.n_visible]
        if len(labelled) > 1:
            several.append(f"frame {frame.frame_idx}")
        elif labelled or not frame.predicted_instances:
            one.append((frame, (labelled or frame.user_instances or [None])[0]))
        else:
            predicted += 1
    if several:
        problems.append(
            f"{count(len(several), 'frame')} with several labelled animals, edgepose follows one; left out: "
            f"{listing(several)}"
        )
    if predicted:
        problems.append(f"{count(predicted, 'frame')} with predictions only, which are no labels; left out")
    return one


def _only_skeleton(path: Path, skeletons: Sequence[Any]) -> Any:
    different = {frozenset(skeleton.node_names): skeleton for skeleton in reversed(skeletons)}  # the first one counts
    if len(different) != 1:
        raise DatasetError(f"{path}: labels with {len(different)} skeletons; edgepose follows one animal")
    return next(iter(different.values()))


def _points(instance: Any | None, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns xy_px and hidden_px, (K, 2) each, in the order of `names`, which that of the instance may differ from."""
    if instance is None:
        return np.full((len(names), 2), np.nan), np.full((len(names), 2), np.nan)
    order = [instance.skeleton.node_names.index(name) for name in names]
    xy = np.array(instance.points["xy"], np.float64)[order]
    visible = np.array(instance.points["visible"], bool)[order, None]
    return np.where(visible, xy, np.nan), np.where(visible, np.nan, xy)


# --- where the frames are ----------------------------------------------------------------------------------


def _source(path: Path, video: Any, index: int, width: int) -> _Source:
    """Finds a frame. `width` is the number of digits of the frame number in the name that the frame gets."""
    if video.is_cropped:
        raise DatasetError(f"{path}: holds a cropped video, which edgepose cannot read; save it uncropped")
    group = str(video.backend_metadata.get("dataset") or "").removesuffix("/video")
    original = video.original_video if group and video.original_video is not None else video
    # sleap-io gives a video that it does not find the path of one of the same name beside the label file.
    files = original.backend_metadata.get("filenames") or original.backend_metadata.get("filename", original.filename)
    if isinstance(files, list):
        written = _with_slashes(files[index]) if index < len(files) else f"frame {index}"
        name, origin = PurePosixPath(written).name, PurePosixPath(written).parent
    else:
        written, name = _with_slashes(files), f"img{index:0{width}}.png"
        origin = PurePosixPath(group if original is video and group else written)
    is_file_of_its_own = isinstance(files, list) and not group
    place = None if is_file_of_its_own else (group, index, name)
    is_video = not group and not isinstance(files, list)
    shape = video.backend_metadata.get("shape") if is_video else None  # frames, height, width, channels
    stated_wh, frames = ((shape[2], shape[1]), shape[0]) if _is_shape(shape) else (None, None)
    return _Source(str(video.filename) if group else written, origin, isinstance(files, list), place, stated_wh, frames)


def _with_slashes(file: object) -> str:
    return str(file).replace("\\", "/")


def _is_shape(shape: object) -> TypeGuard[Sequence[int]]:
    return isinstance(shape, list | tuple) and len(shape) == 4 and all(isinstance(n, int) and n > 0 for n in shape)


def _other_videos(sources: Sequence[_Source], files: dict[str, Path | None]) -> list[str]:
    """Returns a line for each video with another number of frames than the one that was labelled."""
    problems = []
    for written, stated in {source.written: source.stated_count for source in sources}.items():
        file = files[written]
        if not stated or file is None:
            continue
        with suppress(CameraError):  # its frames are reported when they are read
            frames = open_video(file).count
            if abs(frames - stated) > max(_COUNT_ERROR * stated, 2):
                problems.append(
                    f"{file.name}: has {frames} frames, where the labelled video had {stated}; frame numbers mean "
                    "other pictures here, so give the video that was labelled"
                )
    return problems


def _find(written: str, folder: Path) -> Path | None:
    """Finds a file. SLEAP writes absolute paths, and one that exists is the one that was labelled."""
    recorded = Path(written)
    return recorded if recorded.is_absolute() and is_file(recorded) else find_file(written, folder)


def _video_names(origins: dict[PurePosixPath, bool]) -> dict[PurePosixPath, str]:
    """Names each origin by its last part, after as many folders as make the name different from the others.

    A video file loses its ending, unless only the ending makes it different. The values say which origins are folders.
    """
    parts = {origin: _parts(origin if is_folder else origin.with_suffix("")) for origin, is_folder in origins.items()}
    times = Counter(parts.values())
    parts = {origin: own if times[own] == 1 else _parts(origin) for origin, own in parts.items()}
    names = {}
    for origin, own in parts.items():
        others = [other for key, other in parts.items() if key != origin]
        n = 1
        while n < len(own) and any(other[-n:] == own[-n:] for other in others):
            n += 1
        names[origin] = "-".join(own[-n:])
    return names


def _parts(path: PurePosixPath) -> tuple[str, ...]:
    return tuple(part for part in path.parts if part != "/") or ("video",)


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
