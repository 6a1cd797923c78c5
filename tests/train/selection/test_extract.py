"""`edgepose-train extract`: frames worth labelling are added to a project, which keeps what it has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from clips import write_clip

from edgepose.video.frames import open_video, read_frames
from edgepose_train.cli import main
from edgepose_train.labels.deeplabcut_writer import write_labels
from edgepose_train.labels.frame_identity import identity_of
from edgepose_train.selection.extract import candidates, choose, evenly_spaced, sample_video, shares

COUNT = 120


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "cage1.avi", COUNT)


@pytest.fixture
def extract(capsys):
    """extract(*arguments) -> (exit status, stdout, stderr)."""

    def run(*arguments):
        status = main(["extract", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def images(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(project.glob("labeled-data/*/*.png"))}


# --- choosing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("available", "total", "expected"),
    [
        ([100, 100], 10, [5, 5]),
        ([100, 2, 100], 20, [9, 2, 9]),
        ([100, 100, 100], 10, [3, 4, 3]),
        ([3, 4], 100, [3, 4]),
        ([0, 9], 4, [0, 4]),
        ([9, 9, 9, 9, 9], 2, [0, 1, 0, 1, 0]),
        ([0, 0], 3, [0, 0]),
    ],
)
def test_shares_are_fair(available, total, expected):
    found = shares(available, total)
    assert sum(found) == sum(expected)
    assert sorted(found) == sorted(expected)
    assert all(given <= most for given, most in zip(found, available, strict=True))


def clusters(sizes, seed=0) -> np.ndarray:
    """Makes thumbnails of an animal that is still in len(sizes) places, one after another."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 255, (len(sizes), 60))
    return np.concatenate([place + rng.normal(0, 3, (n, 60)) for place, n in zip(places, sizes, strict=True)]).astype(
        np.float32
    )


def test_kmeans_finds_rare_frames():
    sizes = [300, 4, 200, 3, 5]
    where = np.repeat(np.arange(5), sizes)
    assert set(where[choose(clusters(sizes), 5, "kmeans", 0)]) == set(range(5))
    assert set(where[choose(clusters(sizes), 5, "uniform", 0)]) < set(range(5))


def test_the_same_seed_chooses_the_same():
    thumbnails = np.random.default_rng(0).uniform(0, 255, (200, 60)).astype(np.float32)
    first, second, third = (choose(thumbnails, 20, "kmeans", seed).tolist() for seed in (0, 0, 1))
    assert first == second != third
    assert len(set(first)) == 20


def test_frames_that_look_the_same_are_not_chosen_twice():
    thumbnails = np.repeat(clusters([1, 1, 1]), 20, axis=0)
    for method in ("kmeans", "uniform"):
        assert sorted(choose(thumbnails, 10, method, 0) // 20) == [0, 1, 2]


# --- the command ---------------------------------------------------------------------------------------------


def test_a_project_that_can_be_labelled(clip, tmp_path, extract):
    status, out, err = extract(clip, "-o", tmp_path / "maze", "-n", 8, "--bodyparts", "snout, tail", "--scorer", "Ann")
    assert (status, err) == (0, "")
    assert "napari" in out
    config = yaml.safe_load((tmp_path / "maze" / "config.yaml").read_text("utf-8"))
    assert (config["bodyparts"], config["scorer"], config["Task"]) == (["snout", "tail"], "Ann", "maze")
    assert config["video_sets"] == {str(clip): {"crop": "0, 320, 0, 240"}}
    found = images(tmp_path / "maze")
    assert len(found) == 8
    frames = {f"img{i:03}.png": identity_of(image) for i, image in read_frames(open_video(clip), range(COUNT))}
    for name, data in found.items():
        assert identity_of(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)) == frames[name]


def test_not_labelled_yet_is_one_line(clip, tmp_path, extract, capsys):
    extract(clip, "-o", tmp_path / "maze", "-n", 3)
    for command in (["inspect"], ["fit", "-o", str(tmp_path / "run")]):
        assert main([*command[:1], str(tmp_path / "maze"), *command[1:]]) == 1
        assert "3 images, none labelled yet" in capsys.readouterr().err


def test_extracting_again_gives_the_same_frames(clip, tmp_path, extract):
    for method in ("kmeans", "uniform"):
        for project in ("a", "b"):
            assert extract(clip, "-o", tmp_path / method / project, "-n", 6, "--method", method)[0] == 0
        assert images(tmp_path / method / "a") == images(tmp_path / method / "b")
    assert images(tmp_path / "kmeans" / "a") != images(tmp_path / "uniform" / "a")


