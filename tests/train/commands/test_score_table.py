"""The table of px errors: any name of a keypoint is shown as it is."""

from __future__ import annotations

import pytest

from edgepose.inference.model_card import Score
from edgepose_train.commands.score_table import print_scores


def test_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    score = Score(n_frames=1, n_points=2, mean_px=1.5, median_px=1.0, p95_px=2.0, per_keypoint={"[/]": 1.0, "[red]": 2})
    print_scores({"int8": score}, "")
    said = capsys.readouterr().out
    assert "[/]" in said
    assert "[red]" in said
    assert "1 frame, 2 labelled points" in said
