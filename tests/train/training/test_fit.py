"""`edgepose-train fit`: real runs that are killed, stopped and continued, and wrong usage."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from brokers import wait_until
from conftest import run_fit
from msgspec.structs import replace

from edgepose.inference.estimator import Estimator
from edgepose.inference.model_file import read_card, read_model
from edgepose_train import cli
from edgepose_train.demo_model import write_project
from edgepose_train.labels.frame_identity import frame_identity
from edgepose_train.labels.reading import read_dataset

pytestmark = pytest.mark.slow  # a network is trained


def test_a_killed_run_leaves_only_a_checkpoint(finished_run):
    assert finished_run.killed.returncode == -signal.SIGKILL
    assert "Traceback" not in finished_run.killed.stderr
    assert "quantizing" not in finished_run.killed.stdout


def test_the_same_command_continues_and_finishes(finished_run):
    run = finished_run.finished
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert int(re.match(r"continuing from step (\d+) of \d+\n", run.stdout)[1]) > 0
    assert f"{finished_run.model} (" in run.stdout
    assert {path.name for path in finished_run.folder.iterdir()} >= {"checkpoint.npz", "model.tflite"}


def test_ctrl_c_saves_and_ends_in_order(finished_run, tmp_path, capsys, eagerly):
    shutil.copytree(finished_run.killed_folder, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint.npz"
    before = checkpoint.stat().st_mtime_ns

    def interrupt_after_next_checkpoint():
        wait_until(lambda: checkpoint.stat().st_mtime_ns != before, "a checkpoint", 60)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt_after_next_checkpoint)
    thread.start()
    status = cli.main(finished_run.arguments(output=checkpoint.parent))
    thread.join()
    out, err = capsys.readouterr()
    assert status == 130, err
    steps = int(re.match(r"continuing from step (\d+) of \d+\n", out)[1])
    assert err.splitlines()[-2:] == ["stopped; the same command continues from here", "edgepose-train fit: interrupted"]
    with np.load(checkpoint) as saved:
        assert saved["optimizer/0000"] > steps  # AdamW's count of steps


def test_the_model_loads_as_on_the_device(finished_run):
    estimator = Estimator(finished_run.model, 1)
    assert estimator.golden_exact
    assert estimator.runtime.xnnpack
    assert estimator.card.input.size_wh == (96, 96)


def test_the_card_says_where_the_model_comes_from(finished_run):
    card = read_card(finished_run.model)
    dataset = read_dataset(finished_run.project)
    assert card.skeleton == dataset.skeleton
    assert sorted(digest for part in card.training.splits.values() for digest in part) == sorted(
        frame_identity(image.path) for image in dataset.images
    )
    assert {name: len(part) for name, part in card.training.splits.items()} == {
        "train": 14,
        "validation": 2,
        "test": 4,
    }
    assert card.training.backbone == "mobilenet_v1_0.25"
    assert card.training.weights == finished_run.weights.name
    assert card.scores.keys() == {"float", "int8"}
    assert all(score.n_frames == 4 and score.n_points == 16 for score in card.scores.values())


def test_the_report_and_the_curves_are_there(finished_run):
    page = (finished_run.folder / "report.html").read_text()
    assert str(finished_run.folder / "report.html") in finished_run.finished.stdout
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert [path for path in finished_run.folder.rglob("*") if "tfevents" in path.name]


def test_a_seed_gives_the_same_file_also_when_killed_in_between(finished_run, tmp_path):
    again = run_fit(finished_run.arguments(output=tmp_path / "run"), tmp_path / "log")
    assert again.returncode == 0, again.stderr
    assert "going on" not in again.stdout
    found, expected = read_model(tmp_path / "run" / "model.tflite"), read_model(finished_run.model)
    assert found.network == expected.network
    assert replace(found.card, created="") == replace(expected.card, created="")


# TensorFlow's converter warns of this at every quantization; `fit` hides it from its users.
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected")
def test_what_int8_costs_decides_the_exit_status(finished_run, tmp_path, capsys):
    shutil.copytree(finished_run.folder, tmp_path / "run")
    arguments = [*finished_run.arguments(output=tmp_path / "run"), "--max-int8-loss", "0.000001"]
    status = cli.main(arguments)
    out, err = capsys.readouterr()
    scores = read_card(finished_run.model).scores
    costs = scores["int8"].mean_px > scores["float"].mean_px
    assert status == (1 if costs else 0), err
    assert ("searching for the layer in which int8 loses accuracy" in out) == costs, err
    assert (
        re.search(r"the cause is the layer|no single layer|no layer causes", " ".join(out.split())) is not None
    ) == costs


def test_a_model_for_following_has_a_zoom_and_a_score_for_it(finished_run, tmp_path, capsys):
    """The frames are 240x240, the input is 96x96, and the mouse is small."""
    write_project(tmp_path / "large", range(200, 204), 5, (240, 240))
    options = {"project": tmp_path / "large", "output": tmp_path / "run", "epochs": 2}
    # After so short a training, the loss of int8 is random, and it would decide the exit status.
    done = run_fit([*finished_run.arguments(**options), "--follow", "--max-int8-loss", "1000"], tmp_path / "log")
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "run" / "model.tflite")
    assert 1.2 <= card.input.zoom <= 2.5
    assert card.scores.keys() == {"float", "int8", "followed"}
    assert "px through a window that follows the animal" in " ".join(done.stdout.split())
    report = tmp_path / "score.json"
    words = ["evaluate", tmp_path / "run" / "model.tflite", tmp_path / "large", "--json", report]
    assert cli.main(list(map(str, words))) == 0
    assert "followed" in capsys.readouterr().out
    scores = json.loads(report.read_bytes())
    assert scores["followed"]["mean_px"] == pytest.approx(card.scores["followed"].mean_px, abs=1e-3)
    assert scores["mean_px"] == pytest.approx(card.scores["int8"].mean_px, abs=1e-3)


def test_the_card_has_no_path_of_this_machine(finished_run):
    assert str(finished_run.folder.parent.parent) not in read_model(finished_run.model).card_json.decode()


def error_line(capsys, arguments, status) -> str:
    """Returns the only line that the command prints on stderr."""
    capsys.readouterr()
    assert cli.main(list(map(str, arguments))) == status
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("edgepose-train fit: ")
    return err


def test_other_settings_are_refused_in_the_same_folder(finished_run, capsys):
    before = finished_run.model.read_bytes()
    assert "give another folder with -o" in error_line(capsys, finished_run.arguments(seed=1), 2)
    assert finished_run.model.read_bytes() == before


def test_a_terminal_shows_what_it_waits_for(finished_run, tmp_path):
    mine, terminal = pty.openpty()
    command = [sys.executable, "-m", "edgepose_train.cli"]
    command += finished_run.arguments(output=tmp_path / "run", weights="nowhere.h5")
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    shown = os.read(mine, 10_000).decode()
    os.close(mine)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "starting TensorFlow ...\r\n" in shown


def test_a_model_that_is_not_of_this_run_is_only_replaced_with_force(finished_run, tmp_path, capsys):
    """The checkpoint says that a run is continued; without it, the model is somebody's result."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(finished_run.model, run)
    assert "exists already; give another --output, or --force" in error_line(
        capsys, finished_run.arguments(output=run), 2
    )
    shutil.copy(finished_run.folder / "checkpoint.npz", run)
    few = [*finished_run.arguments(output=run, seed=1), "--force", "--weights", "nowhere.h5"]
    assert "no such file or folder" in error_line(capsys, few, 2)
    assert not (run / "checkpoint.npz").exists()


