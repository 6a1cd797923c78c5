"""Predictions become labels only when somebody has changed them."""

from __future__ import annotations

import numpy as np
import pandas as pd  # noqa: TID251  as napari-deeplabcut reads the files
import pytest
from dlc_project import NAMES, write_image

from edgepose.errors import DatasetError
from edgepose.types import Skeleton
from edgepose_train.cli import main
from edgepose_train.labels.deeplabcut_writer import create_project, write_labels
from edgepose_train.labels.machine_labels import write_machine_labels
from edgepose_train.labels.reading import read_dataset

COUNT = 7


def predictions(count=COUNT, start=0) -> dict[str, np.ndarray]:
    """Returns (K, 3) for each image. Positions are float32, as the estimator returns them."""
    rng = np.random.default_rng(start)
    values = np.dstack([rng.uniform(2, 40, (count, 3, 2)).astype(np.float32), rng.uniform(0.2, 1, (count, 3))])
    return {f"img{start + i:03}.png": row for i, row in enumerate(values)}


@pytest.fixture
def project(tmp_path):
    """Makes a project with images and predictions, in which nothing is labelled."""
    create_project(tmp_path / "round2", "maze", "Ann", Skeleton(NAMES), {})
    for name in predictions():
        write_image(folder(tmp_path / "round2") / name)
    write_machine_labels(folder(tmp_path / "round2"), 0, "maze@123456", NAMES, predictions())
    return tmp_path / "round2"


def folder(project):
    return project / "labeled-data" / "cage1"


def save_in_napari(project, changes=lambda frame: None):
    """Does what napari-deeplabcut does at Ctrl+S: it saves every point of the layer under the project's scorer."""
    frame = pd.read_hdf(folder(project) / "machinelabels-iter0.h5").drop("likelihood", axis=1, level="coords")
    columns = frame.columns.to_frame(index=False)
    columns["scorer"] = "Ann"
    frame.columns = pd.MultiIndex.from_frame(columns)
    changes(frame)
    frame.to_hdf(folder(project) / "CollectedData_Ann.h5", key="keypoints", mode="w")
    frame.to_csv(folder(project) / "CollectedData_Ann.csv")


def move_and_delete(frame):
    frame.iloc[1, 0] += 2  # moved
    frame.iloc[4, 2:4] = np.nan  # deleted


def test_both_files_hold_the_predictions(project):
    h5 = pd.read_hdf(folder(project) / "machinelabels-iter0.h5", "df_with_missing")
    table = pd.read_csv(folder(project) / "machinelabels.csv", header=[0, 1, 2], index_col=[0, 1, 2])
    pd.testing.assert_frame_equal(h5, table, check_names=False)
    np.testing.assert_array_equal(h5.to_numpy().reshape(-1, 3, 3), list(predictions().values()))


def test_predictions_alone_are_not_labelled(project):
    with pytest.raises(DatasetError, match="7 images, none labelled yet"):
        read_dataset(project)


def test_only_what_somebody_changed_is_a_label(project):
    save_in_napari(project, move_and_delete)
    dataset = read_dataset(project)
    assert [image.path.name for image in dataset.images] == ["img001.png", "img004.png"]
    assert [image.path.name for image in dataset.unchecked] == [f"img00{i}.png" for i in (0, 2, 3, 5, 6)]
    assert dataset.problems[-1].startswith("5 images with predictions that nobody changed; left out")


def test_nothing_changed_is_no_data_set(project, capsys):
    save_in_napari(project)
    assert main(["inspect", str(project)]) == 1
    err = capsys.readouterr().err
    assert "7 images with predictions that nobody changed" in err
    assert len(err.splitlines()) == 1


def test_fit_does_not_learn_from_predictions(project, tmp_path, capsys):
    """Two of seven frames were corrected, which is too few. The five others would have been enough."""
    save_in_napari(project, move_and_delete)
    assert main(["fit", str(project), "-o", str(tmp_path / "run"), "--weights", "none"]) == 1
    assert "2 labelled frames are too few" in capsys.readouterr().err


def test_labels_of_frames_without_predictions_count(project):
    save_in_napari(project, move_and_delete)
    write_image(folder(project) / "img100.png")
    rows = read_dataset(project)
    names = [image.path.name for image in rows.images] + ["img100.png"]
    xy = [*(image.xy_px for image in rows.images), np.ones((3, 2))]
    write_labels(folder(project), "Ann", NAMES, names, np.stack(xy))
    assert len(read_dataset(project).images) == 3


def test_a_second_round_keeps_the_first_and_shows_only_what_waits(project):
    save_in_napari(project, move_and_delete)
    write_labels(folder(project), "Ann", NAMES, ["img001.png"], np.ones((1, 3, 2)))
    write_machine_labels(folder(project), 1, "maze@999999", NAMES, predictions(2, start=50))
    shown = pd.read_hdf(folder(project) / "machinelabels-iter1.h5")
    assert [row[2] for row in shown.index] == [f"img{i:03}.png" for i in (0, 2, 3, 4, 5, 6, 50, 51)]
    known = pd.read_csv(folder(project) / "machinelabels.csv", header=[0, 1, 2], index_col=[0, 1, 2])
    assert len(known) == 9
    np.testing.assert_array_equal(known.to_numpy()[0].reshape(3, 3), predictions()["img000.png"])


def test_other_body_parts_are_refused(project):
    with pytest.raises(DatasetError, match="other body parts"):
        write_machine_labels(folder(project), 0, "m", ("snout", "elbow"), {"img9.png": np.ones((2, 3))})
