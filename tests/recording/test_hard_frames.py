"""Frames for the next round of labelling: the worst of each period, none twice, within bounds, in a layout that the
desktop side reads."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from brokers import wait_until
from fakes import SKELETON

from edgepose.config.schema import HardFramesConfig
from edgepose.recording.hard_frames import HardFrames
from edgepose.system.reporter import Reporter
from edgepose.types import Frame, Pose

NOON_US = 1_795_348_800_000_000
DAY = "cage-07-20261122"
WALK = np.array([[30, 20], [60, 20]], np.float32)
Make = Callable[..., HardFrames]


@pytest.fixture
def reporter() -> Reporter:
    return Reporter()


@pytest.fixture
def make(tmp_path: Path, reporter: Reporter) -> Iterator[Make]:
    made: list[HardFrames] = []

    def start(scorer: str = "fake@1", **settings: object) -> HardFrames:
        values = {"folder": str(tmp_path), "per_hour": 0.001, **settings}
        config = HardFramesConfig(**values)  # type: ignore[arg-type]
        made.append(HardFrames(config, "cage-07", SKELETON, scorer, reporter=reporter))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.close()


def see(made: HardFrames, i: int, score: float = 0.9, off: float = 0.0, shade: int | None = None) -> None:
    """Frame i of a mouse that walks to the right, grey of that shade."""
    image = np.full((48, 64, 3), 2 * i if shade is None else shade, np.uint8)
    shown = Frame(image, "bgr", i, i * 33_000_000, NOON_US)
    made.posed(shown, Pose(WALK + np.array([i + off, 0], np.float32), np.array([0.95, score], np.float32)))


def rows(folder: Path) -> list[list[str]]:
    with (folder / "machinelabels.csv").open(encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_worst_frame_of_a_period_is_saved_with_its_prediction(tmp_path: Path, make: Make) -> None:
    made = make()
    for i in range(60):
        see(made, i, {20: 0.4, 30: 0.1, 40: 0.3}.get(i, 0.9))
    made.close()
    folder = tmp_path / "labeled-data" / DAY
    assert [path.name for path in sorted(folder.iterdir())] == ["img00001.png", "machinelabels.csv"]
    assert (cv2.imread(str(folder / "img00001.png")) == 60).all()
    header, (row,) = rows(folder)[:3], rows(folder)[3:]
    assert [line[:4] for line in header] == [
        ["scorer", "", "", "fake@1"],
        ["bodyparts", "", "", "snout"],
        ["coords", "", "", "x"],
    ]
    assert row[:3] == ["labeled-data", DAY, "img00001.png"]
    assert [float(cell) for cell in row[3:]] == pytest.approx([60, 20, 0.95, 90, 20, 0.1])
    assert made.saved == 1


def test_a_jump_is_hard_and_a_walk_is_not(tmp_path: Path, make: Make) -> None:
    made = make()
    for i in range(60):
        see(made, i)
    made.close()
    assert made.saved == 0
    again = make()
    for i in range(60):
        see(again, i, off=15 if i == 33 else 0)
    again.close()
    assert again.saved == 1
    assert (cv2.imread(str(tmp_path / "labeled-data" / DAY / "img00001.png")) == 66).all()


def test_an_empty_cage_is_saved_once_and_a_restart_goes_on_counting(tmp_path: Path, make: Make) -> None:
    made, numbers = make(per_hour=7200), iter(range(10_000))

    def watch() -> int:
        see(made, next(numbers), 0.0, shade=100)
        return made.saved

    wait_until(lambda: watch() == 1, "the first")
    for _ in range(200):
        see(made, next(numbers), 0.0, shade=104)
    made.close()
    assert made.saved == 1
    other = make()
    for i in range(3):
        see(other, i, 0.0, shade=200)
    other.close()
    assert [row[2] for row in rows(tmp_path / "labeled-data" / DAY)[3:]] == ["img00001.png", "img00002.png"]


def test_another_model_gets_another_folder_and_half_a_row_goes(tmp_path: Path, make: Make) -> None:
    for scorer in ("fake@1", "fake@2", "fake@1"):
        made = make(scorer)
        for i in range(3):
            see(made, i, 0.0)
        made.close()
        with (tmp_path / "labeled-data" / DAY / "machinelabels.csv").open("a", encoding="utf-8") as file:
            file.write("labeled-data,cage-07-2026")
    assert [row[2] for row in rows(tmp_path / "labeled-data" / DAY)[3:5]] == ["img00001.png", "img00002.png"]
    assert len(rows(tmp_path / "labeled-data" / f"{DAY}_2")) == 4


def test_beyond_its_bound_nothing_is_saved_or_removed_and_that_is_reported(
    tmp_path: Path, make: Make, reporter: Reporter, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "labeled-data" / "cage-07-20200101" / "img00001.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x" * 2000)
    made, numbers = make(per_hour=7200, max_mb=0.002), iter(range(10_000))

    def alerted() -> bool:
        see(made, next(numbers), 0.0)
        return bool(reporter.alerts)

    wait_until(alerted, "the alert")
    assert "the frames fill hard_frames.max_mb; fetch and remove them" in reporter.alerts["hard_frames"]
    assert len(caplog.messages) == 1
    old.unlink()
    wait_until(lambda: not alerted(), "saving again")
    assert made.saved == 1


def test_a_folder_that_cannot_be_written_is_an_alert(tmp_path: Path, make: Make, reporter: Reporter) -> None:
    (tmp_path / "labeled-data").write_text("a file", encoding="utf-8")
    made = make()
    for i in range(3):
        see(made, i, 0.0)
    made.close()
    assert "cannot save frames" in reporter.alerts["hard_frames"]