def test_a_damaged_checkpoint_is_an_error(finished_run, tmp_path, capsys):
    damaged = tmp_path / "run" / "checkpoint.npz"
    damaged.parent.mkdir()
    data = (finished_run.folder / "checkpoint.npz").read_bytes()
    damaged.write_bytes(data[: len(data) // 2])
    assert "delete it to start this run anew" in error_line(capsys, finished_run.arguments(output=damaged.parent), 1)


@pytest.mark.parametrize(
    ("options", "status", "line"),
    [
        (["--backbone", "resnet_50"], 2, "not a MobileNet"),
        (["--input", "100x100"], 2, "multiples of 16"),
        (["--input", "96"], 2, "give WIDTHxHEIGHT"),
        (["--weights", "nowhere.h5"], 2, "no such file or folder"),
        (["--backbone", "mobilenet_v1_0.75"], 2, "no weights of mobilenet_v1_0.75 there (found: mobilenet_v1_0.25_"),
        (["-o", "{}/config.yaml"], 2, "cannot make this folder (File exists)"),
        (["-o", "{}/config.yaml/run"], 2, "cannot make this folder (Not a directory)"),
        (["--teacher", "{}/none.tflite"], 2, "--teacher MODEL and --unlabelled VIDEO belong together"),
        (["--unlabelled", "{}/config.yaml"], 2, "--teacher MODEL and --unlabelled VIDEO belong together"),
        (["-o", "{}"], 2, "this folder holds the labels; give another one for the model"),
        (["--fps", "10"], 2, "give --target too"),
        (["--target", "pi-4"], 2, "leave out --recipe, --backbone and --input, or --target"),
        (["--folds", "21"], 2, "20 labelled frames"),
        (["--folds", "5", "--split", "video"], 2, "4 labelled videos"),
        (["--folds", "2", "--teacher", "{0}/none.tflite", "--unlabelled", "{0}/config.yaml"], 2, "model of --teacher"),
        (["--follow"], 2, "no window smaller than the frame holds the animal with room to move"),
        (["--teacher", "{0}/none.tflite", "--unlabelled", "{0}/config.yaml"], 78, "none.tflite: no such model file"),
    ],
)
def test_wrong_usage_is_one_line(finished_run, tmp_path, capsys, options, status, line):
    arguments = finished_run.arguments(output=tmp_path / "run")
    arguments += [option.format(finished_run.project) for option in options]
    assert line in error_line(capsys, arguments, status)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options", [["--epochs", "0"], ["--epochs", "many"], ["--recipe", "slow"], ["--seed", "-1"], ["--seed", str(2**32)]]
)
def test_what_the_parser_refuses(finished_run, capsys, options):
    with pytest.raises(SystemExit, match="2"):
        cli.main([*finished_run.arguments(), *options])
    err = capsys.readouterr().err
    assert f"argument {options[0]}" in err.splitlines()[-1]


def test_the_recipe_of_the_packages_own_model_is_not_suggested(finished_run, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main([*finished_run.arguments(), "--recipe", "quick"])
    err = capsys.readouterr().err
    assert "balanced" in err
    assert "demo" not in err


@pytest.mark.parametrize(
    ("option", "given", "meant"),
    [("--target", "pi4", "pi-4"), ("--recipe", "balance", "balanced"), ("--split", "videos", "video")],
)
def test_a_choice_that_is_nearly_right_is_suggested(finished_run, capsys, option, given, meant):
    with pytest.raises(SystemExit, match="2"):
        cli.main([*finished_run.arguments(), option, given])
    assert f"did you mean {meant!r}?" in capsys.readouterr().err


def test_a_dataset_with_too_few_frames_is_an_error(finished_run, tmp_path, capsys):
    write_project(tmp_path / "few", [200], 3, (96, 96))
    arguments = finished_run.arguments(project=tmp_path / "few", output=tmp_path / "run")
    assert "3 labelled frames are too few" in error_line(capsys, arguments, 1)


def test_problems_are_named_in_full(finished_run, tmp_path, capsys):
    """Each of them is on one line, even if a name contains what rich takes for markup."""
    project = tmp_path / "with [bold] brackets, and a name that is longer than a line of a terminal is wide" / "mice"
    shutil.copytree(finished_run.project, project)
    images = sorted(project.rglob("*.png"))
    for image in images[3:]:
        image.write_bytes(b"no image")
    assert cli.main(finished_run.arguments(project=project, output=tmp_path / "run")) == 1
    problem, error = capsys.readouterr().err.splitlines()
    assert problem.startswith(f"problem: {len(images) - 3} ")
    assert str(images[3].name) in problem
    assert "3 labelled frames are too few" in error
