"""The project that the demo's model is trained on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgepose.camera.synthetic.mouse import SKELETON, Mouse
from edgepose.cli import demo
from edgepose_train.demo_model import SEEDS, write_project
from edgepose_train.labels.reading import read_dataset

SIZE_WH = (96, 64)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "project"
    write_project(folder, [100, 101], 3, SIZE_WH)
    return folder


def test_the_project_is_read_without_a_problem(project):
    dataset = read_dataset(project)
    assert dataset.name == "demo"
    assert dataset.problems == ()
    assert dataset.skeleton == SKELETON
    assert len(dataset.images) == 6


def test_labels_are_the_exact_truth(project):
    for image in read_dataset(project).images:
        seed, index = int(image.path.parent.name.removeprefix("mouse")), int(image.path.stem.removeprefix("img"))
        np.testing.assert_array_equal(image.xy_px, Mouse(seed, SIZE_WH).truth(index))
        assert cv2.imread(str(image.path)).shape == (64, 96, 3)


def test_the_mouse_of_the_demo_is_never_trained_on():
    assert demo.SEED not in SEEDS
