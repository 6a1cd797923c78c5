"""An HDF5 file reads nothing outside itself, and no small file needs gigabytes."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from edgepose_train.labels.h5_safety import MOST_BYTES, check_h5


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["values"] = np.zeros(4)
    (tmp_path / "private").write_bytes(bytes(32))
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["table/values"] = np.zeros((4, 3))
        yield file


def external_link(file, folder):
    file["evil"] = h5py.ExternalLink(str(folder / "other.h5"), "/values")


def soft_link(file, folder):
    file["evil"] = h5py.SoftLink("/table/values")


def external_storage(file, folder):
    file.create_dataset("table/evil", (4,), np.float64, external=[(str(folder / "private"), 0, 32)])


def virtual(file, folder):
    layout = h5py.VirtualLayout((4,), np.float64)
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "values", (4,))
    file.create_virtual_dataset("evil", layout)


def huge(file, folder):
    file.create_dataset("evil", (MOST_BYTES // 8 + 1,), np.float64, chunks=True, compression="gzip")


@pytest.mark.parametrize("add", [external_link, soft_link, external_storage, virtual, huge])
def test_what_reaches_out_or_is_huge_is_refused(file, tmp_path, add):
    add(file, tmp_path)
    with pytest.raises(ValueError, match="evil"):
        check_h5(file)


def test_what_is_at_the_bound_and_the_frames_of_a_package_are_read(file):
    file.create_dataset("most", (MOST_BYTES // 8,), np.float64, chunks=True, compression="gzip")
    file.create_dataset("video0/video", (10_000, 480, 640, 3), np.uint8, chunks=True)
    check_h5(file)
