"""`edgepose-train suggest`: the frames where a model fails are found, and its predictions are no labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pandas as pd  # noqa: TID251  as DeepLabCut reads the files
import pytest
import yaml
from model_files import rewrite

from edgepose.camera.synthetic.mouse import SKELETON, Mouse
from edgepose.camera.synthetic.scene import Scene
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_file import read_card
from edgepose.types import Skeleton
from edgepose.video.frames import Video, open_video, read_frames
from edgepose_train.cli import main
from edgepose_train.labels.deeplabcut_writer import create_project
from edgepose_train.labels.frame_identity import frame_identity, identity_of
from edgepose_train.selection.suggest import (
    Pool,
    PosedVideo,
    choose,
    features,
    frames_to_pose,
    pose_video,
    quality_of,
    reasons,
)
from edgepose_train.selection.thumbnails import Thumbnail

SIZE_WH = (320, 240)
COUNT = 160
# Frames in which the model must fail: a hand over the mouse, a frame of noise, a second mouse.
OCCLUDED, NOISY, CROWDED = range(40, 43), (90,), (125,)


def planted_frame(scene: Scene, index: int) -> np.ndarray:
    image = scene.render(index)
    if index in OCCLUDED:
        snout = tuple(int(v) for v in scene.mouse.truth(index)[:3].mean(axis=0))
        cv2.circle(image, snout, 40, (120, 140, 190), cv2.FILLED)
    if index in NOISY:
        image = np.random.default_rng(0).integers(0, 256, image.shape, np.uint8)
    if index in CROWDED:  # dark mice on a light floor
        image = np.minimum(image, scene.render(index + 900))
    return image


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "cage1.avi"
    scene = Scene(5, SIZE_WH)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, SIZE_WH)
    for i in range(COUNT):
        writer.write(planted_frame(scene, i))
    writer.release()
    return path


@pytest.fixture(scope="module")
def posed(clip, demo_model) -> PosedVideo:
    return pose_video(Estimator(demo_model), open_video(clip), lambda: None)


@pytest.fixture(scope="module")
def suggested(clip, demo_model, tmp_path_factory) -> Path:
    project = tmp_path_factory.mktemp("suggested") / "round2"
    assert main(["suggest", str(demo_model), str(clip), "-o", str(project), "-n", "10"]) == 0
    return project


def frame_numbers(project: Path) -> list[int]:
    return sorted(int(path.stem[3:]) for path in project.glob("labeled-data/*/img*.png"))


# --- faults that are seen in the model's poses ----------------------------------------------------------------


def posed_video(xy, score=None, fps=25.0, indices=None) -> PosedVideo:
    n = len(xy)
    video = Video(Path("made-up.mp4"), (640, 480), fps, n)
    thumbnails = [Thumbnail(np.full((22, 30), i % 7, np.uint8), 100.0, bytes([i])) for i in range(n)]
    score = np.full(xy.shape[:2], 0.9) if score is None else score
    return PosedVideo(video, list(range(n)) if indices is None else indices, thumbnails, xy, score)


def walking(n=40) -> np.ndarray:
    """A mouse of 100 px that walks 5 px a frame: snout, left ear, right ear, tail base."""
    pose = np.array([[100.0, 200], [80, 185], [80, 215], [0, 200]])
    return pose + np.arange(n)[:, None, None] * [5.0, 0]


def test_a_walk_has_no_fault():
    quality = quality_of(posed_video(walking()), SKELETON)
    assert quality.jump.max() == 0
    assert (quality.swap == -1).all()
    assert quality.doubt == pytest.approx(0.1)


def test_a_jump_is_found_where_it_is():
    xy = walking()
    xy[17, 3] += [0, 120]
    quality = quality_of(posed_video(xy), SKELETON)
    assert np.argwhere(quality.jump > 0).tolist() == [[17, 3]]
    assert quality.severity.argmax() == 17
    assert reasons(posed_video(xy), quality, 17, SKELETON) == ["tailbase jumps 120 px"]


def test_a_gap_in_time_is_no_jump():
    xy = walking(20)
    xy[10:] += [300, 100]
    assert quality_of(posed_video(xy), SKELETON).jump.max() > 0
    later = posed_video(xy, indices=[*range(10), *range(1000, 1010)])
    assert quality_of(later, SKELETON).jump.max() == 0


def test_a_swap_is_found_where_it_begins_and_ends():
    xy = walking()
    xy[20:26, [1, 2]] = xy[20:26, [2, 1]]
    posed = posed_video(xy)
    quality = quality_of(posed, SKELETON)
    assert np.flatnonzero(quality.swap >= 0).tolist() == [19, 20, 25, 26]
    assert "left/right swap of leftear and rightear" in reasons(posed, quality, 20, SKELETON)


def test_one_lost_keypoint_counts_although_the_others_are_sure():
    score = np.full((40, 4), 0.9)
    score[7, 0] = 0.1
    posed = posed_video(walking(), score)
    quality = quality_of(posed, SKELETON)
    assert quality.severity.argmax() == 7
    assert reasons(posed, quality, 7, SKELETON) == ["unsure: snout 0.10"]


def test_one_keypoint_and_one_frame_are_enough():
    for xy, skeleton in ((walking()[:, :1], Skeleton(("snout",))), (walking(1), SKELETON)):
        quality = quality_of(posed_video(xy), skeleton)
        assert np.isfinite(quality.severity).all()
        assert np.isfinite(features([posed_video(xy)])).all()


@pytest.mark.parametrize("count", [1, 2, 100, 3000, 3001, 200_000])
def test_of_long_videos_groups_of_three_are_posed(count):
    found = frames_to_pose(count)
    assert len(found) <= 3000
    assert found == sorted(set(found))
    assert 0 <= found[0] <= found[-1] < count
    if count > 3000:
        assert len(found) > 1000
        gaps = np.diff(found)
        assert (gaps == 1).sum() >= len(found) / 2


# --- choosing ------------------------------------------------------------------------------------------------


def make_pool(severity, failing, places, allowed=None) -> Pool:
    n = len(severity)
    allowed = np.ones(n, bool) if allowed is None else allowed
    return Pool(np.array(severity), np.array(failing), np.array(places, float), np.zeros(n, int), np.arange(n), allowed)


def test_failures_come_first_and_do_not_repeat():
    """Frames 0 to 4 are the same failure; 5 is another, milder one."""
    places = [[0.0], [0], [0], [0], [0], [3], [1], [2], [9], [5]]
    severity = [0.9, 0.9, 0.9, 0.9, 1, 0.6, 0.1, 0.1, 0.1, 0.1]
    failing = np.array(severity) > 0.5
    found, new = choose(make_pool(severity, failing, places), 3, 0.5)
    assert found == [4, 5]
    assert new == [8]  # the farthest from both


def test_frames_are_apart_in_time():
    found, new = choose(make_pool(np.ones(50), np.ones(50, bool), np.random.default_rng(0).normal(size=(50, 3))), 8, 4)
    assert len(found) + len(new) == 8
    assert np.diff(sorted(found + new)).min() > 4


def test_known_frames_are_left_out():
    allowed = np.arange(10) % 2 == 1
    found, new = choose(make_pool(np.ones(10), np.ones(10, bool), np.arange(10)[:, None], allowed), 10, 0.5)
    assert sorted(found + new) == [1, 3, 5, 7, 9]


# --- on a video ----------------------------------------------------------------------------------------------


def test_planted_failures_are_found(suggested):
    found = set(frame_numbers(suggested))
    assert len(found) == 10
    for planted in (OCCLUDED, NOISY, CROWDED):
        assert found & set(planted), f"none of {list(planted)} among {sorted(found)}"


def test_the_chosen_are_worse_than_chance(suggested, posed):
    """Their error, which the renderer's truth gives, is compared with that of many random choices of frames."""
    mouse = Mouse(5, SIZE_WH)
    truth = np.array([mouse.truth(i) for i in range(COUNT)])
    error_px = np.linalg.norm(posed.xy_px - truth, axis=2).mean(axis=1)
    score = posed.score.mean(axis=1)
    chosen = frame_numbers(suggested)
    rng = np.random.default_rng(0)
    draws = [rng.choice(COUNT, len(chosen), replace=False) for _ in range(1000)]
    assert (error_px[chosen].mean() > [error_px[draw].mean() for draw in draws]).mean() > 0.95
    assert (score[chosen].mean() < [score[draw].mean() for draw in draws]).mean() > 0.95


