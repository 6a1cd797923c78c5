"""Writes `.slp` files in the layout of SLEAP 1.2 to 1.4, without the library that reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

NODES = ("snout", "tailbase", "leftear", "rightear")
INSTANCE = [
    ("instance_id", "i8"), ("instance_type", "u1"), ("frame_id", "u8"), ("skeleton", "u4"), ("track", "i4"),
    ("from_predicted", "i8"), ("score", "f4"), ("point_id_start", "u8"), ("point_id_end", "u8"),
    ("tracking_score", "f4"),
]  # fmt: skip
FRAME = [
    ("frame_id", "u8"), ("video", "u4"), ("frame_idx", "u8"), ("instance_id_start", "u8"), ("instance_id_end", "u8")
]  # fmt: skip
POINT = [("x", "f8"), ("y", "f8"), ("visible", "?"), ("complete", "?")]
USER, PREDICTED = 0, 1


def media(filename: str, count: int = 0) -> dict:
    shape = {"shape": [count, 48, 64, 3]} if count else {}
    return {
        "backend": {"filename": filename, "grayscale": False, "bgr": True, "dataset": "", "input_format": "", **shape}
    }


def image_files(filenames: Sequence[str]) -> dict:
    return {"backend": {"type": "ImageVideo", "filename": filenames[0], "filenames": list(filenames)}}


def embedded(number: int) -> dict:
    backend = {"filename": ".", "dataset": f"video{number}/video", "input_format": "channels_last"}
    return {"backend": {**backend, "convert_range": False}}


def write_slp(
    path: Path, videos: Sequence[dict], frames: Sequence[tuple[int, int, Sequence]], format_id: float = 1.2
) -> Path:
    """Writes a file. frames: (video, frame number, instances), where an instance is (USER or PREDICTED, points (4, 2)[,
    visible (4,)])."""
    instance_fields = INSTANCE if format_id >= 1.2 else INSTANCE[:-1]
    rows, instances, points, predicted = [], [], [], []
    for frame_id, (video, index, found) in enumerate(frames):
        first = len(instances)
        for kind, xy, *visible in found:
            into = points if kind == USER else predicted
            seen = visible[0] if visible else np.isfinite(xy[:, 0])
            start = len(into)
            into += [(x, y, v, True, *([0.9] if kind == PREDICTED else [])) for (x, y), v in zip(xy, seen, strict=True)]
            row = (len(instances), kind, frame_id, 0, -1, -1, 0.5 * kind, start, len(into), 0.0)
            instances.append(row[: len(instance_fields)])
        rows.append((frame_id, video, index, first, len(instances)))
    with h5py.File(path, "w") as file:
        group = file.create_group("metadata")
        group.attrs["format_id"] = format_id
        group.attrs["json"] = np.bytes_(json.dumps(_metadata()))
        file["videos_json"] = np.array([np.bytes_(json.dumps(video)) for video in videos])
        file.create_dataset("tracks_json", (0,), "S1", maxshape=(None,))
        file.create_dataset("suggestions_json", (0,), "S1", maxshape=(None,))
        file["frames"] = np.array(rows, FRAME)
        file["instances"] = np.array(instances, instance_fields)
        file["points"] = np.array(points, POINT)
        file["pred_points"] = np.array(predicted, [*POINT, ("score", "f8")])
    return path


def embed(
    path: Path, number: int, pictures: Sequence[bytes], indices: Sequence[int], source: dict | None = None
) -> None:
    """Adds pictures as in a SLEAP package: rows of signed bytes, filled up with zeros to one length."""
    longest = max(len(picture) for picture in pictures)
    table = np.stack([np.frombuffer(picture.ljust(longest, b"\0"), np.int8) for picture in pictures])
    with h5py.File(path, "a") as file:
        dataset = file.create_dataset(f"video{number}/video", data=table)
        dataset.attrs.update({"format": "png", "frames": 300, "height": 48, "width": 64, "channels": 3})
        file[f"video{number}/frame_numbers"] = np.array(indices)
        if source:
            file.create_group(f"video{number}/source_video").attrs["json"] = np.bytes_(json.dumps(source))


def _metadata() -> dict:
    """Returns metadata as jsonpickle writes them. The skeleton orders its nodes otherwise than the list of nodes."""
    names = ("snout", "leftear", "rightear", "tailbase")
    body = {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [1]}]}
    symmetry = {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [2]}]}
    links = [
        {"edge_insert_idx": 0, "key": 0, "source": 0, "target": 3, "type": body},
        {"edge_insert_idx": 1, "key": 0, "source": 0, "target": 1, "type": {"py/id": 1}},
        {"key": 0, "source": 1, "target": 2, "type": symmetry},
        {"key": 0, "source": 2, "target": 1, "type": {"py/id": 2}},
    ]
    skeleton = {
        "directed": True,
        "graph": {"name": "Skeleton-0", "num_edges_inserted": 2},
        "links": links,
        "multigraph": True,
        "nodes": [{"id": names.index(name)} for name in NODES],
    }
    return {
        "version": "2.0.0",
        "skeletons": [skeleton],
        "nodes": [{"name": name, "weight": 1.0} for name in names],
        "videos": [],
        "tracks": [],
        "suggestions": [],
        "negative_anchors": {},
        "provenance": {},
    }
