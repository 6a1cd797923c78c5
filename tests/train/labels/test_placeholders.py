"""(0, 0) and other fixed points for "not labelled" are reported and are no labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dlc_project import label_file, write_project

from edgepose_train.labels.dataset import LabelledImage, is_labelled
from edgepose_train.labels.placeholders import without_placeholders
from edgepose_train.labels.reading import read_dataset

NAMES = ("snout", "leftear", "joystick")


def labelled(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(5, 60, (count, 3, 2))


def read(xy_px, hidden_px=None):
    images = [LabelledImage(Path(f"img{i}.png"), xy, "cage1", hidden_px) for i, xy in enumerate(xy_px)]
    problems: list[str] = []
    return without_placeholders(images, NAMES, problems), problems


@pytest.mark.parametrize("point", [(0.0, 0.0), (-0.0, 0.0), (-1.0, -1.0), (-0.5, -0.5)])
def test_a_corner_that_repeats_is_no_label(point):
    xy_px = labelled(10)
    xy_px[::5, 1] = point
    images, problems = read(xy_px, np.array([[np.nan, np.nan], point, [np.nan, np.nan]]))
    np.testing.assert_array_equal([is_labelled(image.xy_px)[1] for image in images], [i % 5 > 0 for i in range(10)])
    assert np.isnan(images[0].hidden_px).all()
    assert np.isfinite(images[0].xy_px[[0, 2]]).all()
    assert len(problems) == 1
    assert problems[0].startswith("2 labels at exactly (")
    assert problems[0].endswith("taken as not labelled: leftear (2)")


def test_one_label_in_the_corner_is_reported_and_kept():
    xy_px = labelled(10)
    xy_px[3, 0] = 0
    images, problems = read(xy_px)
    assert is_labelled(images[3].xy_px).all()
    assert problems == ["1 label at exactly (0, 0), perhaps not labelled; check snout in img3.png"]


def test_another_point_that_several_keypoints_share_again_and_again_is_no_label():
    xy_px = labelled(10)
    xy_px[:4, 0], xy_px[4:7, 1] = (1, 1), (1, 1)
    images, problems = read(xy_px)
    assert sum(is_labelled(image.xy_px).sum() for image in images) == 30 - 7
    assert problems[0].startswith("7 labels at exactly (1, 1), which other programs write")


def test_a_thing_that_does_not_move_keeps_its_labels():
    xy_px = labelled(10)
    xy_px[:, 2] = (20, 30)
    xy_px[0, 0] = xy_px[0, 1]  # two keypoints, one behind the other
    images, problems = read(xy_px)
    assert all(is_labelled(image.xy_px).all() for image in images)
    assert problems == []


def test_a_project_with_zeros(tmp_path):
    project = write_project(tmp_path)
    lines = label_file(project).read_text().splitlines()
    lines[3:5] = [",".join([line.split(",")[0], "0", "0.0", *line.split(",")[3:]]) for line in lines[3:5]]
    label_file(project).write_text("\n".join(lines))
    dataset = read_dataset(project)
    assert [int(is_labelled(image.xy_px).sum()) for image in dataset.images] == [2, 2, 3, 3]
    assert dataset.problems[0].endswith("taken as not labelled: snout (2)")
