"""`edgepose-train convert`: there and back, every coordinate and every picture stays the same to the last bit."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd  # noqa: TID251  as DeepLabCut reads its files
import pytest
import sleap_io
import yaml
from dlc_project import write_csv, write_image
from slp_file import USER, embed, embedded, image_files, media
from slp_file import write_slp as write_sleap_layout

from edgepose_train.cli import main
from edgepose_train.labels.dataset import Dataset
from edgepose_train.labels.frame_identity import frame_identity
from edgepose_train.labels.images import read_image
from edgepose_train.labels.reading import read_dataset

NAMES = ("snout", "leftear", "rightear", "tail")
KINDS = ["maze-Ann-2024-05-01", "maze.slp", "maze.pkg.slp", "maze.json"]


@pytest.fixture
def project(tmp_path) -> Path:
    """Makes two videos with images of the same names and two sizes, missing labels, an image without labels, and
    numbers that 32 bits cannot hold."""
    root = tmp_path / "maze"
    rng = np.random.default_rng(5)
    for video, size_wh, suffix in (("cage1", (64, 48), ".png"), ("cage2", (80, 60), ".jpg")):
        images = [write_image(root / "labeled-data" / video / f"img{i:03}{suffix}", size_wh) for i in range(5)]
        xy = rng.uniform(0, 48, (5, 4, 2))
        xy[1, 2] = xy[3, 0] = np.nan
        xy[4] = np.nan
        rows = [["labeled-data", video, image.name] for image in images]
        write_csv(root / "labeled-data" / video / "CollectedData_Ann.csv", rows, xy, names=NAMES)
    config = {"Task": "maze", "scorer": "Ann", "bodyparts": list(NAMES), "skeleton": [["snout", "tail"]]}
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    return root


@pytest.fixture
def convert(capsys, monkeypatch):
    """convert(source, destination) -> (exit status, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(source, destination):
        status = main(["convert", str(source), str(destination)])
        return status, *capsys.readouterr()

    return run


def assert_same(before: Dataset, after: Dataset) -> None:
    assert after.skeleton == before.skeleton
    old, new = ({(i.video, i.path.name): i for i in dataset.images} for dataset in (before, after))
    assert new.keys() == old.keys()
    for key, image in old.items():
        np.testing.assert_array_equal(new[key].xy_px, image.xy_px)
        assert frame_identity(new[key].path) == frame_identity(image.path)


def read(path: Path) -> Dataset:
    return read_dataset(path, keep_unlabelled=True)


@pytest.mark.parametrize("route", list(itertools.permutations(KINDS, 2)), ids=" ".join)
def test_every_way_round_is_lossless(project, tmp_path, convert, route):
    """Converts from DeepLabCut to one format, to another, and back to DeepLabCut."""
    source = project
    for step, name in enumerate((*route, "back-Ann-2024-05-01")):
        destination = tmp_path / str(step) / name
        status, out, err = convert(source, destination)
        assert (status, err) == (0, "")
        assert "10 images, 28 labels" in out
        source = destination
    assert_same(read(project), read(source))
    assert not list(tmp_path.rglob("*.part*"))


def test_what_deeplabcut_gets(project, tmp_path, convert):
    convert(project, tmp_path / "m.json")
    root = tmp_path / "maze-Ann-2024-05-01"
    convert(tmp_path / "m.json", root)
    config = yaml.safe_load((root / "config.yaml").read_text())
    assert (config["Task"], config["scorer"], config["skeleton"]) == ("maze", "Ann", [["snout", "tail"]])
    assert {Path(video).stem for video in config["video_sets"]} == {"cage1", "cage2"}
    stem = root / "labeled-data" / "cage2" / "CollectedData_Ann"
    table = pd.read_csv(stem.with_suffix(".csv"), header=[0, 1, 2], index_col=[0, 1, 2])
    pd.testing.assert_frame_equal(pd.read_hdf(stem.with_suffix(".h5"), "df_with_missing"), table, check_names=False)
    assert table.index[0] == ("labeled-data", "cage2", "img000.jpg")


def test_what_sleap_gets(project, tmp_path, convert):
    convert(project, tmp_path / "m.pkg.slp")
    labels = sleap_io.load_slp(str(tmp_path / "m.pkg.slp"))
    assert labels.skeleton.node_names == list(NAMES)
    assert labels.skeleton.symmetry_names == [("leftear", "rightear")]
    assert [len(frame.instances) for frame in labels] == [1, 1, 1, 1, 0] * 2
    frame = next(frame for frame in labels if frame.video.shape[1] == 60)
    source = project / "labeled-data" / "cage2" / "img000.jpg"
    np.testing.assert_array_equal(frame.image, read_image(source)[..., ::-1])


def test_what_coco_gets(project, tmp_path, convert):
    convert(project, tmp_path / "m.json")
    data = json.loads((tmp_path / "m.json").read_text())
    assert data["categories"][0]["skeleton"] == [[1, 4]]
    assert [len(data["images"]), len(data["annotations"])] == [10, 8]
    entry = data["images"][1]
    assert entry == {"id": 2, "width": 64, "height": 48, "file_name": "m-images/cage1/img001.png"}
    found = next(annotation for annotation in data["annotations"] if annotation["image_id"] == 2)
    assert found["keypoints"][6:9] == [0, 0, 0]
    assert found["num_keypoints"] == 3
    xy = np.array(found["keypoints"]).reshape(-1, 3)[[0, 1, 3], :2]
    np.testing.assert_allclose(found["bbox"], [*xy.min(axis=0), *np.ptp(xy, axis=0)])


# --- what not every format can hold ------------------------------------------------------------------------


def coco_with_everything(path: Path) -> Path:
    """Writes visible, hidden and missing keypoints, and pairs that the names do not show."""
    write_image(path.with_name("img0.png"))
    category = {"id": 1, "name": "fly", "keypoints": ["a", "b", "c", "d"], "skeleton": [[4, 1], [1, 2]]}
    keypoints = [1.1, 2.2, 2, 3.3, 4.4, 1, 5.5, 6.6, 2, 0, 0, 0]
    data = {
        "categories": [category | {"flip_idx": [0, 2, 1, 3]}],
        "images": [{"id": 1, "file_name": "img0.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": keypoints}],
    }
    path.write_text(json.dumps(data))
    return path


def coco_facts(path: Path) -> tuple:
    data = json.loads(path.read_text())
    category, annotation = data["categories"][0], data["annotations"][0]
    return category["keypoints"], category["skeleton"], category["flip_idx"], annotation["keypoints"]


def test_visibility_and_pairs_survive_sleap(tmp_path, convert):
    path = coco_with_everything(tmp_path / "fly.json")
    _, out, _ = convert(path, tmp_path / "fly.pkg.slp")
    assert "note: 1 keypoint marked as not visible: SLEAP does not learn from them, COCO's tools do" in out
    points = sleap_io.load_slp(str(tmp_path / "fly.pkg.slp"))[0].instances[0].points
    assert points["visible"].tolist() == [True, False, True, False]
    _, out, _ = convert(tmp_path / "fly.pkg.slp", tmp_path / "back.json")
    assert "note: 1 keypoint marked as not visible: COCO's tools learn from them, SLEAP does not" in out
    assert coco_facts(tmp_path / "back.json") == coco_facts(path)


def test_what_deeplabcut_cannot_hold_is_reported(tmp_path, convert):
    path = coco_with_everything(tmp_path / "fly.json")
    _, out, _ = convert(path, tmp_path / "fly")
    assert "note: 1 keypoint marked as not visible: DeepLabCut has no such mark; ordinary labels now" in out
    assert "note: left/right pairs that the names do not show: DeepLabCut cannot hold b/c" in out
    assert np.isfinite(read_dataset(tmp_path / "fly").images[0].xy_px).all(axis=1).tolist() == [True, True, True, False]
    convert(path, tmp_path / "fly.slp")
    _, out, _ = convert(tmp_path / "fly.slp", tmp_path / "fly2")
    assert "note: 1 keypoint marked as not visible, positions too: not labelled in DeepLabCut" in out


def test_frames_of_a_video_become_images(tmp_path, convert):
    writer = cv2.VideoWriter(str(tmp_path / "session1.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for i in range(12):
        writer.write(np.full((48, 64, 3), 20 * i, np.uint8))
    writer.release()
    xy = np.random.default_rng(0).uniform(0, 40, (4, 2))
    frames = [(0, i, [(USER, xy + i)]) for i in (3, 11)]
    path = write_sleap_layout(tmp_path / "l.slp", [media("/lost/session1.avi")], frames)
    for name in ("maze", "m.json", "l.pkg.slp", "maze2.slp"):
        assert convert(path, tmp_path / name)[0] == 0
    shutil.move(tmp_path / "session1.avi", tmp_path / "gone.avi")
    capture = cv2.VideoCapture(str(tmp_path / "gone.avi"))
    pictures = [capture.read()[1] for _ in range(12)]
    for name in ("maze", "m.json", "l.pkg.slp", "maze2.slp"):
        images = read_dataset(tmp_path / name).images
        assert [(image.video, image.path.name) for image in images] == [
            ("session1", "img03.png"),
            ("session1", "img11.png"),
        ]
        for image, i in zip(images, (3, 11), strict=True):
            np.testing.assert_array_equal(read_image(image.path), pictures[i])
            np.testing.assert_array_equal(image.xy_px, xy + i)


def test_images_with_swapped_colours_inside_a_package_come_out_right(tmp_path, convert):
    bgr = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    path = write_sleap_layout(tmp_path / "l.pkg.slp", [embedded(0)], [(0, 5, [(USER, np.ones((4, 2)))])])
    embed(path, 0, [cv2.imencode(".png", bgr[..., ::-1])[1].tobytes()], [5], media("session1.mp4"))
    convert(path, tmp_path / "maze")
    picture = tmp_path / "maze" / "labeled-data" / "session1" / "img5.png"
    np.testing.assert_array_equal(cv2.imread(str(picture)), bgr)


def test_images_of_one_name_are_all_kept(tmp_path, convert):
    for folder in ("left/cage1", "right/cage1"):
        write_image(tmp_path / folder / "img0.png")
    entries = [{"id": i, "file_name": f"{side}/cage1/img0.png"} for i, side in enumerate(("left", "right"))]
    found = [{"image_id": i, "category_id": 1, "keypoints": [1 + i, 1, 2]} for i in range(2)]
    data = {"images": entries, "annotations": found, "categories": [{"id": 1, "keypoints": ["nose"]}]}
    (tmp_path / "m.json").write_text(json.dumps(data))
    convert(tmp_path / "m.json", tmp_path / "maze")
    dataset = read_dataset(tmp_path / "maze")
    assert {image.path.name: image.xy_px[0, 0] for image in dataset.images} == {"img0.png": 1, "img0-2.png": 2}
    assert len({frame_identity(image.path) for image in dataset.images}) == 2


# --- what exists is not changed ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_written_over(project, tmp_path, convert, name):
    convert(project, tmp_path / name)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    status, out, err = convert(project, tmp_path / name)
    assert (status, out) == (2, "")
    assert "is already there; give another name" in err
    assert len(err.splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", ["out.csv", "out.h5", "out.xyz", "out.jsn"])
def test_an_ending_that_is_no_format_is_refused(project, tmp_path, convert, name):
    status, _, err = convert(project, tmp_path / name)
    assert status == 2
    assert "give a .slp, .pkg.slp or .json file, or a folder for a DeepLabCut project" in err
    assert not list(tmp_path.glob("out*"))


def test_neither_is_a_folder_of_images(project, tmp_path, convert):
    (tmp_path / "out-images").mkdir()
    (tmp_path / "out-images" / "mine.png").write_bytes(b"mine")
    status, _, err = convert(project, tmp_path / "out.json")
    assert status == 2
    assert "out-images: is already there" in err
    assert not (tmp_path / "out.json").exists()


def test_an_empty_folder_may_be_filled(project, tmp_path, convert):
    (tmp_path / "new").mkdir()
    assert convert(project, tmp_path / "new")[0] == 0
    assert_same(read(project), read(tmp_path / "new"))


@pytest.mark.parametrize("name", ["labels.csv", "labels.h5", "config.yaml"])
def test_an_ending_of_no_format_is_one_line(project, tmp_path, convert, name):
    status, _, err = convert(project, tmp_path / name)
    assert status == 2
    assert "give a .slp, .pkg.slp or .json file, or a folder" in err
    assert not (tmp_path / name).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="/dev/full")
@pytest.mark.parametrize("name", KINDS)
def test_where_it_cannot_be_written_nothing_is_left(project, tmp_path, convert, name):
    (tmp_path / "file").write_text("in the way")
    status, _, err = convert(project, tmp_path / "file" / name)
    assert status == 1
    assert "cannot write" in err
    assert len(err.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"maze", "file"}


def test_an_unreadable_source_is_one_line(tmp_path, convert):
    (tmp_path / "l.slp").write_bytes(b"\x89HDF")
    status, out, err = convert(tmp_path / "l.slp", tmp_path / "new")
    assert (status, out) == (1, "")
    assert "cannot read as a SLEAP file" in err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_public_project_survives(reaching, tmp_path, convert):
    source = reaching
    for destination in ("a.pkg.slp", "b.json"):
        assert convert(source, tmp_path / destination)[0] == 0
        source = tmp_path / destination
    assert_same(read(reaching), read(source))


def test_files_from_elsewhere_are_named(tmp_path, convert):
    """A SLEAP file of somebody else can name any picture of this computer."""
    image = write_image(tmp_path / "private.png")
    folder = tmp_path / "a" / "b" / "c" / "d"
    folder.mkdir(parents=True)
    write_sleap_layout(folder / "l.slp", [image_files([str(image)])], [(0, 0, [(USER, np.ones((4, 2)))])])
    status, out, err = convert(folder / "l.slp", tmp_path / "maze")
    assert status == 0
    assert f"1 file from outside {tmp_path / 'a'}; check that they may be passed on: {image}" in out + err
