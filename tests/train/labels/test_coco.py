"""COCO keypoints in the layouts that COCO, CVAT and other programs leave on a disk."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from dlc_project import write_image

from edgepose.errors import DatasetError
from edgepose_train.labels.reading import read_dataset

NAMES = ["snout", "leftear", "rightear"]
CATEGORY = {"id": 1, "name": "mouse", "supercategory": "", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}
POINTS = [10.25, 20.5, 2, 30.125, 5, 1, 0, 0, 0]


def annotation(number: int, image: int, keypoints: list[float] = POINTS, **more: object) -> dict:
    """Makes an annotation with the fields that COCO writes."""
    labelled = sum(v > 0 for v in keypoints[2::3])
    box = {"bbox": [10.25, 5, 19.875, 15.5], "area": 308.06, "segmentation": [], "iscrowd": 0}
    own = {"id": number, "image_id": image, "category_id": 1, "keypoints": keypoints, "num_keypoints": labelled}
    return own | box | more


def write_coco(path, files=("img0.png", "img1.png"), annotations=None, categories=(CATEGORY,)):
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        {"id": i, "width": 64, "height": 48, "file_name": name, "license": 0, "flickr_url": "", "coco_url": ""}
        for i, name in enumerate(files, 1)
    ]
    if annotations is None:
        annotations = [annotation(i, i) for i in range(1, len(entries) + 1)]
    data = {"licenses": [], "info": {}, "categories": list(categories), "images": entries, "annotations": annotations}
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def folder(tmp_path):
    for i in range(2):
        write_image(tmp_path / f"img{i}.png")
    return tmp_path


def test_labels_and_skeleton(folder):
    dataset = read_dataset(write_coco(folder / "mice.json"))
    assert dataset.name == "mice"
    assert dataset.skeleton.keypoints == tuple(NAMES)
    assert dataset.skeleton.edges == (("snout", "leftear"), ("snout", "rightear"))
    assert dataset.skeleton.flip_pairs == (("leftear", "rightear"),)
    assert dataset.problems == ()
    nan = math.nan
    for image in dataset.images:  # a keypoint that is not visible counts, as in COCO's own evaluation
        np.testing.assert_array_equal(image.xy_px, [[10.25, 20.5], [30.125, 5], [nan, nan]])
        np.testing.assert_array_equal(image.hidden_px, [[nan, nan], [30.125, 5], [nan, nan]])


@pytest.mark.parametrize(
    ("label_file", "written", "image"),
    [
        ("mice.json", "img0.png", "img0.png"),
        ("mice.json", "cage1/img0.png", "cage1/img0.png"),
        ("mice.json", "img0.png", "images/img0.png"),
        ("annotations/person_keypoints_default.json", "img0.png", "images/default/img0.png"),  # CVAT
        ("annotations/person_keypoints_default.json", "cage1/img0.png", "images/default/cage1/img0.png"),
        ("annotations/person_keypoints_train2017.json", "img0.png", "train2017/img0.png"),  # COCO
        ("annotations/person_keypoints_train2017.json", "img0.png", "images/train2017/img0.png"),
        ("result.json", "images\\img0.png", "images/img0.png"),  # exported on Windows
        ("result.json", "/data/upload/1/img0.png", "images/img0.png"),  # a server's path
        ("result.json", "/home/ann/maze/cage1/img0.png", "cage1/img0.png"),
    ],
)
def test_images_are_found_where_programs_put_them(tmp_path, label_file, written, image):
    write_image(tmp_path / image)
    dataset = read_dataset(write_coco(tmp_path / label_file, [written]))
    assert [found.path for found in dataset.images] == [tmp_path / image]
    assert dataset.images[0].video == (tmp_path / image).parent.name


def test_the_folder_of_an_export_is_enough(tmp_path):
    write_image(tmp_path / "images" / "default" / "img0.png")
    write_coco(tmp_path / "annotations" / "person_keypoints_default.json", ["img0.png"])
    assert len(read_dataset(tmp_path).images) == 1
    write_coco(tmp_path / "annotations" / "person_keypoints_other.json", ["img0.png"])
    with pytest.raises(DatasetError, match="several label files"):
        read_dataset(tmp_path)


def test_pairs_that_names_do_not_show(folder):
    category = CATEGORY | {"keypoints": ["a", "b", "c"], "flip_idx": [0, 2, 1]}
    assert read_dataset(write_coco(folder / "m.json", categories=[category])).skeleton.flip_pairs == (("b", "c"),)


def test_only_the_category_with_keypoints_counts(folder):
    others = [{"id": 7, "name": "box"}, {"id": 8, "name": "rat", "keypoints": ["nose"], "skeleton": []}]
    found = [annotation(1, 1), annotation(2, 2), {"id": 3, "image_id": 1, "category_id": 7, "bbox": [0, 0, 5, 5]}]
    dataset = read_dataset(write_coco(folder / "m.json", annotations=found, categories=[*others, CATEGORY]))
    assert len(dataset.images) == 2
    found.append(annotation(4, 2, [1, 1, 2], category_id=8))
    with pytest.raises(DatasetError, match=r"labels 2 categories \(rat, mouse\)"):
        read_dataset(write_coco(folder / "m.json", annotations=found, categories=[*others, CATEGORY]))


def test_what_cannot_be_used_is_left_out_and_reported(folder):
    nothing = annotation(3, 2, [0.0] * 9)
    crowd = annotation(4, 1, iscrowd=1)
    elsewhere = annotation(5, 99)
    found = [annotation(1, 1), nothing, crowd, elsewhere]
    dataset = read_dataset(write_coco(folder / "m.json", ["img0.png", "img1.png", "lost.png"], found))
    assert [image.path.name for image in dataset.images] == ["img0.png"]
    assert dataset.problems == (
        "1 annotation of images that the file does not list; left out",
        "1 image file missing, or outside the folder: lost.png",
        "1 image without any label; left out",
    )
    dataset = read_dataset(write_coco(folder / "m.json", annotations=[*found[:1], annotation(2, 1), annotation(3, 2)]))
    assert dataset.problems == ("1 image with several labelled animals, edgepose follows one; left out: img0.png",)


def test_an_edge_to_nowhere_is_reported(folder):
    path = write_coco(folder / "m.json", categories=[CATEGORY | {"skeleton": [[1, 2], [3, 4]]}])
    dataset = read_dataset(path)
    assert dataset.skeleton.edges == (("snout", "leftear"),)
    assert dataset.problems == ("m.json: skeleton edge rightear - 4 does not join two body parts; left out",)


def test_nan_is_not_labelled(folder):
    dataset = read_dataset(write_coco(folder / "m.json", annotations=[annotation(1, 1, [math.nan] * 2 + POINTS[2:])]))
    np.testing.assert_array_equal(np.isfinite(dataset.images[0].xy_px).all(axis=1), [False, True, False])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not COCO keypoints"),
        ('{"images": [', "not COCO keypoints"),
        ("[1, 2]", "not COCO keypoints"),
        ('{"images": []}', "missing required field `annotations`"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', r"`file_name` - at `\$.images\[0\]`"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "box"}]}', "no category has keypoints"),
        ("[" * 100_000, "not COCO keypoints"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text, message):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(DatasetError, match=message) as error:
        read_dataset(tmp_path / "m.json")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("annotations", "category", "message"),
    [
        ([annotation(1, 1, [1, 2, 2])], {}, r"annotations\[0\].keypoints: expected 3 numbers for each of 3 keypoints"),
        (None, {"flip_idx": [1, 2, 0]}, "flip_idx does not swap its 3 keypoints"),
        (None, {"flip_idx": [0, 5, 1]}, "flip_idx does not swap its 3 keypoints"),
        (None, {"keypoints": ["a", "a", "b"]}, "keypoint names repeat"),
    ],
)
def test_contradictions_are_one_line(folder, annotations, category, message):
    with pytest.raises(DatasetError, match=message):
        read_dataset(write_coco(folder / "m.json", annotations=annotations, categories=[CATEGORY | category]))


def sized(path, size_wh):
    data = json.loads(path.read_text())
    for entry in data["images"]:
        entry["width"], entry["height"] = size_wh
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("size_wh", [(32, 24), (128, 96), (33, 24), (31, 24)])
def test_labels_of_pictures_that_were_resized_are_scaled(tmp_path, size_wh):
    """The sides of a resized picture are rounded to whole pixels."""
    write_image(tmp_path / "img0.png")
    dataset = read_dataset(sized(write_coco(tmp_path / "l.json", ["img0.png"]), size_wh))
    scale = np.array([64, 48]) / size_wh
    np.testing.assert_allclose(dataset.images[0].xy_px[0], (np.array(POINTS[:2]) + 0.5) * scale - 0.5)
    np.testing.assert_allclose(dataset.images[0].hidden_px[1], (np.array(POINTS[3:5]) + 0.5) * scale - 0.5)
    assert dataset.problems[0].startswith("1 image resized since the labels were made; labels scaled to the pixels")


@pytest.mark.parametrize("size_wh", [(48, 64), (64, 64), (40, 48)])
def test_a_picture_that_was_turned_or_cut_is_left_out(tmp_path, size_wh):
    write_image(tmp_path / "img0.png")
    with pytest.raises(DatasetError, match="1 image turned, cut or another than the label file says"):
        read_dataset(sized(write_coco(tmp_path / "l.json", ["img0.png"]), size_wh))


@pytest.mark.parametrize("size_wh", [(None, None), (0, 0), ("64", "48"), (-1, 48)])
def test_a_size_that_is_none_is_not_compared(tmp_path, size_wh):
    write_image(tmp_path / "img0.png")
    assert read_dataset(sized(write_coco(tmp_path / "l.json", ["img0.png"]), size_wh)).problems == ()


def test_pictures_of_one_name_in_two_folders_do_not_share_one_that_is_here(tmp_path):
    write_image(tmp_path / "images" / "img0.png")
    path = write_coco(tmp_path / "l.json", ["left/img0.png", "right/img0.png"])
    with pytest.raises(DatasetError, match="2 files missing, as the one of that name here belongs to another"):
        read_dataset(path)
