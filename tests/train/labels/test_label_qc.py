"""Planted faults are found, and correct labels are not reported."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.camera.synthetic.mouse import SKELETON, Mouse
from edgepose.config.camera import SyntheticCameraConfig
from edgepose.types import Skeleton
from edgepose_train.labels.label_qc import duplicates, outlier_labels, swapped_pairs
from edgepose_train.labels.reading import read_dataset

EARS = ("leftear", "rightear")
PAWS = Skeleton(
    ("nose", "earL", "earR", "pawL", "pawR", "spine", "tail"), flip_pairs=(("earL", "earR"), ("pawL", "pawR"))
)


@pytest.fixture
def mice() -> np.ndarray:
    """Returns (120, 4, 2): the demo's mouse in every direction."""
    mouse = Mouse(3, SyntheticCameraConfig().size_wh)
    return np.stack([mouse.truth(index) for index in range(0, 1200, 10)]).astype(np.float64)


def quadrupeds(seed: int, count: int = 150) -> np.ndarray:
    """Makes animals seen from above: turned, bent, of two sizes, each paw anywhere along its step, and without a tenth
    of the labels."""
    rng = np.random.default_rng(seed)
    head = 1 + np.outer(np.exp(1j * rng.normal(0, 0.5, count)), [1.5, 0.9 + 0.5j, 0.9 - 0.5j])
    step = 1.5 * np.sin(rng.uniform(0, 2 * np.pi, count))
    paws = np.stack([1 + step + 0.4j, 1 - step - 0.4j], axis=1)
    tail = -2 - 2 * np.exp(1j * rng.normal(0, 0.8, count))
    z = np.column_stack([head, paws, np.zeros(count), tail])
    z = z * (rng.uniform(25, 50, count) * np.exp(2j * np.pi * rng.random(count)))[:, None] + 320 + 240j
    z = z + rng.normal(0, 2, z.shape) + 1j * rng.normal(0, 2, z.shape)
    xy = np.stack([z.real, z.imag], axis=2)
    xy[rng.random(xy.shape[:2]) < 0.1] = np.nan
    return xy


def swap(xy: np.ndarray, frames, a: int, b: int) -> None:
    xy[np.ix_(frames, [a, b])] = xy[np.ix_(frames, [b, a])]


@pytest.mark.parametrize("frames", [[], [7], [0, 31, 32, 119], list(range(0, 120, 5))], ids=len)
def test_swapped_ears_are_found_and_no_others(mice, frames):
    swap(mice, frames, 1, 2)
    assert swapped_pairs(mice, SKELETON) == [(frame, EARS) for frame in frames]


@pytest.mark.parametrize("seed", range(5))
def test_the_pair_that_is_swapped_is_named_and_paws_that_point_anywhere_are_not(seed):
    xy = quadrupeds(seed)
    whole = np.flatnonzero(np.isfinite(xy).all(axis=(1, 2)))[:6]
    assert swapped_pairs(xy, PAWS) == []
    swap(xy, whole[:3], 1, 2)
    swap(xy, whole[3:], 3, 4)
    assert swapped_pairs(xy, PAWS) == [(frame, ("earL", "earR")) for frame in whole[:3]]


def test_too_little_to_compare(mice):
    swap(mice, [3], 1, 2)
    assert swapped_pairs(mice[:6], SKELETON) == []
    ears_only = mice[:, 1:3]
    assert swapped_pairs(ears_only, Skeleton(EARS, flip_pairs=(EARS,))) == []
    unlabelled = mice.copy()
    unlabelled[:, 2] = np.nan
    assert swapped_pairs(unlabelled, SKELETON) == []
    assert swapped_pairs(mice, Skeleton(SKELETON.keypoints)) == []


def test_a_slip_of_the_mouse_is_found(mice):
    assert outlier_labels(mice) == []
    mice[11, 3] += 400
    mice[50, 0] -= 300
    assert outlier_labels(mice) == [(11, 3), (50, 0)]


def test_a_nearer_animal_is_no_slip(mice):
    mice[11] *= 4
    assert outlier_labels(mice) == []


def test_duplicates():
    assert duplicates("abcab") == [[0, 3], [1, 4]]


def test_the_swap_in_the_public_project(public_projects):
    """The labeller made this mistake. Nothing else in these labels is a fault."""
    dataset = read_dataset(public_projects / "openfield-Pranav-2018-10-30")
    xy = np.stack([image.xy_px for image in dataset.images])
    found = swapped_pairs(xy, dataset.skeleton)
    assert [(dataset.images[frame].path.name, pair) for frame, pair in found] == [("img0102.png", EARS)]
    assert outlier_labels(xy) == []


def test_nothing_is_found_in_reaching(reaching):
    dataset = read_dataset(reaching)
    xy = np.stack([image.xy_px for image in dataset.images])
    assert swapped_pairs(xy, dataset.skeleton) == []
    assert outlier_labels(xy) == []
