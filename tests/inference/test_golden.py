"""The golden output: a model must compute what it computed when it was made."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from model_files import rewrite

from edgepose.errors import ModelError
from edgepose.inference.estimator import Estimator
from edgepose.inference.model_file import read_card


@pytest.fixture
def model(demo_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(demo_model.read_bytes())
    return path


def change(model: Path, **golden: object) -> None:
    rewrite(model, golden=msgspec.structs.replace(read_card(model).golden, **golden))


def test_equal_outputs_must_mean_the_cards_keypoints(model):
    points = read_card(model).golden.keypoints
    change(model, keypoints=tuple((x + 0.005, y, score) for x, y, score in points))
    assert Estimator(model, 1).golden_exact is True
    change(model, keypoints=tuple((x + 0.02, y, 0.0) for x, y, _ in points))
    with pytest.raises(ModelError, match=r"model\.tflite: its card's golden keypoints are 0.02 px from"):
        Estimator(model, 1)


def test_a_golden_picture_that_cannot_be_used_is_told_with_the_file(model):
    change(model, png="")
    with pytest.raises(ModelError, match=r"model\.tflite: the card's golden picture cannot be decoded"):
        Estimator(model, 1)
