"""`edgepose-train inspect`: a summary that people read, and an exit status and JSON that a script can use."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from dlc_project import label_file, labels, write_csv, write_image, write_project

from edgepose.camera.synthetic.mouse import SKELETON, Mouse
from edgepose_train.cli import main
from edgepose_train.labels.dataset import FEWEST_IMAGES
from edgepose_train.labels.reading import read_dataset
from edgepose_train.labels.summary import summarise

NOT_LABELS = "this is not a label file (.csv, .h5, .slp, .json); give one, or the folder of a DeepLabCut project"


@pytest.fixture
def inspect(capsys, monkeypatch):
    """inspect(*arguments) -> (exit status, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        status = main(["inspect", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_says_what_is_there(tmp_path, inspect):
    root = write_project(tmp_path, count=5, config="skeleton: [[snout, leftear]]")
    status, out, err = inspect(root)
    assert (status, err) == (0, "")
    for fact in ("maze", "64x48", "colour", "cage1", "leftear/rightear", "snout-leftear", "only 5 images"):
        assert fact in out
    assert [line.split() for line in out.splitlines() if line.startswith("rightear")] == [["rightear", "5", "0%"]]


def test_json_holds_what_the_table_shows(tmp_path, inspect):
    root = write_project(tmp_path / "maze", count=5, config="skeleton: [[snout, leftear]]")
    status, out, err = inspect(root, "--json", "-")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report["can_be_trained_on"]
    assert report["warnings"] == ["only 5 images; label 50 or more"]
    assert report["keypoints"] == {"snout": 5, "leftear": 5, "rightear": 5}
    assert report["sizes_wh"] == [{"size_wh": [64, 48], "n_images": 5}]
    assert (report["n_images"], report["n_different"], report["edges"]) == (5, 5, [["snout", "leftear"]])
    _, table, _ = inspect(root, "--json", tmp_path / "report.json")
    assert "64x48" in table
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == report
    status, out, err = inspect(root, "--json", tmp_path / "report.json")
    assert (status, out) == (2, "")
    assert "exists already" in err
    assert inspect(root, "--json", tmp_path / "report.json", "--force")[0] == 0


def test_numbers_behind_the_summary(tmp_path):
    root = write_project(tmp_path, count=3)
    write_image(root / "labeled-data" / "cage1" / "img001.png", (40, 30), grey=True)
    values = np.array(
        [
            [[10.0, 10], [30, 20], [np.nan, np.nan]],
            [[-1.0, 5], [9, 5], [39.4, 5]],
            [[0.0, 0], [0, 30], [np.nan, np.nan]],
        ]
    )
    rows = [[f"labeled-data/cage1/img{i:03}.png"] for i in range(3)]
    write_csv(root / "labeled-data" / "cage1" / "CollectedData_Ann.csv", rows, values)
    summary = summarise(read_dataset(root))
    assert summary.labels.sum(axis=0).tolist() == [3, 3, 1]
    assert summary.sizes_wh == {(64, 48): 2, (40, 30): 1}
    assert summary.n_grey == 1
    assert summary.animal_px == 30  # of 20, 40.4 and 30
    assert summary.outside == ("snout in cage1/img001.png",)  # 39.4 lies within the last pixel


def test_problems_are_shown_but_do_not_stop(tmp_path, inspect):
    root = write_project(tmp_path, count=6)
    (root / "labeled-data" / "cage1" / "img002.png").unlink()
    status, out, _ = inspect(root)
    assert status == 0
    assert "problem: 1 image file missing, or outside the folder: labeled-data/cage1/img002.png" in out
    assert "with a warning" in out


def test_too_few_images_cannot_be_trained_on(tmp_path, inspect):
    status, out, _ = inspect(write_project(tmp_path, count=FEWEST_IMAGES - 1))
    assert status == 1
    assert f"Cannot be trained on: {FEWEST_IMAGES - 1} different images cannot be split" in out


def test_copies_of_an_image_count_once(tmp_path, inspect):
    """`fit` counts them so, because all copies go to the same part of the split."""
    root = write_project(tmp_path, count=FEWEST_IMAGES)
    folder = root / "labeled-data" / "cage1"
    shutil.copy(folder / "img000.png", folder / "img001.png")
    status, out, _ = inspect(root)
    assert status == 1
    assert f"{FEWEST_IMAGES - 1} different images" in out


def test_a_keypoint_nobody_labelled_is_warned_of(tmp_path, inspect):
    root = write_project(tmp_path, count=5)
    values = labels(5)
    values[:, 2] = np.nan
    rows = [[f"labeled-data/cage1/img{i:03}.png"] for i in range(5)]
    write_csv(root / "labeled-data" / "cage1" / "CollectedData_Ann.csv", rows, values)
    status, out, _ = inspect(root)
    assert status == 0
    assert "with a warning" in out
    assert "no label at all for rightear, so it cannot be learnt" in " ".join(out.split())


def test_planted_faults_are_named(tmp_path, inspect):
    """Frame and keypoint are named, so that people can check them, and nothing is named that was not planted."""
    mouse = Mouse(3, (640, 480))
    values = np.stack([mouse.truth(index) for index in range(0, 1200, 40)]).astype(np.float64)
    values[4, [1, 2]] = values[4, [2, 1]]
    values[9, 3] = [700.0, 30.0]
    values[13, 0] = values[13, 0] + 300 * np.sign(320 - values[13, 0])
    values[21] = values[20] + [3.0, 4.0]
    names = (*SKELETON.keypoints, "tailtip")
    values = np.concatenate([values, np.full((30, 1, 2), np.nan)], axis=1)
    folder = tmp_path / "labeled-data" / "cage1"
    images = [write_image(folder / f"img{i:03}.png", (640, 480), grey=True) for i in range(30)]
    picture = cv2.imread(str(images[20]), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(images[21]), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])  # the same picture, not the same file
    rows = [["labeled-data", "cage1", image.name] for image in images]
    write_csv(folder / "CollectedData_Ann.csv", rows, values, names=names)
    status, out, _ = inspect(tmp_path)
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("problem:")] == [
        "problem: 1 label outside the image: tailbase in cage1/img009.png",
        "problem: 1 left/right pair probably swapped, please check: leftear/rightear in cage1/img004.png",
        "problem: 2 labels far from all others, please check: tailbase in cage1/img009.png, snout in cage1/img013.png",
        "problem: 1 picture there more than once: cage1/img020.png = cage1/img021.png (labels up to 5.0 px apart)",
    ]
    assert "no label at all for tailtip" in " ".join(out.split())


def test_faults_are_named_in_every_format(tmp_path, inspect):
    (tmp_path / "maze").mkdir()
    root = write_project(tmp_path / "maze", count=6)
    values = labels(6)
    values[2, 1] = [64.0, 5.0]
    write_csv(label_file(root), [[f"labeled-data/cage1/img{i:03}.png"] for i in range(6)], values)
    for name in ("maze.slp", "maze.pkg.slp", "maze.json"):
        assert main(["convert", str(root), str(tmp_path / name)]) == 0
        _, out, _ = inspect(tmp_path / name)
        assert "problem: 1 label outside the image: leftear in cage1/img002.png" in out


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("", "give a DeepLabCut project or a label file"),
        ("cage.mp4", NOT_LABELS),
        ("model.tflite", NOT_LABELS),
        ("config.yaml", "give the folder of the project, which is {folder}"),
    ],
)
def test_an_unreadable_data_set_is_one_line(tmp_path, inspect, name, advice):
    (tmp_path / "cage.mp4").write_bytes(b"\0\0\0 ftypisom")
    (tmp_path / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    (tmp_path / "config.yaml").write_text("bodyparts: [snout]\n")
    status, out, err = inspect(tmp_path / name)
    assert (status, out) == (1, "")
    assert err.startswith("edgepose-train inspect: ")
    assert err.endswith(advice.format(folder=tmp_path) + "\n")
    assert len(err.splitlines()) == 1


def test_a_full_disk_is_one_line(tmp_path):
    command = f"{sys.executable} -m edgepose_train.cli inspect {write_project(tmp_path)} > /dev/full"
    done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "edgepose-train inspect: output: No space left on device\n"


def test_names_with_brackets_are_no_markup(tmp_path, inspect):
    status, out, _ = inspect(write_project(tmp_path, video="cage[red]", count=5))
    assert status == 0
    assert "cage[red]" in out


def test_help_and_inspect_do_not_load_tensorflow(tmp_path):
    code = (
        "import sys; from edgepose_train.cli import main; status = main(['inspect', sys.argv[1]]); "
        "assert not {'tensorflow', 'pandas'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, write_project(tmp_path, count=5)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("argv", "text"), [(["--help"], "inspect"), (["inspect", "--help"], "example:")])
def test_help_shows_an_example(argv, text, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(argv)
    assert leaving.value.code == 0
    assert text in capsys.readouterr().out