def test_predictions_are_machine_labels_as_deeplabcut_writes_them(suggested, posed):
    folder = suggested / "labeled-data" / "cage1"
    table = pd.read_hdf(folder / "machinelabels-iter0.h5", "df_with_missing")
    assert table.columns.names == ["scorer", "bodyparts", "coords"]
    assert table.columns.get_level_values("coords").tolist() == ["x", "y", "likelihood"] * 4
    assert [row[2] for row in table.index] == sorted(path.name for path in folder.glob("*.png"))
    for row, values in zip(table.index, table.to_numpy().reshape(-1, 4, 3), strict=True):
        i = int(row[2][3:-4])
        np.testing.assert_array_equal(values[:, :2], posed.xy_px[i])
        np.testing.assert_array_equal(values[:, 2], posed.score[i])
    assert not list(folder.glob("CollectedData*"))


def test_images_are_the_frames(suggested, clip):
    frames = {i: identity_of(image) for i, image in read_frames(open_video(clip), range(COUNT))}
    for path in suggested.glob("labeled-data/*/*.png"):
        assert identity_of(cv2.imread(str(path))) == frames[int(path.stem[3:])]


def test_the_project_is_the_models(suggested, clip):
    config = yaml.safe_load((suggested / "config.yaml").read_text("utf-8"))
    assert config["bodyparts"] == list(SKELETON.keypoints)
    assert config["skeleton"] == [list(edge) for edge in SKELETON.edges]
    assert list(config["video_sets"]) == [str(clip)]


