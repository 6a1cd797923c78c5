"""`edgepose analyze`: its tables hold the estimator's poses, in DeepLabCut's layout."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd  # noqa: TID251  as DeepLabCut reads the files
import pytest
from clips import write_clip

from edgepose.camera.video_file import VideoFileSource
from edgepose.cli.main import main
from edgepose.inference.estimator import Estimator
from edgepose.protocol.codec import keypoints_of

COUNT, SIZE_WH = 12, (320, 240)
NAMES = ("snout", "leftear", "rightear", "tailbase")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "mouse.avi", COUNT, SIZE_WH)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("long") / "mouse.avi", 60, SIZE_WH)


@pytest.fixture(scope="module")
def poses(demo_model, clip):
    """The estimator's pose in every frame."""
    estimator = Estimator(demo_model)
    return [estimator.estimate(frame) for frame in VideoFileSource(clip)]


def analyze(*arguments) -> int:
    return main(["analyze", *map(str, arguments)])


def test_csv_has_deeplabcuts_header_and_every_digit(demo_model, clip, poses, tmp_path):
    assert analyze(demo_model, clip, "-o", tmp_path / "poses.csv") == 0
    with (tmp_path / "poses.csv").open(newline="") as file:
        scorer, bodyparts, coords, *rows = csv.reader(file)
    assert scorer == ["scorer", *[Estimator(demo_model, 1).model.id] * 12]
    assert bodyparts == ["bodyparts", *(name for name in NAMES for _ in range(3))]
    assert coords == ["coords", *["x", "y", "likelihood"] * 4]
    assert [row[0] for row in rows] == [str(i) for i in range(COUNT)]
    values = np.array([row[1:] for row in rows], np.float64).reshape(COUNT, 4, 3)
    np.testing.assert_array_equal(values[..., :2], [pose.xy_px for pose in poses])
    np.testing.assert_array_equal(values[..., 2], [pose.score for pose in poses])


def test_h5_reads_back_as_deeplabcut_reads_it(demo_model, clip, tmp_path):
    assert analyze(demo_model, clip, "-o", tmp_path / "poses.h5") == 0
    assert analyze(demo_model, clip, "-o", tmp_path / "poses.csv") == 0
    frame = pd.read_hdf(tmp_path / "poses.h5", "df_with_missing")
    assert frame.columns.names == ["scorer", "bodyparts", "coords"]
    assert frame.index.tolist() == list(range(COUNT))
    scorer = frame.columns.get_level_values("scorer")[0]
    assert frame[scorer]["tailbase"].columns.tolist() == ["x", "y", "likelihood"]
    from_csv = pd.read_csv(tmp_path / "poses.csv", header=[0, 1, 2], index_col=0)
    pd.testing.assert_frame_equal(frame, from_csv, check_exact=True, check_column_type=False)


def test_files_and_messages_agree(demo_model, clip, poses, tmp_path):
    """Messages are rounded, to 0.01 px."""
    assert analyze(demo_model, clip, "-o", tmp_path / "poses.csv") == 0
    table = pd.read_csv(tmp_path / "poses.csv", header=[1, 2], index_col=0)
    skeleton = Estimator(demo_model, 1).card.skeleton
    for i, pose in enumerate(poses):
        for name, keypoint in keypoints_of(pose, skeleton).items():
            assert table[name]["x"][i] == pytest.approx(keypoint.x, abs=0.0051)
            assert table[name]["y"][i] == pytest.approx(keypoint.y, abs=0.0051)


def test_overlay_shows_every_frame_with_its_pose(demo_model, clip, poses, tmp_path):
    overlay = tmp_path / "overlay.mp4"
    assert analyze(demo_model, clip, "-o", tmp_path / "poses.csv", "--overlay", overlay) == 0
    drawn, plain = list(VideoFileSource(overlay)), list(VideoFileSource(clip))
    assert len(drawn) == COUNT
    assert VideoFileSource(overlay).fps == pytest.approx(25.0)
    for one, other, pose in zip(drawn, plain, poses, strict=True):
        picture = one.image[: SIZE_WH[1]].astype(int)  # without the strip below it
        changed = np.abs(picture - other.image).max(axis=2) > 60
        for (x, y), score in zip(pose.xy_px.round().astype(int), pose.score, strict=True):
            if score >= 0.5 and 0 <= x < SIZE_WH[0] and 0 <= y < SIZE_WH[1]:
                assert changed[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].any()


