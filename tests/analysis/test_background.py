"""The picture of the empty scene holds no animal, wherever the animal was for most of the time."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.analysis.background import Background

SIZE_WH = (160, 120)
ANIMAL = 12  # half of its side, pixels


def collected(centres, size_wh=SIZE_WH) -> Background:
    """Frames of a flat floor with a dark square at each centre."""
    background = Background()
    for index, (x, y) in enumerate(centres):
        image = np.full((size_wh[1], size_wh[0], 3), 180, np.uint8)
        image[int(y) - ANIMAL : int(y) + ANIMAL, int(x) - ANIMAL : int(x) + ANIMAL] = 20
        background.add(index, image)
    return background


def poses(centres) -> np.ndarray:
    """(N, 2, 2): two keypoints well inside the animal."""
    return np.asarray(centres, np.float64)[:, None] + [[-4, 0], [4, 0]]


@pytest.mark.parametrize("count", [40, 1000])
def test_a_walking_animal_leaves_no_ghost_even_if_it_was_never_found(count):
    centres = np.stack([np.linspace(20, 140, count), np.full(count, 60)], axis=1)
    picture = collected(centres).picture(np.full((count, 2, 2), np.nan), SIZE_WH, 0)
    assert (picture == 180).all()
    assert picture.shape == SIZE_WH[::-1]


def test_an_animal_that_sleeps_for_most_of_the_video_leaves_none_where_it_is_found():
    centres = [(40, 40)] * 900 + [(120, 80)] * 100
    found = collected(centres).picture(poses(centres), SIZE_WH, ANIMAL)
    assert (found == 180).all()


def test_an_animal_that_never_moves_stays_in_the_picture():
    centres = [(40, 40)] * 30
    found = collected(centres).picture(poses(centres), SIZE_WH, ANIMAL)
    assert found[40, 40] == 20
    assert found[100, 120] == 180


@pytest.mark.parametrize("count", [1, 80, 81, 5000])
def test_frames_are_spread_over_the_video_and_few(count):
    """Each frame is as bright as its place in the video, so the median is the middle of the video."""
    background = Background()
    for index in range(count):
        background.add(index, np.full((1, 2, 3), round(255 * index / count), np.uint8))
    picture = background.picture(np.full((count, 1, 2), np.nan), (2, 1), 0)
    assert picture[0, 0] == pytest.approx(127.5 if count > 1 else 0, abs=6)


def test_large_frames_are_stored_smaller():
    centres = [(300, 300), (900, 900), (1500, 600)]
    size_wh = (1920, 1080)
    picture = collected(centres, size_wh).picture(poses(centres), size_wh, ANIMAL)
    assert picture.shape == (450, 800)
    assert (picture == 180).all()
