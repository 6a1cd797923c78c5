"""`edgepose bench`: numbers that belong together, for people and for scripts. How fast is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.cli.main import main
from edgepose.daemon.benchmark import BLOCK

STAGES = ["copy", "load", "invoke", "decode", "hand_over", "encode"]


def bench(*arguments) -> subprocess.CompletedProcess[str]:
    """In its own process: bench refuses to run where TensorFlow is loaded, as other tests may have done."""
    command = [sys.executable, "-m", "edgepose", "bench", *map(str, arguments), "--seconds", "0.2"]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_reports_every_stage_and_the_bare_interpreter(demo_model, tmp_path):
    done = bench(demo_model, "--json", tmp_path / "bench.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "bench.json").read_text())
    assert list(report["stages_ms"]) == STAGES
    assert all(0 < stage["p50"] <= stage["p95"] <= stage["p99"] for stage in report["stages_ms"].values())
    assert report["frames"] % BLOCK == 0
    assert report["frames"] > 0
    assert report["ratio"] == pytest.approx(report["fps"] / report["raw_fps"], rel=1e-3)
    outside = sum(stage["p50"] for name, stage in report["stages_ms"].items() if name != "invoke")
    assert report["outside_invoke_ms"] == pytest.approx(outside, abs=0.01)
    assert (report["threads"], report["source"], report["frame_wh"]) == (1, "synthetic", [640, 480])
    assert report["rss_mb"] > report["preloaded_mb"] > 0
    assert all(stage in done.stdout for stage in STAGES)
    assert f"{report['fps']:.1f} fps" in done.stdout


def test_takes_the_frames_of_a_video_and_prints_json(demo_model, tmp_path):
    """Fewer frames than it may hold are used in turns."""
    path: Path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (96, 64))
    for i in range(3):
        writer.write(np.full((64, 96, 3), 40 * i, np.uint8))
    writer.release()
    done = bench(demo_model, "--source", path, "--threads", 2, "--json", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)  # which takes the place of the table
    assert list(report["stages_ms"]) == STAGES
    assert (report["threads"], report["source"], report["frame_wh"]) == (2, str(path), [96, 64])
    assert report["preloaded_mb"] == pytest.approx(3 * 96 * 64 * 3 / 1e6, abs=0.05)


def test_a_report_that_cannot_be_written_is_one_line(demo_model, tmp_path, capsys):
    assert main(["bench", str(demo_model), "--json", str(tmp_path / "nowhere" / "bench.json")]) == 2
    missing = f"--json {tmp_path}/nowhere/bench.json: there is no folder {tmp_path}/nowhere; make it first"
    assert capsys.readouterr().err.splitlines() == [f"edgepose: {missing}"]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["{model}", "--source", "{folder}/none.mp4"], 1, "no such video file"),
        (["{folder}/none.tflite"], 78, "no such model file"),
    ],
    ids=["source", "model"],
)
def test_what_cannot_be_benched_is_one_line(demo_model, tmp_path, capsys, arguments, status, told):
    filled = [argument.format(model=demo_model, folder=tmp_path) for argument in arguments]
    assert main(["bench", *filled]) == status
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("seconds", ["nan", "inf", "0"])
def test_a_time_that_is_none_is_one_line(demo_model, capsys, seconds):
    with pytest.raises(SystemExit) as caught:
        main(["bench", str(demo_model), "--seconds", seconds])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--seconds: {seconds}: give a number above 0" in line
