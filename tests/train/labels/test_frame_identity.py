"""A frame stays the same one in every lossless file and container."""

from __future__ import annotations

import hashlib
import os

import cv2
import numpy as np
import pytest
from dlc_project import write_image, write_project
from slp_file import USER, media, write_slp

from edgepose_train.labels.convert import convert
from edgepose_train.labels.frame_identity import frame_identity, is_learnt
from edgepose_train.labels.reading import read_dataset

COLOURS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
GREY = np.repeat(COLOURS[..., :1], 3, axis=2)


def written(path, pixels, *options):
    path.write_bytes(cv2.imencode(path.suffix, pixels, list(options))[1].tobytes())
    return path


@pytest.mark.parametrize(
    ("name", "pixels", "options"),
    [
        ("packed.png", COLOURS, (cv2.IMWRITE_PNG_COMPRESSION, 9)),
        ("plain.bmp", COLOURS, ()),
        ("plain.tiff", COLOURS, ()),
        ("lossless.webp", COLOURS, (cv2.IMWRITE_WEBP_QUALITY, 101)),
        ("opaque.png", np.dstack([COLOURS, np.full((48, 64, 1), 255, np.uint8)]), ()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_of_the_same_pixels(tmp_path, name, pixels, options):
    expected = frame_identity(written(tmp_path / "img.png", COLOURS))
    assert frame_identity(written(tmp_path / name, pixels, *options)) == expected


def test_a_grey_file_is_the_frame_in_three_equal_channels(tmp_path):
    grey = written(tmp_path / "grey.png", GREY[..., 0])
    assert frame_identity(grey) == frame_identity(written(tmp_path / "colour.png", GREY))


def test_other_pixels_and_other_shapes_are_other_frames(tmp_path):
    flat = np.zeros((48, 64, 3), np.uint8)
    pictures = (COLOURS, COLOURS ^ 1, flat, flat.reshape(64, 48, 3))
    assert len({frame_identity(written(tmp_path / f"{i}.png", p)) for i, p in enumerate(pictures)}) == 4


def test_a_file_that_is_replaced_is_another_frame(tmp_path):
    before = frame_identity(written(tmp_path / "img.png", COLOURS))
    written(tmp_path / "img.png", GREY)
    os.utime(tmp_path / "img.png", ns=(0, 0))
    assert frame_identity(tmp_path / "img.png") != before


@pytest.fixture
def in_a_video(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "cage1.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for i in range(12):
        writer.write(np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    frames = [(0, i, [(USER, np.full((4, 2), 10.0 + i))]) for i in range(0, 12, 2)]
    return write_slp(tmp_path / "labels.slp", [media(str(tmp_path / "cage1.avi"), 12)], frames)


@pytest.mark.parametrize("source", ["project", "in_a_video"])
def test_conversion_keeps_every_frame(tmp_path, request, source):
    path = write_project(tmp_path / "project") if source == "project" else request.getfixturevalue(source)
    expected = {frame_identity(image.path): image.xy_px[0, 0] for image in read_dataset(path).images}
    for name in ("dlc", "coco.json", "files.slp", "all.pkg.slp"):
        convert(path, tmp_path / name)
        found = {frame_identity(image.path): image.xy_px[0, 0] for image in read_dataset(tmp_path / name).images}
        assert found == expected


def test_a_card_names_frames_by_their_pixels_or_by_the_sha256_of_their_files(tmp_path):
    image = write_image(tmp_path / "a.png")
    of_file = hashlib.sha256(image.read_bytes()).hexdigest()
    assert is_learnt(image, {frame_identity(image)})
    assert is_learnt(image, {of_file})
    assert not is_learnt(image, {frame_identity(write_image(tmp_path / "b.png"))})
    assert not is_learnt(image, set())