def test_more_frames_leave_the_labelled_ones_alone(clip, tmp_path, extract):
    project = tmp_path / "maze"
    extract(clip, "-o", project, "-n", 4, "--bodyparts", "snout,tail", "--scorer", "Ann")
    before = images(project)
    folder = project / "labeled-data" / "cage1"
    write_labels(folder, "Ann", ("snout", "tail"), list(before), np.ones((4, 2, 2)))
    label_files = {path: path.read_bytes() for path in folder.glob("Collected*")}
    other = write_clip(tmp_path / "cage2.avi", 40)
    assert extract(clip, other, "-o", project, "-n", 10)[0] == 0
    after = images(project)
    assert len(after) == 14
    assert before.items() <= after.items()
    assert {path: path.read_bytes() for path in label_files} == label_files
    stems = [Path(name).stem for name in yaml.safe_load((project / "config.yaml").read_text("utf-8"))["video_sets"]]
    assert sorted(stems) == ["cage1", "cage2"]


def test_a_broken_video_does_not_stop_the_others(clip, tmp_path, extract):
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 5000)
    (tmp_path / "empty.mp4").touch()
    videos = [tmp_path / "broken.mp4", clip, tmp_path / "empty.mp4", tmp_path / "absent.mp4"]
    status, _, err = extract(*videos, "-o", tmp_path / "maze", "-n", 5)
    assert status == 1
    assert len(err.splitlines()) == 3
    assert all(name in err for name in ("broken", "empty", "absent"))
    assert len(images(tmp_path / "maze")) == 5


def test_fewer_frames_than_asked_for_is_reported(tmp_path, extract):
    clip = write_clip(tmp_path / "short.avi", 3)
    status, out, _ = extract(clip, "-o", tmp_path / "maze", "-n", 10)
    assert status == 0
    assert f"{len(images(tmp_path / 'maze'))} instead of 10" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.mp4", "-o", "new"], "no such video"),
        (["full", "-o", "new"], "full: this is a folder; give a video file in it"),
        (["CLIP", "-o", "file/new"], "cannot use this folder (nothing can be written to"),
        (["CLIP", "other/cage1.mp4", "-o", "new"], "two videos are called cage1"),
        (["CLIP", "-o", "full"], "neither a DeepLabCut project nor an empty folder"),
        (["CLIP", "-o", "file"], "neither a DeepLabCut project nor an empty folder"),
        (["CLIP", "-o", "project", "--bodyparts", "a,b"], "leave out --bodyparts"),
        (["black.avi", "-o", "new"], "no frame of the videos is worth labelling"),
    ],
)
def test_what_cannot_be_done_is_one_line(clip, tmp_path, monkeypatch, extract, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/thesis.tex").touch()
    Path("file").touch()
    Path("project").mkdir()
    Path("project/config.yaml").write_text("bodyparts: [c]\n")
    writer = cv2.VideoWriter("black.avi", cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(4):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    status, out, err = extract(*[str(clip) if word == "CLIP" else word for word in arguments])
    assert status in {1, 2}
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path("new").exists()


def test_known_frames_are_no_candidates(clip):
    found = sample_video(open_video(clip), lambda: None)
    good = candidates(found)
    known = [found.thumbnails[i].identity for i in good[:10]]
    assert not set(candidates(found, known)) & set(good[:10])


def test_extract_does_not_wait_for_tensorflow(clip, tmp_path):
    code = (
        "import sys; from edgepose_train.cli import main; status = main(sys.argv[1:]); "
        "assert not {'tensorflow', 'pandas'} & set(sys.modules); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "extract", clip, "-o", tmp_path / "maze", "-n", "2"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_method_is_one_line_with_a_suggestion(clip, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["extract", str(clip), "-o", "maze", "--method", "kmean"])
    assert leaving.value.code == 2
    assert "did you mean 'kmeans'?" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "most"), [(1, 5), (5, 5), (6, 5), (108_000, 2000), (7, 1)])
def test_evenly_spaced_numbers_are_bounded(count, most):
    found = evenly_spaced(count, most)
    assert 0 < len(found) <= most
    assert all(0 <= i < count for i in found)
    assert len(set(np.diff(found))) <= 1
    assert len(found) >= min(count, most) / 2
