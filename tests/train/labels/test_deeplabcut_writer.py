"""The DeepLabCut projects that we write: DeepLabCut's code can read them, and nothing that existed is lost."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd  # noqa: TID251  as DeepLabCut reads the files
import pytest
import yaml
from dlc_project import NAMES, labels, write_image

from edgepose.errors import DatasetError
from edgepose.types import Skeleton
from edgepose_train.labels.deeplabcut_writer import (
    add_videos,
    create_project,
    image_name,
    new_frames,
    read_config,
    write_labels,
)
from edgepose_train.labels.reading import read_dataset

SKELETON = Skeleton(NAMES, (("snout", "leftear"),))
# The keys that DeepLabCut 3 and napari-deeplabcut use without checking that they exist.
KEYS = {"Task", "scorer", "date", "project_path", "video_sets", "bodyparts", "start", "stop", "numframes2pick"}
KEYS |= {"skeleton", "skeleton_color", "pcutoff", "dotsize", "alphavalue", "colormap", "TrainingFraction", "iteration"}
KEYS |= {"default_net_type", "snapshotindex", "batch_size", "cropping", "x1", "x2", "y1", "y2", "multianimalproject"}
KEYS |= {"corner2move2", "move2corner", "engine", "identity"}


@pytest.fixture
def project(tmp_path):
    create_project(tmp_path / "maze", "maze", "Ann", SKELETON, {"/videos/cage 1: left.mp4": (640, 480)})
    return tmp_path / "maze"


def test_a_new_project_has_what_deeplabcut_looks_up(project):
    config = yaml.safe_load((project / "config.yaml").read_text("utf-8"))
    assert config.keys() >= KEYS
    assert config["bodyparts"] == list(NAMES)
    assert config["video_sets"] == {"/videos/cage 1: left.mp4": {"crop": "0, 640, 0, 480"}}
    assert config["project_path"] == str(project)


def test_labels_come_back(project):
    folder = project / "labeled-data" / "cage1"
    names = [write_image(folder / f"img{i}.png").name for i in (2, 0, 1)]
    xy = labels(3)
    xy[1, 2] = np.nan
    write_labels(folder, "Ann", NAMES, names, xy)
    dataset = read_dataset(project)
    assert [image.path.name for image in dataset.images] == ["img0.png", "img1.png", "img2.png"]
    np.testing.assert_array_equal(np.stack([image.xy_px for image in dataset.images]), xy[[1, 2, 0]])
    assert dataset.skeleton.edges == SKELETON.edges
    assert dataset.problems == ()


def test_h5_and_csv_are_the_same_table(project):
    folder = project / "labeled-data" / "cage1"
    folder.mkdir()
    write_labels(folder, "Ann", NAMES, ["img0.png", "img1.png"], labels(2))
    stem = folder / "CollectedData_Ann"
    h5 = pd.read_hdf(f"{stem}.h5", "df_with_missing")
    table = pd.read_csv(f"{stem}.csv", header=[0, 1, 2], index_col=[0, 1, 2])
    assert h5.columns.names == ["scorer", "bodyparts", "coords"]
    assert h5.index.tolist() == [("labeled-data", "cage1", "img0.png"), ("labeled-data", "cage1", "img1.png")]
    pd.testing.assert_frame_equal(h5, table, check_names=False)
    assert sorted(path.name for path in folder.iterdir()) == ["CollectedData_Ann.csv", "CollectedData_Ann.h5"]


def test_a_project_is_not_written_over(project):
    with pytest.raises(DatasetError, match="already there"):
        create_project(project, "other", "Ben", SKELETON, {})


@pytest.mark.parametrize(
    "video_sets",
    ["video_sets: {}", "video_sets: ''", "video_sets:", "video_sets:\n  /a.mp4:\n    crop: 0, 9, 0, 9"],
)
def test_videos_are_added_and_every_other_line_stays(tmp_path, video_sets):
    before = f"# mine\nTask: maze\n{video_sets}\nbodyparts: !!python/tuple\n- snout\nskeleton: ''  # none\n"
    (tmp_path / "config.yaml").write_text(before, "utf-8")
    known = read_config(tmp_path)["video_sets"] or {}
    add_videos(tmp_path, {"/a.mp4": (9, 9), "/b: c.mp4": (64, 48)})
    after = (tmp_path / "config.yaml").read_text("utf-8")
    assert read_config(tmp_path)["video_sets"] == known | {
        "/a.mp4": {"crop": "0, 9, 0, 9"},
        "/b: c.mp4": {"crop": "0, 64, 0, 48"},
    }
    assert [line for line in before.splitlines() if "video_sets" not in line and line not in after.splitlines()] == []
    add_videos(tmp_path, {"/a.mp4": (9, 9)})
    assert (tmp_path / "config.yaml").read_text("utf-8") == after


def test_videos_that_cannot_be_added_leave_the_file_alone(tmp_path):
    before = "bodyparts: [snout]\nvideo_sets: {/a.mp4: {crop: '0, 9, 0, 9'}}\n"
    (tmp_path / "config.yaml").write_text(before, "utf-8")
    with pytest.raises(DatasetError, match=r"add /b\.mp4 by hand"):
        add_videos(tmp_path, {"/b.mp4": (9, 9)})
    assert (tmp_path / "config.yaml").read_text("utf-8") == before


@pytest.mark.parametrize(
    ("count", "name"), [(9, "img7.png"), (10, "img7.png"), (11, "img07.png"), (2330, "img0007.png")]
)
def test_images_have_as_many_digits_as_in_deeplabcut(count, name):
    """str(index).zfill(int(np.ceil(np.log10(nframes))))."""
    assert image_name(7, count) == name


def test_new_frames_appear_together(project):
    image = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
    folder = project / "labeled-data" / "cage1"
    with new_frames(project, "cage1") as write:
        write("img0.png", image)
        assert not folder.exists()
    assert [path.name for path in folder.iterdir()] == ["img0.png"]
    np.testing.assert_array_equal(cv2.imread(str(folder / "img0.png")), image)


def test_half_the_new_frames_are_none(project):
    def interrupted():
        with new_frames(project, "cage1") as write:
            write("img0.png", np.zeros((12, 16, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((project / "labeled-data").iterdir()) == []


def test_another_picture_is_not_written_over(project):
    with new_frames(project, "cage1") as write:
        write("img0.png", np.zeros((12, 16, 3), np.uint8))
    with pytest.raises(DatasetError, match="another picture"), new_frames(project, "cage1") as write:
        write("img0.png", np.ones((12, 16, 3), np.uint8))
    assert cv2.imread(str(project / "labeled-data" / "cage1" / "img0.png")).max() == 0
