"""`edgepose check`: one line each, and an exit status that tells whose fault it is."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from brokers import Mosquitto
from model_files import activate, stored, variant

from edgepose.cli.main import main
from edgepose.config.schema import SpoolConfig
from edgepose.delivery.batching import Batch
from edgepose.delivery.spool_disk import SpoolDisk
from edgepose.delivery.spool_lock import spool_disk_folder


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
    assert list(lines) == ["config", "state", "model", "delegate", "camera", "broker", "disk", "clock"]
    assert {verdict for verdict, _ in lines.values()} <= {"ok", "warn"}
    assert lines["delegate"] == ("ok", lines["delegate"][1])
    assert "XNNPACK" in lines["delegate"][1]
    assert lines["camera"][1].startswith("640x480")


def test_the_clock_is_said_to_be_as_good_as_the_time_service_says(
    tmp_path: Path, demo_model: Path, mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    library = ctypes.CDLL
    kernel = SimpleNamespace(adjtimex=lambda timex: 0)  # a time service has set the clock
    monkeypatch.setattr(
        ctypes, "CDLL", lambda name, *more, **options: library(name, *more, **options) if name else kernel
    )
    for program, answer in (
        ("busctl", ""),
        ("chronyc", "C0000201,192.0.2.1,2,1.0,-0.0002,0,0,0,0,0,0.001,0.00061,1.0,Normal"),
    ):
        (tmp_path / program).write_text(f"#!/bin/sh\necho '{answer}'\n", encoding="ascii")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    mosquitto.start()
    _, lines = check(write(tmp_path / "f.yaml", demo_model, mosquitto.port), capsys)
    assert lines["clock"] == ("ok", "synchronised, within 1.4 ms")


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


def test_the_model_that_was_activated_is_checked_and_nothing_changes(
    tmp_path: Path, demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = activate(variant(demo_model, tmp_path / "new", "renamed", keypoints=("nose", "left", "right", "tail")))
    before = stored()
    rule = "device: cage-07\nrules: {away: {when: {score: {keypoint: snout, below: 0.3}}}}\n"
    _, lines = check(write(tmp_path / "f.yaml", demo_model, 1, more=rule), capsys)
    assert lines["model"][0] == "ok"
    assert lines["model"][1].startswith(f"{name}, 4 keypoints")
    assert f"activated in place of {demo_model}" in lines["model"][1]
    assert "the model has no keypoint 'snout'" in lines["rules"][1]
    assert stored() == before


def test_check_makes_no_folder_and_names_the_state_folder(
    tmp_path: Path, demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once it made /var/lib/edgepose for root, and with it another state folder."""
    more = f"record: {{folder: {tmp_path}/var/rec, max_gb: 0.001}}\nhard_frames: {{folder: {tmp_path}/var/hard}}\n"
    _, lines = check(write(tmp_path / "f.yaml", demo_model, 1, more=more), capsys)
    assert lines["state"] == ("ok", str(tmp_path / "xdg_state_home" / "edgepose"))
    assert lines["record"][0] == "ok"
    assert [path.name for path in tmp_path.iterdir()] == ["f.yaml"]