def test_predictions_alone_are_no_labels(suggested, capsys):
    assert main(["inspect", str(suggested)]) == 1
    assert "none labelled yet" in capsys.readouterr().err


def test_the_table_and_the_sheet_say_why(clip, demo_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["suggest", str(demo_model), str(clip), "-o", str(tmp_path / "round2"), "-n", "6"]) == 0
    out = capsys.readouterr().out
    for number in frame_numbers(tmp_path / "round2"):
        assert any(line.split()[:2] == ["cage1", str(number)] for line in out.splitlines())
    assert "unsure: " in out
    assert f"edgepose-train merge {tmp_path / 'round2'}" in out
    sheet = cv2.imread(str(tmp_path / "round2" / "suggested.png"))
    assert sheet.shape[1] > 1200


def test_again_gives_others_and_keeps_the_first(suggested, clip, demo_model, tmp_path):
    """The frames go into a copy of the project, as in the second round of one video."""
    project = tmp_path / "round3"
    shutil.copytree(suggested, project)
    first = {path.name: path.read_bytes() for path in project.glob("labeled-data/*/*.png")}
    assert main(["suggest", str(demo_model), str(clip), "-o", str(project), "-n", "5"]) == 0
    second = {path.name: path.read_bytes() for path in project.glob("labeled-data/*/*.png")}
    assert first.items() < second.items()
    assert len(second) == 15
    table = pd.read_hdf(project / "labeled-data" / "cage1" / "machinelabels-iter0.h5")
    assert len(table) == 15
    assert table.loc[("labeled-data", "cage1", min(first))].to_numpy()[2] < 1  # the first round's score stays


def test_frames_that_the_model_learnt_from_are_left_out(suggested, clip, demo_model, tmp_path, capsys):
    """The card knows them by the hashes of their files. The folder of a fit serves as its model."""
    model = tmp_path / "run" / "model.tflite"
    model.parent.mkdir()
    shutil.copy(demo_model, model)
    card = read_card(model)
    learnt = sorted(suggested.glob("labeled-data/*/*.png"))[:4]
    splits = {"train": tuple(frame_identity(path) for path in learnt)}
    training = msgspec.structs.replace(card.training, splits=splits)
    rewrite(model, training=training)
    assert main(["suggest", str(model.parent), str(clip), "-o", str(tmp_path / "round2"), "-n", "10"]) == 0
    assert "6 instead of 10" in capsys.readouterr().out
    assert frame_numbers(tmp_path / "round2") == frame_numbers(suggested)[4:]


def test_other_body_parts_are_reported_before_the_work(clip, demo_model, tmp_path, capsys):
    create_project(tmp_path / "maze", "maze", "Ann", Skeleton(("snout", "elbow")), {})
    assert main(["suggest", str(demo_model), str(clip), "-o", str(tmp_path / "maze")]) == 1
    err = capsys.readouterr().err
    assert "bodyparts snout, elbow, but the model predicts" in err
    assert len(err.splitlines()) == 1


def test_public_video(public_projects, demo_model, tmp_path):
    """The model has never seen such a mouse and is unsure everywhere, but as many frames as asked for are chosen."""
    video = public_projects / "openfield-Pranav-2018-10-30" / "videos" / "m3v1mp4.mp4"
    short = tmp_path / "short.avi"
    writer = cv2.VideoWriter(str(short), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    for _, image in read_frames(open_video(video), range(0, 300, 3)):
        writer.write(image)
    writer.release()
    assert main(["suggest", str(demo_model), str(short), "-o", str(tmp_path / "round2"), "-n", "12"]) == 0
    assert len(frame_numbers(tmp_path / "round2")) == 12
