"""`edgepose snapshot`: a picture, its pose and numbers about it; nothing of a masked part."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from model_files import activate, stored, variant

from edgepose.cli.main import main
from edgepose.geometry.pixels import light, sharpness
from edgepose.system.shipped_files import DEMO_MODEL


def snapshot(tmp_path: Path, name: str = "view.png", **more: object) -> int:
    config = {"model": str(DEMO_MODEL), "camera": {"source": "synthetic", "seed": 1, "rate_hz": 100}, **more}
    (tmp_path / "edgepose.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return main(["snapshot", "-c", str(tmp_path / "edgepose.yaml"), "-o", str(tmp_path / name)])


def test_shows_the_frame_and_tells_about_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert snapshot(tmp_path) == 0
    told = capsys.readouterr().out
    picture = cv2.imread(str(tmp_path / "view.png"))
    assert picture.shape == (480, 640, 3)
    assert "640x480" in told
    assert "snout 0." in told
    assert "sharpness" in told


def test_nothing_masked_is_in_the_picture(tmp_path: Path) -> None:
    left_half = [[0, 0], [319, 0], [319, 479], [0, 479]]
    assert snapshot(tmp_path, masks={"left": left_half}) == 0
    picture = cv2.imread(str(tmp_path / "view.png"))
    assert picture[:, 325:].std() > 1
    drawn = np.any(picture[:, :316] > 0, axis=2).mean()  # keypoints may be drawn over the black
    assert drawn < 0.02


def test_the_model_that_was_activated_makes_the_pose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    activate(variant(DEMO_MODEL, tmp_path / "new", "renamed", keypoints=("nose", "left", "right", "tail")))
    before = stored()
    assert snapshot(tmp_path, device="cage-07") == 0
    assert "nose 0." in capsys.readouterr().out
    assert stored() == before


@pytest.mark.slow
def test_the_pose_is_sought_where_the_view_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert snapshot(tmp_path, view={"region": [600, 440, 40, 40]}) == 0  # a corner without a mouse
    corner = scores(capsys.readouterr().out)
    assert snapshot(tmp_path, "whole.png") == 0
    assert max(corner) < min(scores(capsys.readouterr().out))


def scores(text: str) -> list[float]:
    line = next(line for line in text.splitlines() if line.startswith("scores"))
    return [float(part.split()[-1]) for part in line.split(",")]


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("view.gif", {}, "give a name that ends with .jpg or .png"),
        ("none/view.png", {}, "there is no folder"),
        ("view.png", {"masks": {"door": [[0, 0], [1, 1]]}}, "masks"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, name: str, more: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert snapshot(tmp_path, name, **more) in {2, 78}
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


def test_blur_and_light_show_in_the_numbers() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    assert sharpness(cv2.GaussianBlur(picture, (9, 9), 3)) < sharpness(picture) / 10
    assert light(np.zeros((9, 9, 3), np.uint8)) == (0.0, 1.0, 0.0)
    assert light(np.full((9, 9, 3), 255, np.uint8)) == (255.0, 0.0, 1.0)