def test_what_a_newer_version_has_left_is_shown(
    tmp_path: Path, demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = spool_disk_folder(SpoolConfig(), "cage-07")
    disk = SpoolDisk(spool / "spool.db.v2", 1e8, 1e6)
    disk.append([Batch("poses", 17, b"{}")], synced=True)
    disk.close()
    (spool / "settings.json").write_text('{"v": 2}')
    before = stored()
    _, lines = check(write(tmp_path / "f.yaml", demo_model, 1, more="device: cage-07\n"), capsys)
    assert lines["state"][0] == "warn"
    assert "settings.json: written by a newer version of edgepose (format 2, this one knows 1)" in lines["state"][1]
    assert f"a newer version of edgepose has left 17 poses in {spool}/spool.db.v2" in lines["state"][1]
    assert stored() == before


def test_json_on_stdout_takes_the_place_of_the_lines(
    tmp_path: Path, demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path / "f.yaml", demo_model, 1)
    assert main(["check", "-c", str(config), "--json", "-"]) == 1
    report = json.loads(capsys.readouterr().out)
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert not report["ready"]
    assert (verdicts["config"], verdicts["model"], verdicts["broker"]) == ("ok", "ok", "fail")
    assert all(set(check) == {"name", "verdict", "text"} for check in report["checks"])


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        ("{source: usb, device: /dev/v4l/by-id/none}", "/dev/v4l/by-id/none: no such camera; "),
        (
            "{source: rtsp, url: 'rtsp://127.0.0.1:1/cam'}",
            "rtsp://127.0.0.1:1/cam: connection refused; is the camera on",
        ),
        (
            "{source: images, path: none}",
            "none: cannot read this folder (No such file or directory); check camera.path",
        ),
        (
            "{source: rtsp, url: 'rtsp://127.0.0.1:1/cam', username: ann, password_file: none}",
            "camera.password_file: cannot read",
        ),
    ],
    ids=["usb", "rtsp", "images", "password"],
)
def test_a_camera_that_is_not_there_is_one_line(
    camera: str, message: str, tmp_path: Path, demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines = check(write(tmp_path / "f.yaml", demo_model, 1, camera), capsys)
    assert status == (78 if "password" in message else 1)
    assert lines["camera"][0] == "FAIL"
    assert message in lines["camera"][1]


@pytest.mark.parametrize(
    ("max_gb", "installed", "verdict", "text"),
    [
        (0.001, True, "ok", "H.264 by software"),
        (0.001, False, "FAIL", "pip install 'edgepose[video]'"),
        (1e5, True, "warn", "of max_gb 100000; old segments go earlier"),
    ],
)
def test_whether_it_can_record(
    tmp_path: Path,
    demo_model: Path,
    max_gb: float,
    installed: bool,
    verdict: str,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "av", None)  # importing it fails
    config = write(tmp_path / "f.yaml", demo_model, 1)
    with config.open("a", encoding="utf-8") as file:
        file.write(f"record: {{folder: rec, max_gb: {max_gb}}}\nhard_frames: {{folder: f.yaml}}\n")
    status, lines = check(config, capsys)
    assert lines["record"][0] == verdict
    assert text in lines["record"][1]
    assert lines["hard_frames"][0] == "FAIL"  # a file, no folder
    assert "cannot write there" in lines["hard_frames"][1]
    assert status == 1


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
            "give a file that `edgepose calibrate` wrote",
        ),
    ],
)
def test_view_and_geometry_are_held_against_a_frame(
    more: str, name: str, verdict: str, text: str, tmp_path: Path, demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lines = check(write(tmp_path / "f.yaml", demo_model, 1, more=more), capsys)
    assert lines[name][0] == verdict
    assert text in lines[name][1]


def test_a_mask_or_a_zone_for_another_size_of_frame_fails(
    tmp_path: Path, demo_model: Path, mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    mosquitto.start()
    outside = "[[1000, 100], [1200, 100], [1200, 300]]"
    rule = f"{{gate: {{when: {{in_zone: {{keypoint: snout, zone: {outside}}}}}}}}}"
    more = f"masks: {{door: {outside}}}\nrules: {rule}\n"
    status, lines = check(write(tmp_path / "f.yaml", demo_model, mosquitto.port, more=more), capsys)
    assert status == 78
    for name, section in (("masks", "masks.door"), ("rules", "rules.gate")):
        assert lines[name] == ("FAIL", f"{section}: reaches beyond the frame, which is 640x480; draw it for this size")


def test_what_run_cannot_open_fails(
    tmp_path: Path, demo_model: Path, mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    mosquitto.start()
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        more = f"prometheus: {{port: {port}}}\nspool: {{folder: file}}\n"
        status, lines = check(write(tmp_path / "f.yaml", demo_model, mosquitto.port, more=more), capsys)
    assert status
    assert lines["prometheus"][0] == lines["spool"][0] == "FAIL"
    assert "Address already in use" in lines["prometheus"][1]
    assert f"{tmp_path / 'file'}: poses cannot be kept there" in lines["spool"][1]
