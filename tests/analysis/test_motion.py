"""`edgepose analyze` makes tables, plots and overlays of the poses; their own table stays as the model gave it."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd  # noqa: TID251  as DeepLabCut reads the files
import pytest
from clips import encode, write_clip
from pose_tables import pose_table, values_of_tidy

from edgepose.analysis.overlay_video import draw_overlay
from edgepose.camera.synthetic.scene import Scene
from edgepose.camera.video_file import VideoFileSource
from edgepose.cli.main import main
from edgepose.errors import CameraError
from edgepose.pose.animal_size import animal_side_px
from edgepose.pose.smoothing import smooth
from edgepose.video.video_reader import VideoReader

COUNT, SIZE_WH, FPS = 30, (320, 240), 25.0
CUTOFF = 0.7  # some of the clip's keypoints are below it, most are not
ALL = ("--smooth", "kalman", "--trails", "0.4", "--p-cutoff", str(CUTOFF), "--kinematics", "--px-per-cm", "10")
ZONES = "left: [[0, 0], [160, 0], [160, 240], [0, 240]]\nright: [[160, 0], [320, 0], [320, 240], [160, 240]]\n"


def analyze(*arguments) -> int:
    return main(["analyze", *map(str, arguments)])


def values_of(path: Path) -> np.ndarray:
    """(N, K, 3) of a table, as pandas reads DeepLabCut's CSV."""
    return pd.read_csv(path, header=[0, 1, 2], index_col=0).to_numpy(np.float64).reshape(COUNT, -1, 3)


def values_of_h5(path: Path) -> np.ndarray:
    return pd.read_hdf(path).to_numpy(np.float64).reshape(COUNT, -1, 3)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "mouse.avi", COUNT, SIZE_WH)


@pytest.fixture(scope="module")
def plain(demo_model, clip, tmp_path_factory) -> Path:
    """The folder of an analysis without any of the options."""
    folder = tmp_path_factory.mktemp("plain")
    assert analyze(demo_model, clip, "-o", folder / "poses.csv", "--overlay", folder / "overlay.mp4") == 0
    return folder


