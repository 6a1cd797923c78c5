"""A folder of images as a camera: natural order, the times of the files, and clear words for what is no image."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import card

from edgepose.camera import open_camera
from edgepose.camera.image_folder import ImageFolderSource
from edgepose.config import camera as camera_config
from edgepose.errors import CameraError
from edgepose.system.clock import wall_us

NAMES = ("img1.png", "img2.JPG", "img10.png", "img020.bmp", "other.tiff")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images whose brightness says their position, the second one of another size, and files that are none."""
    folder = tmp_path / "bilder ü"
    folder.mkdir()
    for i in (3, 0, 4, 2, 1):
        image = np.full((48, 64 + 16 * (i == 1), 3), 40 * i, np.uint8)
        (folder / NAMES[i]).write_bytes(cv2.imencode(Path(NAMES[i]).suffix.lower(), image)[1].tobytes())
        os.utime(folder / NAMES[i], ns=(0, (1_700_000_000 + i) * 10**9 + 123_456_000))
    (folder / "notes.txt").write_text("not an image", encoding="utf-8")
    (folder / "sub").mkdir()
    return folder


def brightness(frame) -> int:
    return round(float(frame.image.mean()) / 40)


def test_gives_every_image_once_in_natural_order_with_its_time(folder):
    source = open_camera(camera_config.ImageFolderConfig(path=str(folder)), card().input)
    frames = list(iter(source.read, None))
    assert [brightness(frame) for frame in frames] == [frame.index for frame in frames] == list(range(5))
    assert [frame.size_wh for frame in frames] == [(64, 48), (80, 48), (64, 48), (64, 48), (64, 48)]
    assert [frame.captured_us for frame in frames] == [(1_700_000_000 + i) * 10**6 + 123_456 for i in range(5)]
    assert (source.live, source.rate_hz) == (False, None)
    assert source.read() is None


def test_with_a_rate_it_is_a_live_camera_of_the_present(folder):
    source = ImageFolderSource(folder, 50.0, loop=True)
    before = wall_us()
    frames = [source.read() for _ in range(12)]
    assert [brightness(frame) for frame in frames] == [*range(5), *range(5), 0, 1]
    assert [frame.index for frame in frames] == list(range(12))
    assert before <= frames[0].captured_us <= frames[-1].captured_us <= wall_us()
    assert frames[-1].captured_mono_ns - frames[0].captured_mono_ns >= 10 / 50 * 1e9
    assert (source.live, source.rate_hz) == (True, 50.0)


def test_close_ends_a_waiting_read(folder):
    source = ImageFolderSource(folder, 0.01)
    source.read()
    thread = threading.Thread(target=source.read)
    thread.start()
    source.close()
    thread.join(5)
    assert not thread.is_alive()
    assert source.read() is None


@pytest.mark.parametrize("damage", [b"", b"\x89PNG no more", None])
def test_an_image_that_cannot_be_read_is_left_out_with_a_warning(folder, caplog, damage):
    source = ImageFolderSource(folder)
    if damage is None:
        (folder / NAMES[2]).unlink()
    else:
        (folder / NAMES[2]).write_bytes(damage)
    frames = list(iter(source.read, None))
    assert [brightness(frame) for frame in frames] == [0, 1, 3, 4]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert caplog.messages == [f"{folder / NAMES[2]}: cannot be read as an image; left out"]


def test_a_loop_over_images_that_have_gone_ends(folder):
    source = ImageFolderSource(folder, loop=True)
    for _ in range(7):
        assert source.read() is not None
    for name in NAMES:
        (folder / name).unlink()
    assert source.read() is None


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", r"none: cannot read this folder \(No such file or directory\); check camera.path"),
        ("file", r"notes.txt: cannot read this folder \(Not a directory\)"),
        ("empty", r"sub: no image in it that can be read \(.png, .jpg"),
        ("damaged", r"no image in it that can be read"),
    ],
)
def test_a_folder_without_images_is_one_clear_line(folder, what, message):
    path = {"missing": folder / "none", "file": folder / "notes.txt", "empty": folder / "sub"}.get(what, folder)
    for name in NAMES:
        (folder / name).write_bytes(b"no image")
    with pytest.raises(CameraError, match=message) as error:
        ImageFolderSource(path)
    assert "\n" not in str(error.value)


def test_a_folder_that_may_not_be_read_is_an_error(folder, lock):
    lock(folder)
    with pytest.raises(CameraError, match=r"cannot read this folder \(Permission denied\)"):
        ImageFolderSource(folder)
