"""Projects as people have them: their images are found, and what is wrong is named and left out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dlc_project import LAYOUTS, NAMES, label_file, labels, rewrite, write_csv, write_image, write_project, xy_of

from edgepose.errors import DatasetError
from edgepose_train.labels.label_table import read_label_table, write_h5
from edgepose_train.labels.reading import read_dataset


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "maze")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_index_layout_finds_its_images(tmp_path, layout):
    root = write_project(tmp_path / "maze")
    write_csv(label_file(root), [layout("cage1", f"img{i:03}.png") for i in range(4)], labels(4))
    dataset = read_dataset(root)
    assert [image.path.name for image in dataset.images] == [f"img{i:03}.png" for i in range(4)]
    assert {image.video for image in dataset.images} == {"cage1"}
    np.testing.assert_array_equal(xy_of(dataset), labels(4))
    assert dataset.problems == ()


@pytest.mark.parametrize(
    "part", [".", "labeled-data", "labeled-data/cage1", "labeled-data/cage1/CollectedData_Ann.csv"]
)
def test_a_project_is_recognised_by_any_of_its_parts(project, part):
    dataset = read_dataset(project / part)
    assert (dataset.name, dataset.skeleton.keypoints, len(dataset.images)) == ("maze", NAMES, 4)


def test_a_relative_path_is_fine(project, monkeypatch):
    monkeypatch.chdir(project / "labeled-data" / "cage1")
    assert len(read_dataset(Path("../..")).images) == 4
    assert len(read_dataset(Path("CollectedData_Ann.csv")).images) == 4


def test_lightning_pose_layout(tmp_path):
    """One label file beside `labeled-data`, images in it, with or without a folder per video."""
    write_image(tmp_path / "labeled-data" / "img01.png")
    write_image(tmp_path / "labeled-data" / "day2" / "img02.png")
    rows = [["labeled-data/img01.png"], ["labeled-data/day2/img02.png"]]
    values = np.concatenate([labels(2), np.ones((2, 3, 1))], axis=2)
    write_csv(tmp_path / "CollectedData.csv", rows, values, coords=("x", "y", "visible"))
    dataset = read_dataset(tmp_path)
    assert [image.video for image in dataset.images] == ["labeled-data", "day2"]
    np.testing.assert_array_equal(xy_of(dataset), labels(2))


def test_a_label_with_one_coordinate_is_not_a_label(project):
    rewrite(project, str(labels(1)[0, 1, 1]), "")
    dataset = read_dataset(project)
    assert np.isnan(dataset.images[0].xy_px[1]).all()
    assert "1 label with x or y only" in dataset.problems[0]


def test_csv_and_h5_of_the_same_labels_count_once(project):
    label_file(project).with_suffix(".h5").write_bytes(b"not opened, as there is a CSV")
    assert len(read_dataset(project).images) == 4


def test_videos_are_merged(tmp_path):
    root = write_project(write_project(tmp_path), video="cage2", count=3)
    dataset = read_dataset(root)
    assert [image.video for image in dataset.images] == ["cage1"] * 4 + ["cage2"] * 3
    assert len({image.path for image in dataset.images}) == 7


def test_another_scorers_file_is_left_out(project):
    shutil.copy(label_file(project), label_file(project).with_name("CollectedData_Bob.csv"))
    dataset = read_dataset(project)
    assert len(dataset.images) == 4
    assert "CollectedData_Bob.csv" in dataset.problems[0]


def test_the_config_orders_the_keypoints(tmp_path):
    root = write_project(tmp_path)
    (root / "config.yaml").write_text("bodyparts: [rightear, snout]\n", "utf-8")
    dataset = read_dataset(root)
    assert dataset.skeleton.keypoints == ("rightear", "snout")
    np.testing.assert_array_equal(xy_of(dataset), labels(4)[:, [2, 0]])
    assert "leftear" in dataset.problems[1]  # it is labelled, but the config does not name it


def test_without_a_config_the_file_orders_them(project):
    (project / "config.yaml").unlink()
    dataset = read_dataset(project)
    assert (dataset.name, dataset.skeleton.keypoints) == ("maze", NAMES)


@pytest.mark.parametrize(
    ("skeleton", "edges"),
    [
        ("skeleton: [[snout, leftear], [snout, rightear]]", (("snout", "leftear"), ("snout", "rightear"))),
        ("skeleton: !!python/tuple\n- !!python/tuple\n  - snout\n  - leftear", (("snout", "leftear"),)),
        ("skeleton: \"(('snout', 'leftear'),)\"", (("snout", "leftear"),)),
        ("skeleton: []", ()),
        ("skeleton: ''", ()),
        ("skeleton:", ()),
    ],
    ids=["list", "tuple dump", "tuple text", "empty list", "empty text", "nothing"],
)
def test_skeletons_of_old_and_new_configs(tmp_path, skeleton, edges):
    dataset = read_dataset(write_project(tmp_path, config=skeleton))
    assert dataset.skeleton.edges == edges
    assert dataset.problems == ()


def test_edges_of_the_config_template_are_left_out(tmp_path):
    dataset = read_dataset(write_project(tmp_path, config="skeleton: [[snout, leftear], [bodypart1, objectA]]"))
    assert dataset.skeleton.edges == (("snout", "leftear"),)
    assert "bodypart1 - objectA" in dataset.problems[0]


def test_a_multi_animal_config_with_one_animal(tmp_path):
    root = write_project(tmp_path, individuals=["mouse1"])
    text = "bodyparts: MULTI!\nmultianimalbodyparts: [snout, leftear]\nuniquebodyparts: [rightear]\n"
    (root / "config.yaml").write_text(text, "utf-8")
    assert read_dataset(root).skeleton.keypoints == NAMES


def test_missing_and_damaged_images_are_named_and_left_out(project):
    folder = project / "labeled-data" / "cage1"
    (folder / "img000.png").unlink()
    whole = (folder / "img002.png").read_bytes()
    (folder / "img002.png").write_bytes(whole[: len(whole) // 2])
    (folder / "img003.png").write_bytes(b"")
    dataset = read_dataset(project)
    assert [image.path.name for image in dataset.images] == ["img001.png"]
    missing, damaged = dataset.problems
    assert missing == "1 image file missing, or outside the folder: labeled-data/cage1/img000.png"
    assert damaged == "2 image files damaged or not an image: cage1/img002.png, cage1/img003.png"


def test_an_image_labelled_twice_counts_once(project):
    lines = label_file(project).read_text("utf-8").splitlines()
    last = lines[3].replace(str(labels(1)[0, 0, 0]), "5.5")
    label_file(project).write_text("\n".join([*lines, last]), "utf-8")
    dataset = read_dataset(project)
    assert len(dataset.images) == 4
    assert dataset.images[0].xy_px[0, 0] == 5.5
    assert "1 image labelled twice" in dataset.problems[0]


def test_an_empty_row_takes_no_label_away(project):
    """Programs that put files together leave such rows; others label one keypoint in each of two rows."""
    lines = label_file(project).read_text("utf-8").splitlines()
    index, *cells = lines[3].split(",")
    lines[4] = ",".join([lines[4].split(",")[0], "", "", *lines[4].split(",")[3:]])
    second = ",".join([lines[4].split(",")[0], "7", "8", "", "", "", ""])
    label_file(project).write_text("\n".join([*lines, ",".join([index] + [""] * len(cells)), second]), "utf-8")
    dataset = read_dataset(project)
    np.testing.assert_array_equal(xy_of(dataset)[0], labels(4)[0])
    np.testing.assert_array_equal(xy_of(dataset)[1], [[7, 8], *labels(4)[1, 1:]])
    assert dataset.problems == ()


def test_images_without_any_label_are_left_out(tmp_path):
    root = write_project(tmp_path)
    values = labels(4)
    values[1:3] = np.nan
    write_csv(label_file(root), [[f"labeled-data/cage1/img{i:03}.png"] for i in range(4)], values)
    dataset = read_dataset(root)
    assert len(dataset.images) == 2
    assert "2 images without any label" in dataset.problems[0]


def test_paths_may_hold_any_letters(tmp_path):
    assert len(read_dataset(write_project(tmp_path / "Mäuse 1", video="käfig 鼠")).images) == 4


def test_a_body_part_that_was_added_later_is_not_labelled_in_older_files(project):
    write_csv(label_file(project), [["labeled-data/cage1/img000.png"]], labels(1, 2), names=NAMES[:2])
    dataset = read_dataset(project)
    np.testing.assert_array_equal(xy_of(dataset)[0], [*labels(1, 2)[0], [np.nan, np.nan]])
    assert dataset.problems[0] == "cage1/CollectedData_Ann.csv: lacks 1 body part, not labelled there: rightear"


def test_a_file_without_any_of_the_body_parts_is_refused(project):
    write_csv(label_file(project), [["labeled-data/cage1/img000.png"]], labels(1, 2), names=["nose", "tail"])
    with pytest.raises(DatasetError, match=r"CollectedData_Ann.csv: has no body part 'snout', which config.yaml names"):
        read_dataset(project)


def test_label_files_with_other_body_parts_are_refused(tmp_path):
    root = write_project(write_project(tmp_path), video="cage2")
    (root / "config.yaml").unlink()
    second = root / "labeled-data" / "cage2" / "CollectedData_Ann.csv"
    second.write_text(second.read_text("utf-8").replace("rightear", "tail"), "utf-8")
    with pytest.raises(DatasetError, match=r"cage2.*no body part 'rightear'"):
        read_dataset(root)


@pytest.mark.parametrize("part", [".", "labeled-data/cage1/CollectedData_Ann.csv"])
def test_a_project_that_may_not_be_searched_is_reported(project, part, lock):
    assert len(read_dataset(project / part).images) == 4
    lock(project)
    with pytest.raises(DatasetError, match="Permission denied") as error:
        read_dataset(project / part)
    assert len(str(error.value).splitlines()) == 1


def test_a_row_too_long_for_a_file_name_is_a_missing_image(project):
    rewrite(project, "img000.png", "n" * 300)
    assert read_dataset(project).problems[0].startswith("1 image file missing, or outside the folder: labeled-d")


def test_a_date_that_does_not_exist_is_accepted(tmp_path):
    """DeepLabCut writes `date: Oct30`, and people write 2018-30-10."""
    assert len(read_dataset(write_project(tmp_path, config="date: 2018-30-10")).images) == 4


def test_empty_data_sets_say_what_is_missing(tmp_path):
    with pytest.raises(DatasetError, match="no such file or folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no CollectedData CSV or H5"):
        read_dataset(tmp_path)
    root = write_project(tmp_path / "no rows", count=0)
    with pytest.raises(DatasetError, match="no labelled rows"):
        read_dataset(root)
    root = write_project(tmp_path / "no images")
    for image in root.glob("labeled-data/*/*.png"):
        image.unlink()
    with pytest.raises(DatasetError, match="no usable image: 4 image files missing"):
        read_dataset(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bodyparts: [a, b", "line 1: cannot read as YAML"),
        ("bodyparts: snout", "bodyparts: expected a list"),
        ("bodyparts: [snout]\nskeleton: [snout]", "pairs of body parts"),
        ("bodyparts: [snout, snout]", "repeat"),
        ("bodyparts: !!python/object/apply:os.system [ls]", "cannot read as YAML"),
        ("bodyparts: " + "[" * 1000, "cannot read as YAML (maximum recursion depth exceeded"),
        ("bodyparts: [snout]\nbodyparts: [tail]", "line 2: cannot read as YAML (the key 'bodyparts' occurs twice)"),
    ],
    ids=["cut off", "no list", "no pairs", "repeated", "code", "deep", "twice"],
)
def test_a_faulty_config_is_reported(project, text, message):
    (project / "config.yaml").write_text(text, "utf-8")
    with pytest.raises(DatasetError) as error:
        read_dataset(project)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


# --- what DeepLabCut itself does not train on ----------------------------------------------------------------


@pytest.mark.parametrize("path", ["/x/cage1.mp4", "C:\\\\x\\\\cage1.mp4"])
def test_a_folder_with_painted_labels_is_left_out(tmp_path, path):
    write_project(tmp_path, video="cage1_labeled")
    project = write_project(tmp_path, config=f'video_sets:\n  "{path}": {{}}\n')
    dataset = read_dataset(project)
    assert {image.video for image in dataset.images} == {"cage1"}
    assert dataset.problems == ("1 folder with labels painted into the pictures; left out: cage1_labeled",)


def test_a_video_that_is_called_labeled_is_used(tmp_path):
    write_project(tmp_path, video="cage1_labeled")
    project = write_project(tmp_path, config="video_sets: {/x/cage1.mp4: {}, /x/cage1_labeled.mp4: {}}\n")
    assert read_dataset(project).problems == ()
    (project / "labeled-data" / "cage1").rename(project / "labeled-data" / "cage2")
    assert {image.video for image in read_dataset(project).images} >= {"cage1_labeled"}


def test_a_folder_that_video_sets_lacks_is_reported(tmp_path):
    write_project(tmp_path, video="cage2")
    dataset = read_dataset(write_project(tmp_path, config="video_sets: {/x/cage1.mp4: {}}\n"))
    assert len(dataset.images) == 8
    assert dataset.problems == ("1 folder that video_sets in config.yaml lacks; used: cage2",)


def test_csv_and_h5_that_disagree_are_reported(project):
    cells = read_label_table(label_file(project)).cells
    write_h5(label_file(project).with_suffix(".h5"), cells)
    assert read_dataset(project).problems == ()
    rows = [[cells.rows[0][0], "", "", *cells.rows[0][3:]], [*cells.rows[1][:-1], "33"], *cells.rows[2:]]
    write_h5(label_file(project).with_suffix(".h5"), replace(cells, rows=rows))
    assert read_dataset(project).problems == (
        "cage1: CollectedData_Ann.csv has 12 labels, CollectedData_Ann.h5 has 11, and 10 of them agree; "
        "CollectedData_Ann.csv is taken, so move away the one that is out of date",
    )
    label_file(project).with_suffix(".h5").write_bytes(b"")
    (problem,) = read_dataset(project).problems
    assert "CollectedData_Ann.h5: cannot read as H5" in problem


# --- files that are made to cost much --------------------------------------------------------------------------


ALIASES = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (f"{ALIASES}bodyparts: *i\n", "more than 100000 values"),
        ("bodyparts: &a [snout, *a]\n", "more than 100000 values"),
        ("bodyparts: [snout]\nskeleton: '" + "[" * 100_000 + "'\n", "cannot read"),
        ("bodyparts: [" + "x, " * 20_001 + "]\n", "bodyparts: lists 20001 things; edgepose reads up to 20000"),
        pytest.param("bodyparts: [" + "x, " * 200_000 + "]\n", "more than 100000 values", marks=pytest.mark.slow),
        (
            "bodyparts: [" + ", ".join(f"x{i}" for i in range(201)) + "]\n",
            "has 201 keypoints; edgepose reads up to 200",
        ),
        ("bodyparts: [snout, " + "n" * 201 + "]\n", "has more than 200 letters"),
        ('bodyparts: ["sn\\e[31mout"]\n', "letters that cannot be printed"),
    ],
    ids=["aliases", "itself", "deep", "long list", "longer list", "keypoints", "name", "escape sequence"],
)
def test_a_config_that_costs_much_is_refused_soon(project, config, message):
    (project / "config.yaml").write_text(config, "utf-8")
    for csv in project.glob("labeled-data/*/*.csv"):
        csv.write_text(csv.read_text("utf-8").replace("snout", "x0"), "utf-8")
    with pytest.raises(DatasetError, match=message) as error:
        read_dataset(project)
    assert len(str(error.value)) < 1000


@pytest.mark.slow
def test_a_table_of_a_million_columns_is_refused(project):
    n = 1_000_000
    header = [level + cell * n for level, cell in (("scorer", ",Ann"), ("bodyparts", ",snout"), ("coords", ",x"))]
    label_file(project).write_text("\n".join(header) + "\n", "utf-8")
    with pytest.raises(DatasetError, match="has 1000000 columns; edgepose reads up to 20000"):
        read_dataset(project)
