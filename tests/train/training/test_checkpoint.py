"""Checkpoints: they are loaded as they were saved; a damaged file and a file of another run are different errors."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.errors import EdgeposeError, UsageError
from edgepose_train.training import checkpoint

IDENTITY = {"settings": {"seed": 0}}
GROUPS = {"model": [np.arange(6.0).reshape(2, 3), np.array(1.5)], "average": [np.arange(3, dtype=np.float32)] * 12}


@pytest.fixture
def path(tmp_path):
    checkpoint.save(tmp_path / "checkpoint.npz", {**GROUPS, "best": []}, {"identity": IDENTITY, "best": {"step": 3}})
    return tmp_path / "checkpoint.npz"


def test_it_is_loaded_as_it_was_saved(path):
    groups, notes = checkpoint.load(path, IDENTITY)
    assert notes["best"] == {"step": 3}
    assert groups.keys() == GROUPS.keys()
    for name, arrays in GROUPS.items():
        for one, other in zip(groups[name], arrays, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)


def test_saving_leaves_no_other_file(path):
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.npz"]


def test_no_checkpoint_is_a_new_run(tmp_path):
    assert checkpoint.load(tmp_path / "checkpoint.npz", IDENTITY) is None


def test_another_runs_checkpoint_is_refused(path):
    with pytest.raises(UsageError, match="give another folder with -o"):
        checkpoint.load(path, {"settings": {"seed": 1}})


@pytest.mark.parametrize("keep", [0, 1, 100, 2000, -1])
def test_a_truncated_file_is_an_error_of_one_line(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(EdgeposeError, match=r"damaged checkpoint .* delete it to start this run anew") as error:
        checkpoint.load(path, IDENTITY)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"garbage", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00"])
def test_a_foreign_file_is_an_error_of_one_line(path, content):
    path.write_bytes(content)
    with pytest.raises(EdgeposeError, match="damaged checkpoint") as error:
        checkpoint.load(path, IDENTITY)
    assert len(str(error.value).splitlines()) == 1


def test_a_flipped_bit_is_found(path):
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(6.0).tobytes()) + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(EdgeposeError, match="damaged checkpoint"):
        checkpoint.load(path, IDENTITY)
