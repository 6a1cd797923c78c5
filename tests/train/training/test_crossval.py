"""`fit --folds`: every labelled frame is tested once, by a model that was not trained on it."""

from __future__ import annotations

import pytest
from conftest import fit_arguments, run_fit

from edgepose.inference.model_file import read_card
from edgepose_train.labels.frame_identity import frame_identity
from edgepose_train.labels.reading import read_dataset

pytestmark = pytest.mark.slow  # a network is trained


@pytest.fixture(scope="module")
def folds_run(tmp_path_factory, rendered_project, weights_folder):
    folder = tmp_path_factory.mktemp("folds")
    arguments = fit_arguments(rendered_project, output=folder / "run", weights=weights_folder, folds=2, epochs=2)
    result = run_fit(arguments, folder / "log")
    assert "Traceback" not in result.stderr
    return folder / "run", result


def test_each_frame_is_tested_by_one_fold_that_did_not_train_on_it(folds_run, rendered_project):
    run, _ = folds_run
    tested = []
    for number in (1, 2):
        splits = read_card(run / f"fold-{number}" / "model.tflite").training.splits
        assert not set(splits["test"]) & {*splits["train"], *splits["validation"]}
        tested += splits["test"]
    assert sorted(tested) == sorted(frame_identity(image.path) for image in read_dataset(rendered_project).images)


def test_the_score_of_the_folds_is_in_the_card_of_the_model(folds_run):
    run, result = folds_run
    score = read_card(run / "model.tflite").scores["folds"]
    assert (score.n_frames, score.n_points) == (20, 80)
    of_folds = [read_card(run / f"fold-{number}" / "model.tflite").scores["int8"] for number in (1, 2)]
    expected = sum(part.mean_px * part.n_points for part in of_folds) / 80
    assert score.mean_px == pytest.approx(expected, abs=0.01)
    assert score.interval_px[0] < score.mean_px < score.interval_px[1]
    assert "fold 1 of 2" in result.stdout
    assert "folds" in (run / "report.html").read_text()
