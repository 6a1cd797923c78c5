"""The files that a label file names are found inside its folders only, each for one name."""

from __future__ import annotations

import pytest
from dlc_project import write_image

from edgepose_train.labels.project_files import find_file, one_name_each


@pytest.fixture
def folder(tmp_path):
    write_image(tmp_path / "private.png")
    folder = tmp_path / "a" / "b" / "c" / "project"
    write_image(folder / "images" / "img0.png")
    (folder / "images" / "link.png").symlink_to(tmp_path / "private.png")
    return folder


@pytest.mark.parametrize(
    "written", ["images/img0.png", "images\\img0.png", "C:\\ann\\images\\img0.png", "/x/images/img0.png"]
)
def test_a_file_inside(folder, written):
    assert find_file(written, folder) == folder / "images" / "img0.png"


@pytest.mark.parametrize(
    "written",
    ["../../../../private.png", "images/link.png", "{root}/private.png", "https://x/images/img0.png", "", "/"],
)
def test_what_is_outside_is_not_found(folder, tmp_path, written):
    assert find_file(written.format(root=tmp_path), folder) is None


def test_of_two_names_of_one_file_the_more_similar_one_keeps_it(tmp_path):
    file, problems = tmp_path / "left" / "img0.png", []
    found = one_name_each({"right/img0.png": file, "left/img0.png": file, "gone.png": None}, problems)
    assert found == {"right/img0.png": None, "left/img0.png": file, "gone.png": None}
    assert len(problems) == 1
    assert problems[0].endswith("left out: right/img0.png")


def test_the_same_place_on_two_computers_is_one_name(tmp_path):
    file = tmp_path / "labeled-data" / "cage1" / "img0.png"
    names = {f"{root}/labeled-data/cage1/img0.png": file for root in ("/home/ann/maze", "C:/Users/Ann")}
    assert one_name_each(names, []) == names
