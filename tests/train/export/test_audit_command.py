"""`edgepose-train audit`, as it is typed."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from edgepose_train.cli import main

DEMO = str(resources.files("edgepose") / "demo" / "demo.tflite")


def test_says_what_a_model_costs_and_which_operation_leaves_the_edge_tpu(capsys):
    assert main(["audit", DEMO]) == 1
    out = capsys.readouterr().out
    assert "demo.tflite: 32 operations, 60 million multiply-accumulates" in out
    assert "pi-zero-2w" in out
    assert "operation 25, RESIZE_BILINEAR" in out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["none.tflite"], 78, "cannot read the model"),
        ([str(Path(DEMO).with_suffix(".json"))], 78, "not a TFLite model"),
        ([DEMO, "--compile"], 1, "edgetpu_compiler is not installed"),
    ],
)
def test_what_cannot_be_done_is_one_line(capsys, monkeypatch, tmp_path, arguments, status, words):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["audit", *arguments]) == status
    err = [line for line in capsys.readouterr().err.splitlines() if "edgepose-train audit" in line]
    assert len(err) == 1
    assert words in err[0]