@pytest.fixture(scope="module")
def done(demo_model, clip, tmp_path_factory) -> Path:
    """The folder of an analysis with all of them."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "zones.yaml").write_text(ZONES, encoding="utf-8")
    outputs = ["-o", folder / "poses.csv", "--overlay", folder / "overlay.mp4", "--plots", folder / "plots"]
    assert analyze(demo_model, clip, *outputs, *ALL, "--zones", folder / "zones.yaml") == 0
    return folder


def smoothed_by_hand(raw: np.ndarray, method) -> np.ndarray:
    xy = np.where(raw[..., 2:] >= CUTOFF, raw[..., :2], np.nan)
    return smooth(xy, np.arange(COUNT) / FPS, method, 0.5, animal_side_px(xy))


# --- tables ------------------------------------------------------------------------------------------------


def test_the_table_is_the_same_with_and_without_and_all_files_are_there(plain, done):
    assert (done / "poses.csv").read_bytes() == (plain / "poses.csv").read_bytes()
    assert sorted(str(path.relative_to(done)) for path in done.rglob("*") if path.is_file()) == [
        "overlay.mp4",
        *(f"plots/poses_{name}.{ending}" for name in ("occupancy", "speed", "trajectory") for ending in ("png", "svg")),
        "poses.csv",
        "poses_kinematics.csv",
        "poses_smoothed.csv",
        "poses_zones.csv",
        "zones.yaml",
    ]


def test_the_smoothed_table_is_laid_out_as_the_raw_one_and_keeps_its_likelihood(done):
    raw, smoothed = values_of(done / "poses.csv"), values_of(done / "poses_smoothed.csv")
    np.testing.assert_array_equal(smoothed[..., 2], raw[..., 2])
    np.testing.assert_array_equal(smoothed[..., :2], smoothed_by_hand(raw, "kalman"))
    assert 0 < np.nanmedian(np.linalg.norm(smoothed[..., :2] - raw[..., :2], axis=2)) < 5
    heads = [(done / f"poses{which}.csv").read_text().splitlines()[:3] for which in ("", "_smoothed")]
    assert heads[0] == heads[1]


@pytest.mark.parametrize("method", ["median", "one-euro"])
def test_the_other_filters(demo_model, clip, plain, tmp_path, method):
    assert analyze(demo_model, clip, "-o", tmp_path / "p.csv", "--smooth", method, "--p-cutoff", CUTOFF) == 0
    expected = smoothed_by_hand(values_of(plain / "poses.csv"), method)
    np.testing.assert_array_equal(values_of(tmp_path / "p_smoothed.csv")[..., :2], expected)


@pytest.mark.parametrize("ending", ["h5", "parquet"])
def test_other_formats_of_the_smoothed_table(demo_model, clip, done, tmp_path, ending):
    out = tmp_path / f"poses.{ending}"
    assert analyze(demo_model, clip, "-o", out, "--smooth", "kalman", "--p-cutoff", CUTOFF, "--kinematics") == 0
    path = tmp_path / f"poses_smoothed.{ending}"
    found = values_of_h5(path) if ending == "h5" else values_of_tidy(pd.read_parquet(path))
    np.testing.assert_array_equal(found, values_of(done / "poses_smoothed.csv").astype(found.dtype))
    tidy = tmp_path / ("poses_kinematics.csv" if ending == "h5" else "poses_kinematics.parquet")
    read = pd.read_csv(tidy) if ending == "h5" else pd.read_parquet(tidy)
    assert read["frame"].tolist() == list(range(COUNT))


def test_a_scale_gives_our_own_tables_millimetres(demo_model, tmp_path):
    clip = write_clip(tmp_path / "mouse.avi", 3, SIZE_WH)
    assert analyze(demo_model, clip, "-o", tmp_path / "p.tidy.csv", "--px-per-cm", "20", "--smooth", "median") == 0
    for name in ("p.tidy.csv", "p_smoothed.tidy.csv"):
        table = pd.read_csv(tmp_path / name)
        assert table["video"].tolist() == ["mouse.avi"] * 3
        np.testing.assert_allclose(table["tailbase_x_mm"], table["tailbase_x"] / 2, rtol=1e-6)


@pytest.mark.slow
def test_what_was_never_seen_stays_unknown_everywhere(demo_model, clip, plain, tmp_path):
    (tmp_path / "zones.yaml").write_text(ZONES, encoding="utf-8")
    outputs = ["-o", tmp_path / "poses.csv", "--overlay", tmp_path / "o.mp4", "--plots", tmp_path]
    options = ["--smooth", "kalman", "--trails", "1", "--kinematics", "--zones", tmp_path / "zones.yaml"]
    assert analyze(demo_model, clip, *outputs, *options, "--p-cutoff", "1") == 0
    assert (tmp_path / "poses.csv").read_bytes() == (plain / "poses.csv").read_bytes()
    with (tmp_path / "poses_smoothed.csv").open(newline="") as file:
        *_, last = csv.reader(file)
    assert last[1:3] == ["", ""]
    assert float(last[3]) > 0
    drawn, original = (list(VideoFileSource(path)) for path in (tmp_path / "o.mp4", clip))
    for one, other in zip(drawn, original, strict=True):
        picture = one.image[: SIZE_WH[1]].astype(int)  # without the strip below it
        assert np.abs(picture - other.image).mean() < 4  # no pose is in it


def test_kinematics_are_tidy(done):
    table = pd.read_csv(done / "poses_kinematics.csv")
    assert table.columns[:6].tolist() == ["video", "frame", "slot", "animal", "t_s", "centre_x_mm"]
    assert [name for name in table.columns[5:] if not name.endswith(("_mm", "_mm_s", "_deg"))] == []
    assert table["frame"].tolist() == list(range(COUNT))
    np.testing.assert_allclose(table["t_s"], np.arange(COUNT) / FPS)


def test_measures_and_zones_have_the_times_of_an_uneven_video(demo_model, tmp_path):
    times_s = [i / 30 if i < 15 else 0.5 + (i - 15) / 10 for i in range(30)]
    scene = Scene(0, SIZE_WH)
    video = encode(tmp_path / "a.mp4", times_s, images=[scene.render(i).copy() for i in range(30)])
    zones = tmp_path / "zones.yaml"
    zones.write_text("all: [[-1, -1], [400, -1], [400, 400], [-1, 400]]\n")
    out = [
        "-o",
        tmp_path / "o.csv",
        "--kinematics",
        "--p-cutoff",
        "0",
        "--zones",
        zones,
        "--overlay",
        tmp_path / "o.mp4",
    ]
    assert analyze(demo_model, video, *out) == 0
    assert pd.read_csv(tmp_path / "o_kinematics.csv")["t_s"].tolist() == pytest.approx(times_s, abs=1e-4)
    assert pd.read_csv(tmp_path / "o_zones.csv")["time_s"].sum() == pytest.approx(1.9 + 1 / 30, abs=1e-3)
    shown = VideoReader(tmp_path / "o.mp4")
    assert [shown.time_s for _ in shown] == pytest.approx(times_s, abs=1e-4)
    assert analyze(demo_model, video, *out, "--fps", "60", "--force") == 0
    assert pd.read_csv(tmp_path / "o_kinematics.csv")["t_s"].tolist() == pytest.approx(np.arange(30) / 60)


def test_a_keypoint_may_stand_for_the_animal(demo_model, clip, tmp_path, capsys):
    out = ["-o", tmp_path / "o.csv", "--kinematics", "--plots", tmp_path / "plots", "--centre"]
    assert analyze(demo_model, clip, *out, "tailbase") == 0
    measured = pd.read_csv(tmp_path / "o_kinematics.csv")
    assert {"tailbase_x_px", "tailbase_speed_px_s", "tailbase_distance_px"} <= {*measured.columns}
    assert not [name for name in measured.columns if name.startswith("centre")]
    for name in ("trajectory", "occupancy", "speed"):
        assert " of tailbase" in (tmp_path / "plots" / f"o_{name}.svg").read_text(encoding="utf-8")
    assert analyze(demo_model, clip, *out, "tailbse", "--force") == 2
    assert "the model has no such keypoint; did you mean 'tailbase'?" in capsys.readouterr().err


def test_the_table_beside_a_recording_is_never_overwritten(demo_model, tmp_path, capsys):
    video = encode(tmp_path / "a.mp4", [0.0, 0.1])
    (tmp_path / "a.csv").write_text("video_frame,frame,t_us,mono_ns,synced\n0,0,0,0,1\n1,1,9,500000000,1\n")
    assert analyze(demo_model, video, "-o", tmp_path / "a.csv", "--force") == 2
    assert "is both an input and an output" in capsys.readouterr().err


def test_the_time_in_both_halves_is_that_of_the_video(done):
    table = pd.read_csv(done / "poses_zones.csv")
    assert table.iloc[:, 0].tolist() == ["left", "right"]
    assert table["time_s"].sum() == pytest.approx(COUNT / FPS, abs=1.5 / FPS)


def test_plots_are_pictures_of_the_video(done):
    for name in ("trajectory", "occupancy", "speed"):
        image = cv2.imread(str(done / "plots" / f"poses_{name}.png"))
        assert image.shape[1] == 1050
        assert (np.ptp(image.astype(int), axis=2) > 60).sum() > 500  # something in colour


# --- overlay -----------------------------------------------------------------------------------------------


def test_trails_are_drawn_where_the_keypoints_were_and_will_be(demo_model, tmp_path):
    video = write_running(tmp_path / "mouse.avi")
    outputs = ["-o", tmp_path / "poses.csv", "--overlay"]
    assert analyze(demo_model, video, *outputs, tmp_path / "trails.mp4", "--trails", "0.2") == 0
    assert analyze(demo_model, video, *outputs, tmp_path / "none.mp4", "--force") == 0
    raw = values_of(tmp_path / "poses.csv")
    xy = np.where(raw[..., 2:] >= 0.6, raw[..., :2], np.nan)
    drawn, without = (list(VideoFileSource(tmp_path / f"{name}.mp4")) for name in ("trails", "none"))
    assert len(drawn) == COUNT
    changed = [
        np.abs(one.image.astype(int) - other.image).max(axis=2) for one, other in zip(drawn, without, strict=True)
    ]
    for i, (one, plain) in enumerate(zip(without, VideoFileSource(video), strict=True)):
        drawn_over = np.abs(one.image[: SIZE_WH[1]].astype(int) - plain.image).max(axis=2) > 40  # by pose and names
        covered = cv2.dilate(drawn_over.astype(np.uint8), np.ones((3, 3))) > 0
        changed[i] = np.ma.array(changed[i][: SIZE_WH[1]], mask=covered)
    past, future = ([*changes_at(changed, xy, lag)] for lag in (-4, 4))
    assert min(len(past), len(future)) > 20
    assert np.mean(past) > np.mean(future) + 20
    assert np.quantile(past, 0.1) > 40
    assert np.quantile(future, 0.3) > 10  # a faint line of one pixel, after compression
    for i in range(COUNT):  # nothing is drawn beyond five frames
        reach = raw[max(0, i - 5) : i + 6, :, :2].reshape(-1, 2)
        (left, top), (right, bottom) = reach.min(axis=0).astype(int) - 8, reach.max(axis=0).astype(int) + 9
        changed[i][max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = 0
        assert changed[i].data.max() < 60


def write_running(path: Path) -> Path:
    """The mouse six times as fast, so that a trail leaves its keypoint."""
    scene = Scene(0, SIZE_WH)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, SIZE_WH)
    for i in range(COUNT):
        writer.write(scene.render(6 * i))
    writer.release()
    return path


def changes_at(changed, xy, lag):
    """How much a pixel changed where a keypoint is `lag` frames later, if the pose of now does not cover that."""
    for i in range(max(0, -lag), COUNT - max(0, lag)):
        for k, (x, y) in enumerate(xy[i + lag]):
            whole = np.isfinite(xy[min(i, i + lag) : max(i, i + lag) + 1, k]).all()
            inside = 0 <= x < SIZE_WH[0] - 1 and 0 <= y < SIZE_WH[1] - 1
            far = np.nanmin(np.linalg.norm(xy[i] - xy[i + lag, k], axis=1)) > 6
            if whole and inside and far and not np.ma.is_masked(change := changed[i][round(y), round(x)]):
                yield change


def test_the_second_pass_draws_the_smoothed_poses(done):
    smoothed = values_of(done / "poses_smoothed.csv")
    assert len(list(VideoFileSource(done / "overlay.mp4"))) == COUNT
    for frame, pose in zip(VideoFileSource(done / "overlay.mp4"), smoothed, strict=True):
        for x, y, score in pose:
            if score >= CUTOFF and np.isfinite(x) and 2 < x < SIZE_WH[0] - 3 and 2 < y < SIZE_WH[1] - 3:
                disc = frame.image[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].astype(int)
                assert np.ptp(disc.mean(axis=(0, 1))) > 60  # the scene is grey, the discs are not


def test_a_video_that_lost_frames_since_is_reported_and_leaves_no_overlay(clip, tmp_path):
    poses = pose_table(np.zeros((COUNT + 1, 1, 3)))
    with pytest.raises(CameraError, match=r"mouse\.avi: changed while it was analyzed"):
        draw_overlay(clip, tmp_path / "overlay.mp4", poses, None, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_trailed_overlay_that_does_not_fit_on_the_disk_is_reported_and_the_tables_are_kept(
    demo_model, clip, tmp_path, full_disk, capsys
):
    outputs = ["-o", tmp_path / "poses.csv", "--overlay", tmp_path / "overlay.mp4"]
    assert analyze(demo_model, clip, *outputs, "--trails", "1", "--smooth", "kalman") == 1
    assert "overlay.mp4: cannot write (File too large); make room" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["poses.csv", "poses_smoothed.csv"]


# --- several videos, and mistakes ----------------------------------------------------------------------------


@pytest.mark.slow
def test_several_videos_get_their_own_files(demo_model, clip, tmp_path):
    second = write_clip(tmp_path / "second.avi", 3)
    options = ["--smooth", "median", "--kinematics", "--plots", tmp_path / "plots"]
    assert analyze(demo_model, clip, second, "-o", tmp_path / "p.csv", *options) == 0
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == [
        f"p_{video}{which}.csv" for video in ("mouse", "second") for which in ("", "_kinematics", "_smoothed")
    ]
    assert len(list((tmp_path / "plots").iterdir())) == 12
    assert len(pd.read_csv(tmp_path / "p_second_kinematics.csv")) == 3


@pytest.mark.slow
def test_an_overlay_or_plot_that_fails_costs_neither_the_tables_nor_the_other_videos(
    demo_model, clip, tmp_path, capsys
):
    second = write_clip(tmp_path / "second.avi", 3)
    (tmp_path / "o_mouse.mp4").mkdir()
    (tmp_path / "plots" / "p_second_occupancy.svg").mkdir(parents=True)
    outputs = ["-o", tmp_path / "p.csv", "--overlay", tmp_path / "o.mp4", "--plots", tmp_path / "plots"]
    assert analyze(demo_model, clip, second, *outputs, "--kinematics") == 1
    out, err = capsys.readouterr()
    first, other = err.splitlines()
    assert first.startswith(f"edgepose: {tmp_path}/o_mouse.mp4: ")
    assert other.startswith(f"edgepose: {tmp_path}/plots/p_second_occupancy.svg: cannot write")
    assert [len(pd.read_csv(tmp_path / f"p_{name}.csv", header=[0, 1, 2])) for name in ("mouse", "second")] == [30, 3]
    assert (tmp_path / "o_second.mp4").is_file()
    assert (tmp_path / "plots" / "p_mouse_speed.png").is_file()
    assert "o_mouse.mp4" not in out
    assert "o_second.mp4" in out


@pytest.mark.slow
def test_nothing_is_overwritten_unless_forced(demo_model, clip, tmp_path, capsys):
    outputs = ["-o", tmp_path / "p.csv", "--overlay", tmp_path / "o.mp4", "--plots", tmp_path / "plots"]
    paths = [tmp_path / name for name in ("p.csv", "p_kinematics.csv", "plots/p_speed.svg", "o.mp4")]
    (tmp_path / "plots").mkdir()
    for path in reversed(paths):
        path.write_text("precious")
        assert analyze(demo_model, clip, *outputs, "--kinematics") == 2
        assert f"{path} exists already; give another --output, or --force" in capsys.readouterr().err
    assert [path.read_text() for path in paths] == ["precious"] * 4
    assert analyze(demo_model, clip, *outputs, "--kinematics", "--force") == 0
    assert not [path for path in paths if path.read_bytes() == b"precious"]


@pytest.mark.parametrize(
    ("module", "option", "line"),
    [
        ("matplotlib.style", "--plots", "drawing plots needs matplotlib; pip install 'edgepose[plots]'"),
        ("av", "--overlay", "writing video needs av; pip install 'edgepose[video]'"),
    ],
)
def test_a_missing_package_is_reported_before_any_work(
    demo_model, clip, tmp_path, monkeypatch, capsys, module, option, line
):
    monkeypatch.setitem(sys.modules, module, None)
    assert analyze(demo_model, clip, "-o", tmp_path / "p.csv", option, tmp_path / "more.mp4") == 1
    assert capsys.readouterr().err == f"edgepose: {line}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_fit_is_a_model(demo_model, clip, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(demo_model, folder / "model.tflite")
    assert analyze(folder, clip, "-o", tmp_path / "p.csv") == 0


@pytest.mark.parametrize("count", [1, 2])
def test_a_video_of_one_frame(demo_model, tmp_path, count):
    short = write_clip(tmp_path / "short.avi", count)
    (tmp_path / "zones.yaml").write_text(ZONES, encoding="utf-8")
    outputs = ["-o", tmp_path / "p.csv", "--overlay", tmp_path / "o.mp4", "--plots", tmp_path]
    assert analyze(demo_model, short, *outputs, *ALL, "--zones", tmp_path / "zones.yaml") == 0
    assert len(pd.read_csv(tmp_path / "p_kinematics.csv")) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trails", "1"], "--trails changes nothing without --overlay"),
        (["--max-gap", "0"], "--max-gap changes nothing without --smooth"),
        (["--px-per-cm", "8"], "--px-per-cm changes nothing without --kinematics or --plots"),
        (["--p-cutoff", "0"], "--p-cutoff changes nothing without --smooth or"),
        (["--plots", "{}/no/plots"], "there is no folder"),
        (["--zones", "{}/none.yaml"], "none.yaml"),
        (["--zones", "{}/broken.yaml"], "broken.yaml"),
        (["--zones", "{}/p_zones.csv"], "p_zones.csv: is both an input and an output"),
        (["{}/mouse_smoothed.avi", "--smooth", "median"], "p_mouse_smoothed.csv: two of the videos"),
    ],
)
def test_wrong_usage_is_one_line_before_any_work(demo_model, clip, tmp_path, capsys, options, message):
    (tmp_path / "broken.yaml").write_text("left: [[0, 0], [1, 'a']]\n", encoding="utf-8")
    assert analyze(demo_model, clip, *(option.format(tmp_path) for option in options), "-o", tmp_path / "p.csv") != 0
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["broken.yaml"]


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--p-cutoff", ["1.1", "-0.1", "nan", "half"]),
        ("--max-gap", ["-1", "inf", "soon"]),
        ("--px-per-cm", ["0", "-3"]),
        ("--trails", ["0", "nan"]),
        ("--smooth", ["mean"]),
    ],
)
def test_values_out_of_range_are_reported(demo_model, clip, tmp_path, capsys, option, values):
    for value in values:
        with pytest.raises(SystemExit, match="2"):
            analyze(demo_model, clip, "-o", tmp_path / "p.csv", f"{option}={value}")
        assert option in capsys.readouterr().err.splitlines()[-1]
