"""Frames that a device saved become labels only after a correction, in the project or where they lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd  # noqa: TID251  as napari-deeplabcut reads the files
import pytest

from edgepose.config.schema import HardFramesConfig
from edgepose.recording.hard_frames import HardFrames
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose, Skeleton
from edgepose_train.cli import main
from edgepose_train.labels.deeplabcut_writer import create_project
from edgepose_train.labels.reading import read_dataset

SKELETON = Skeleton(("snout", "tail"))
DAY = "cage-07-20261122"
COUNT = 4


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Makes four frames, as a device saves them."""
    for n in range(COUNT):
        config = HardFramesConfig(folder=str(tmp_path / "device"))
        made = HardFrames(config, "cage-07", SKELETON, "maze@123456", reporter=Reporter())
        rng = np.random.default_rng(n)
        image = rng.integers(0, 255, (48, 64, 3), np.uint8)
        for i in range(3):
            frame = Frame(image, "bgr", i, i * 33_000_000, 1_795_348_800_000_000)
            made.posed(frame, Pose(rng.uniform(5, 40, (2, 2)).astype(np.float32), np.array([0.1, 0.9], np.float32)))
        made.start()
        made.close()
    return tmp_path / "device"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    create_project(tmp_path / "maze", "maze", "Ann", SKELETON, {})
    return tmp_path / "maze"


def save_in_napari(folder: Path, table: pd.DataFrame) -> None:
    """Moves one point of the second frame and saves, as napari-deeplabcut does."""
    table = table.drop("likelihood", axis=1, level="coords")
    columns = table.columns.to_frame(index=False)
    columns["scorer"] = "Ann"
    table.columns = pd.MultiIndex.from_frame(columns)
    table.iloc[1, 0] += 2
    table.to_hdf(folder / "CollectedData_Ann.h5", key="keypoints", mode="w")
    table.to_csv(folder / "CollectedData_Ann.csv")


def test_merge_brings_them_into_the_project_to_be_corrected(
    saved: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(saved), str(project)]) == 0
    assert f"{COUNT} frames with predictions to be corrected" in capsys.readouterr().out
    folder = project / "labeled-data" / DAY
    table = pd.read_hdf(folder / "machinelabels-iter0.h5", "df_with_missing")
    assert len(table) == COUNT
    assert table.columns.get_level_values("scorer")[0] == "maze@123456"
    assert table.iloc[0, 2] == pytest.approx(0.1)
    save_in_napari(folder, table)
    dataset = read_dataset(project)
    assert [image.path.name for image in dataset.images] == ["img00002.png"]
    assert len(dataset.unchecked) == COUNT - 1
    assert main(["merge", str(saved), str(project)]) == 0  # once more changes nothing
    assert len(read_dataset(project).images) == 1


def test_corrected_where_they_lie_they_are_a_data_set(saved: Path, project: Path) -> None:
    folder = saved / "labeled-data" / DAY
    save_in_napari(folder, pd.read_csv(folder / "machinelabels.csv", header=[0, 1, 2], index_col=[0, 1, 2]))
    assert main(["inspect", str(saved)]) == 1  # one labelled frame is too few to train on
    assert main(["merge", str(saved), str(project)]) == 0
    assert [image.path.name for image in read_dataset(project).images] == ["img00002.png"]


def test_other_pictures_and_body_parts_are_reported(
    saved: Path, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = project / "labeled-data" / DAY / "img00001.png"
    other.parent.mkdir(parents=True)
    cv2.imwrite(str(other), np.zeros((48, 64, 3), np.uint8))
    assert main(["merge", str(saved), str(project)]) == 1
    assert "1 frame left out, the project has another picture: " in capsys.readouterr().out
    shutil.rmtree(project)
    create_project(project, "maze", "Ann", Skeleton(("snout", "paw")), {})
    assert main(["merge", str(saved), str(project)]) == 1
    assert "body parts snout, tail, but the project has others" in capsys.readouterr().err
