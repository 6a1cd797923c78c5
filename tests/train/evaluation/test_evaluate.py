"""`edgepose-train evaluate`: the error of the shipped file on frames that it was not trained on."""

from __future__ import annotations

import json
import shutil

import cv2
import msgspec
import pytest

from edgepose.inference.model_card import Score
from edgepose.inference.model_file import read_card
from edgepose_train import cli
from edgepose_train.evaluation.evaluate import held_out
from edgepose_train.labels.frame_identity import frame_identity
from edgepose_train.labels.reading import read_dataset

pytestmark = pytest.mark.slow  # a network is trained

NUMBERS = {field.name for field in msgspec.structs.fields(Score)}


@pytest.fixture
def evaluate(finished_run, tmp_path, capsys):
    """Returns a function of data set and options; its result is exit status, JSON report or None, stdout, stderr."""

    def call(dataset, *options):
        report = tmp_path / "score.json"
        report.unlink(missing_ok=True)
        capsys.readouterr()
        status = cli.main(["evaluate", str(finished_run.model), str(dataset), "--json", str(report), *options])
        out, err = capsys.readouterr()
        return status, json.loads(report.read_bytes()) if report.exists() else None, out, err

    return call


def copied(project, folder):
    """Copies a project without its H5 files, so that its CSV files can be changed."""
    return shutil.copytree(project, folder, ignore=shutil.ignore_patterns("*.h5"))


def renamed(project, folder):
    """Copies the frames into another folder and renames frames and videos."""
    copied(project, folder)
    for video in sorted((folder / "labeled-data").iterdir()):
        table = next(video.glob("CollectedData_*.csv"))
        table.write_text(table.read_text().replace(f",{video.name},img", f",again{video.name},frame"))
        for image in video.glob("img*.png"):
            image.rename(image.with_name(image.name.replace("img", "frame")))
        video.rename(video.with_name(f"again{video.name}"))
    return folder


def test_the_score_is_that_of_the_card(finished_run, evaluate):
    status, report, out, err = evaluate(finished_run.project)
    assert (status, err) == (0, "")
    assert report.keys() == NUMBERS
    assert msgspec.convert(report, Score) == read_card(finished_run.model).scores["int8"]
    assert f"{report['mean_px']:.2f}" in out
    assert "ALSO" not in out


def test_the_content_identifies_frames_that_it_was_trained_on(finished_run, evaluate, tmp_path):
    project = renamed(finished_run.project, tmp_path / "elsewhere")
    assert evaluate(project)[1] == evaluate(finished_run.project)[1]


def test_held_out_are_the_frames_of_the_test_split_and_new_ones(finished_run, tmp_path):
    card, dataset = read_card(finished_run.model), read_dataset(finished_run.project)
    assert {frame_identity(image.path) for image in held_out(dataset, card)} == set(card.training.splits["test"])
    changed = tmp_path / "changed"
    shutil.copytree(finished_run.project, changed)
    for image in changed.rglob("*.png"):
        cv2.imwrite(str(image), cv2.imread(str(image)) ^ 1)
    assert len(held_out(read_dataset(changed), card)) == len(dataset.images)


def test_every_frame_only_when_asked_and_marked_as_such(finished_run, evaluate):
    status, report, out, _ = evaluate(finished_run.project, "--all")
    assert status == 0
    assert report.keys() == NUMBERS | {"all_frames"}
    assert report["all_frames"] is True
    assert report["n_frames"] == 20
    assert "ALSO THOSE IT WAS TRAINED ON" in " ".join(out.split())


def one_line(result, text) -> None:
    status, report, _, err = result
    assert status == 1
    assert report is None
    assert len(err.splitlines()) == 1
    assert err.startswith("edgepose-train evaluate: ")
    assert text in err


def test_only_frames_it_was_trained_on(finished_run, evaluate, tmp_path):
    project, seen = tmp_path / "seen", read_card(finished_run.model).training.splits["test"]
    shutil.copytree(finished_run.project, project)
    for image in project.rglob("*.png"):
        if frame_identity(image) in seen:
            image.unlink()
    one_line(evaluate(project), "label new frames, or give --all")


def test_other_keypoints(finished_run, evaluate, tmp_path):
    project = copied(finished_run.project, tmp_path / "other")
    for path in (project / "config.yaml", *project.rglob("*.csv")):
        path.write_text(path.read_text().replace("tailbase", "tailtip"))
    one_line(evaluate(project), "labels snout, leftear, rightear, tailtip, but the model predicts snout, leftear,")


def test_a_keypoint_without_labels_is_null_not_nan(finished_run, evaluate, tmp_path):
    project = copied(finished_run.project, tmp_path / "unlabelled")
    for table in project.rglob("*.csv"):
        header, rows = table.read_text().splitlines()[:3], table.read_text().splitlines()[3:]
        rows = [",".join([*row.split(",")[:5], "", "", *row.split(",")[7:]]) for row in rows]
        table.write_text("\n".join([*header, *rows]) + "\n")
    status, report, out, _ = evaluate(project)
    assert status == 0
    assert report["per_keypoint"]["leftear"] is None
    assert report["n_points"] == 3 * report["n_frames"]
    assert "no label" in out
    assert all(isinstance(report[name], float) for name in ("mean_px", "median_px", "p95_px"))


def test_a_report_that_cannot_be_written_is_an_error_before_the_work(finished_run, capsys, tmp_path):
    arguments = ["evaluate", str(finished_run.model), str(finished_run.project), "--json"]
    assert cli.main([*arguments, str(tmp_path / "nowhere" / "score.json")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "there is no folder" in err


def test_the_folder_of_a_fit_is_a_model_and_json_is_printed_in_place_of_the_table(finished_run, evaluate, capsys):
    report = evaluate(finished_run.project)[1]
    assert cli.main(["evaluate", str(finished_run.folder), str(finished_run.project), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == report


def test_a_report_is_only_overwritten_with_force(finished_run, tmp_path, capsys):
    report = tmp_path / "score.json"
    report.write_text("mine")
    arguments = ["evaluate", str(finished_run.model), str(finished_run.project), "--json", str(report)]
    assert cli.main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert report.read_text() == "mine"
    assert cli.main([*arguments, "--force"]) == 0
    assert json.loads(report.read_text())["n_frames"] == 4


def test_a_missing_model(rendered_project, tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path / "model.tflite"), str(rendered_project)]) == 78
    assert "no such model file" in capsys.readouterr().err