def test_several_videos_get_their_own_files_and_a_bad_one_does_not_stop_the_others(demo_model, clip, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    second = write_clip(tmp_path / "second.avi", 5)
    status = analyze(demo_model, clip, tmp_path / "broken.mp4", second, "-o", tmp_path / "poses.csv")
    out, err = capsys.readouterr()
    assert status == 1
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["poses_mouse.csv", "poses_second.csv"]
    assert err.startswith("edgepose: ")
    assert "broken.mp4" in err
    assert len(err.splitlines()) == 1
    assert [line.split(" frames")[0] for line in out.splitlines()] == ["mouse.avi: 12", "second.avi: 5"]


@pytest.mark.parametrize(
    ("p_cutoff", "names"), [("1", "no keypoint ever reached a likelihood of 1"), ("between", "tailbase never reached")]
)
def test_keypoints_that_are_never_seen_are_named(demo_model, clip, poses, tmp_path, capsys, p_cutoff, names):
    highest = np.max([pose.score for pose in poses], axis=0)
    if p_cutoff == "between":
        order = np.argsort(highest)
        p_cutoff = str(highest[order[:2]].mean())
        names = names.replace("tailbase", NAMES[order[0]])
    assert analyze(demo_model, clip, "-o", tmp_path / "poses.csv", "--kinematics", "--p-cutoff", p_cutoff) == 0
    err = capsys.readouterr().err
    assert names in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "{}/poses.xlsx"], "use .csv, .h5, .parquet, .tidy.csv"),
        (["-o", "{}/poses"], "a file without ending"),
        (["-o", "{}/nowhere/poses.csv"], "there is no folder"),
        (["-o", "{}/poses.csv", "--overlay", "{}/overlay.avi"], "the overlay is an .mp4"),
        (["{}/again/mouse.avi", "-o", "{}/poses.csv"], "two of the videos"),
    ],
)
def test_wrong_usage_is_reported_before_any_work(demo_model, clip, tmp_path, capsys, options, message):
    assert analyze(demo_model, clip, *(option.format(tmp_path) for option in options)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_reported_before_any_work(tmp_path, lock, capsys):
    (tmp_path / "out").mkdir()
    lock(tmp_path / "out")
    assert analyze("no.tflite", "no.mp4", "-o", tmp_path / "out" / "poses.csv") == 2
    assert "poses.csv: cannot write into its folder (Permission denied)" in capsys.readouterr().err


def test_opencv_leaves_the_cores_to_the_interpreter(demo_model):
    cv2.setNumThreads(4)
    Estimator(demo_model, 1)
    assert cv2.getNumThreads() == 1


def test_an_overlay_never_overwrites_its_video(demo_model, tmp_path, capsys):
    video = tmp_path / "mouse.mp4"
    video.write_bytes(b"precious")
    assert analyze(demo_model, video, "-o", tmp_path / "poses.csv", "--overlay", video) == 2
    assert video.read_bytes() == b"precious"


@pytest.mark.parametrize(("ending", "module"), [("h5", "h5py"), ("parquet", "pyarrow")])
def test_what_is_not_installed_is_named(demo_model, clip, tmp_path, monkeypatch, capsys, ending, module):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    assert analyze(demo_model, clip, "-o", tmp_path / f"poses.{ending}") == 1
    extra = {"h5": "h5", "parquet": "collect"}[ending]
    expected = (
        f"edgepose: {tmp_path}/poses.{ending}: writing .{ending} needs {module}; pip install 'edgepose[{extra}]'\n"
    )
    assert capsys.readouterr().err == expected


def test_parquet_has_plain_columns(demo_model, clip, poses, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    assert analyze(demo_model, clip, "-o", tmp_path / "poses.parquet") == 0
    table = parquet.read_table(tmp_path / "poses.parquet").to_pydict()
    assert table["frame"] == list(range(COUNT))
    assert table["animal"] == ["1"] * COUNT
    assert table["tailbase_y"] == [float(pose.xy_px[3, 1]) for pose in poses]


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_nothing(demo_model, clip, tmp_path, capsys):
    (tmp_path / "poses.csv").mkdir()
    assert analyze(demo_model, clip, "-o", tmp_path / "poses.csv") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["poses.csv"]


def test_an_overlay_that_does_not_fit_on_the_disk_is_reported_and_the_poses_are_kept(
    demo_model, long_clip, tmp_path, full_disk, capsys
):
    assert analyze(demo_model, long_clip, "-o", tmp_path / "poses.csv", "--overlay", tmp_path / "overlay.mp4") == 1
    err = capsys.readouterr().err
    assert "overlay.mp4: cannot write (File too large); make room" in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["poses.csv"]


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_file(demo_model, tmp_path):
    video = write_clip(tmp_path / "long.avi", 60, (640, 480))
    command = [sys.executable, "-m", "edgepose", "analyze", demo_model, video, "-o", tmp_path / "poses.csv"]
    with subprocess.Popen([*command, "--overlay", tmp_path / "overlay.mp4"], stderr=subprocess.DEVNULL) as running:
        while running.poll() is None and not (tmp_path / ".overlay.part.mp4").exists():
            time.sleep(0.005)
        running.kill()
    assert running.returncode == -9
    assert not (tmp_path / "overlay.mp4").exists()
    assert len((tmp_path / "poses.csv").read_text().splitlines()) == 3 + 60  # saved before the overlay is begun


def test_csv_needs_neither_pandas_nor_tensorflow(demo_model, clip, tmp_path):
    code = (
        "import sys; from edgepose.cli.main import main; status = main(sys.argv[1:]); "
        "assert not {'pandas', 'tensorflow', 'edgepose_train'} & set(sys.modules); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "analyze", demo_model, clip, "-o", tmp_path / "poses.csv"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
