"""Images of every kind become BGR of eight bits."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from dlc_project import write_image, write_project, xy_of

from edgepose_train.labels.images import read_deep_image, read_image
from edgepose_train.labels.reading import read_dataset


def test_grey_alpha_and_16_bit_images_become_bgr(tmp_path):
    ramp = np.arange(0, 65536, 256, np.uint16).reshape(16, 16)
    (tmp_path / "deep.png").write_bytes(cv2.imencode(".png", ramp)[1].tobytes())
    deep = read_image(tmp_path / "deep.png")
    assert (deep.dtype, deep.shape) == (np.uint8, (16, 16, 3))
    np.testing.assert_array_equal(deep[..., 1].ravel(), np.arange(256))
    grey = read_image(write_image(tmp_path / "grey.png", (20, 10), grey=True))
    assert grey.shape == (10, 20, 3)
    assert (grey == grey[..., :1]).all()
    clear = np.zeros((4, 5, 4), np.uint8)
    clear[..., 2] = 200
    (tmp_path / "alpha.png").write_bytes(cv2.imencode(".png", clear)[1].tobytes())
    assert read_image(tmp_path / "alpha.png")[0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize("ending", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_pictures_of_deep_cameras_are_as_bright_as_others(tmp_path, bits, ending):
    """Their files have 16 bits, of which a camera uses the lower ones."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    deep = ramp.astype(np.uint16) << (bits - 8)
    (tmp_path / f"deep{ending}").write_bytes(cv2.imencode(ending, deep)[1].tobytes())
    image, found_bits = read_deep_image(tmp_path / f"deep{ending}")
    np.testing.assert_array_equal(image, np.repeat(ramp[..., None], 3, axis=2))
    assert found_bits == bits


def test_deep_pictures_are_reported(tmp_path):
    project = write_project(tmp_path)
    for i in range(2):
        picture = np.full((48, 64), 4000, np.uint16)
        path = project / "labeled-data" / "cage1" / f"img{i:03}.png"
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    assert read_dataset(project).problems == ("2 images with more than 8 bits a pixel, scaled to 8: 2 of 12 bits",)


@pytest.mark.slow
def test_a_small_file_of_a_huge_picture_is_refused(tmp_path):
    """A process of its own, because OpenCV reads the limit once."""
    rows = zlib.compress(bytes(20_001) * 20_000, 9)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    code = "from pathlib import Path; from edgepose_train.labels.images import read_image; read_image(Path('bomb.png'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert "damaged or not an image, or of over 67 million pixels" in done.stderr.splitlines()[-1]


def test_an_orientation_that_a_camera_noted_moves_no_pixel(tmp_path):
    """Labels are made on the pixels as they are stored, without the rotation that a camera has noted."""
    jpeg = cv2.imencode(".jpg", np.zeros((10, 20, 3), np.uint8))[1].tobytes()
    turned = struct.pack(">2sHI HHHIHH I", b"MM", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)  # one tag: turn by 90 degrees
    exif = b"Exif\0\0" + turned
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    assert cv2.imread(str(tmp_path / "a.jpg")).shape == (20, 10, 3)
    assert read_image(tmp_path / "a.jpg").shape == (10, 20, 3)


@pytest.mark.parametrize(
    ("name", "images", "labelled"),
    [("openfield-Pranav-2018-10-30", 93, 372), ("Reaching-Mackenzie-2018-08-30", 55, 233)],
)
def test_the_public_demo_projects(public_projects, name, images, labelled):
    """Their CSV and H5 hold the same labels. The numbers were counted once by hand."""
    project = public_projects / name
    dataset = read_dataset(project)
    from_h5 = read_dataset(next(project.glob("labeled-data/*/*.h5")))
    assert len(dataset.images) == images
    assert np.isfinite(xy_of(dataset)).all(axis=2).sum() == labelled
    np.testing.assert_array_equal(xy_of(dataset), xy_of(from_h5))
    assert dataset.problems == ()
