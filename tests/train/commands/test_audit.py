"""`edgepose-train audit`: the table, the JSON, the errors."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

import pytest

from edgepose_train.cli import main

DEMO = str(resources.files("edgepose") / "demo" / "demo.tflite")


def test_prints_what_a_model_costs_and_which_operation_the_edge_tpu_refuses(capsys):
    assert main(["audit", DEMO]) == 1
    out = capsys.readouterr().out
    assert "demo.tflite: 32 operations, 60 million multiply-accumulates" in out
    assert "pi-zero-2w" in out
    assert "operation 25, RESIZE_BILINEAR" in out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["none.tflite"], 78, "cannot read the model"),
        (["junk.tflite"], 78, "junk.tflite: not a TFLite model"),
        ([DEMO, "--compile"], 1, "edgetpu_compiler is not installed"),
    ],
)
def test_what_cannot_be_done_is_one_line(capsys, monkeypatch, tmp_path, arguments, status, words):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("junk.tflite").write_text("no model", encoding="utf-8")
    assert main(["audit", *arguments]) == status
    err = [line for line in capsys.readouterr().err.splitlines() if "edgepose-train audit" in line]
    assert len(err) == 1
    assert words in err[0]


def test_json_is_printed_in_place_of_the_table(capsys):
    assert main(["audit", DEMO, "--json", "-"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["macs"] == 60_499_200
    assert report["edge_tpu"]["operations"] == 25
    assert report["boards"]["coral"]["estimate_ms"] is None
    assert report["boards"]["pi-4"]["estimate_ms"] > 1


def test_the_folder_of_a_fit_is_a_model(capsys, tmp_path):
    shutil.copy(DEMO, tmp_path / "model.tflite")
    assert main(["audit", str(tmp_path), "--json", str(tmp_path / "audit.json")]) == 1
    assert "model.tflite: 32 operations" in capsys.readouterr().out
    assert json.loads((tmp_path / "audit.json").read_text())["operations"] == 32
    assert main(["audit", str(tmp_path), "--json", str(tmp_path / "audit.json")]) == 2
    assert "exists already" in capsys.readouterr().err
