"""`edgepose check`: one line each, and an exit status that tells whose fault it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from brokers import Mosquitto

from edgepose.cli.main import main


def check(config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit status, and verdict and text by name."""
    status = main(["check", "-c", str(config)])
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    return status, {name: (verdict, text) for name, verdict, text in lines}


def write(path: Path, model: Path, port: int, camera: str = "{source: synthetic}", more: str = "") -> Path:
    path.write_text(
        f"model: {model}\ncamera: {camera}\ninference: {{threads: 1}}\nmqtt: {{host: 127.0.0.1, port: {port}}}\n{more}",
        encoding="utf-8",
    )
    return path


def test_all_is_well(
    tmp_path: Path, demo_model: Path, mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    mosquitto.start()
    status, lines = check(write(tmp_path / "f.yaml", demo_model, mosquitto.port), capsys)
    assert status == 0
    assert list(lines) == ["config", "model", "delegate", "camera", "broker", "disk", "clock"]
    assert {verdict for verdict, _ in lines.values()} <= {"ok", "warn"}
    assert lines["delegate"] == ("ok", lines["delegate"][1])
    assert "XNNPACK" in lines["delegate"][1]
    assert lines["camera"][1].startswith("640x480")


def test_an_absent_broker_and_camera_exit_1_and_the_rest_is_still_told(
    tmp_path: Path, demo_model: Path, mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    camera = "{source: video, path: none.mp4}"
    status, lines = check(write(tmp_path / "f.yaml", demo_model, mosquitto.port, camera), capsys)
    assert status == 1
    assert lines["model"][0] == "ok"
    assert lines["camera"][0] == "FAIL"
    assert "no such video file" in lines["camera"][1]
    assert lines["broker"][0] == "FAIL"
    assert "connection refused; start the broker" in lines["broker"][1]


def test_a_broker_that_refuses_exits_1(
    tmp_path: Path, demo_model: Path, mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    mosquitto.start("allow_anonymous false")
    status, lines = check(write(tmp_path / "f.yaml", demo_model, mosquitto.port), capsys)
    assert status == 1
    assert "refused: Not authorized" in lines["broker"][1]


def test_a_missing_model_exits_78_before_anything_else(
    tmp_path: Path, mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines = check(write(tmp_path / "f.yaml", Path("none.tflite"), mosquitto.port), capsys)
    assert status == 78
    assert lines["model"][0] == lines["broker"][0] == "FAIL"


def test_a_bad_config_exits_78_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("modle: x\n", encoding="utf-8")
    status, lines = check(path, capsys)
    assert status == 78
    assert list(lines) == ["config"]


@pytest.mark.parametrize(
    ("more", "name", "verdict", "text"),
    [
        ("view: {region: [20, 30, 600, 440]}", "view", "ok", "looks at 600x440 from (20, 30) on"),
        (
            "view: {region: [20, 30, 200, 150]}",
            "view",
            "warn",
            "shows the animal 3.2 times as large as the whole frame does",
        ),
        (
            "view: {region: [500, 30, 200, 150]}",
            "view",
            "FAIL",
            "view.region [500, 30, 200, 150] (x, y, w, h) does not lie",
        ),
        (
            "view: {follow: true, zoom: 2}",
            "view",
            "ok",
            "follows the animal through 320x240 of 640x480, 2 times as large",
        ),
        ("view: {follow: true}", "view", "FAIL", "was trained on whole frames alone"),
        (
            "geometry: {length: {between: [[100, 50], [500, 50]], mm: 200}}",
            "geometry",
            "ok",
            "0.5 mm a pixel in the middle",
        ),
        (
            "geometry: {points: [{px: [0, 0], mm: [0, 0]}, {px: [600, 0], mm: [300, 0]}, {px: [600, 400], "
            "mm: [300, 200]}, {px: [0, 400], mm: [0, 200]}, {px: [300, 200], mm: [150, 103]}]}",
            "geometry",
            "ok",
            "its points fit within",
        ),
        (
            "geometry: {length: {between: [[0, 0], [700, 9]], mm: 9}}",
            "geometry",
            "FAIL",
            "a point lies outside the frame",
        ),
        (
            "geometry: {calibration: none.yaml, length: {between: [[0, 0], [9, 9]], mm: 9}}",
            "geometry",
            "FAIL",
            "`edgepose calibrate` makes one",
        ),
    ],
)
def test_view_and_geometry_are_held_against_a_frame(
    more: str, name: str, verdict: str, text: str, tmp_path: Path, demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lines = check(write(tmp_path / "f.yaml", demo_model, 1, more=more), capsys)
    assert lines[name][0] == verdict
    assert text in lines[name][1]
