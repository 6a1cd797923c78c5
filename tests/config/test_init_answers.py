"""Answers to `edgepose init` become settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepose.config.init_answers import board_from_model, board_settings, camera_settings, model_setting
from edgepose.errors import UsageError
from edgepose.system.shipped_files import DEMO_MODEL


@pytest.mark.parametrize(
    ("text", "board"),
    [
        ("Raspberry Pi 4 Model B Rev 1.4\0", "pi-4"),
        ("Raspberry Pi Zero 2 W Rev 1.0\0", "pi-zero-2w"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3\0", "pi-3b-plus"),
        ("Raspberry Pi 5 Model B Rev 1.0\0", "pi-5"),
        ("Some other board", "other"),
        ("", "other"),
    ],
)
def test_the_board_is_recognised(text: str, board: str) -> None:
    assert board_from_model(text) == board


def test_a_board_brings_its_settings_but_no_model() -> None:
    assert board_settings("other") == {}
    settings = board_settings("pi-zero-2w")
    assert settings["inference"]["threads"] == 3
    assert settings.keys() == {"camera", "inference", "spool"}
    with pytest.raises(UsageError, match="did you mean 'pi-zero-2w'"):
        board_settings("pi-zero-2")


def test_a_camera_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    known = {
        "picamera2": "picamera2",
        "synthetic": "synthetic",
        "usb": "usb",
        "/dev/video2": "usb",
        "1": "usb",
        "rtsp://192.168.1.20/stream": "rtsp",
        str(tmp_path): "images",
        str(tmp_path / "a.mp4"): "video",
    }
    assert {text: camera_settings(text)["source"] for text in known} == known
    assert camera_settings("/dev/video2")["device"] == "/dev/video2"
    assert camera_settings("2")["device"] == 2  # a number, as text it would be a file of that name
    with pytest.raises(
        UsageError, match="--camera pikamera: not known, and there is no such file or folder; give picamera2, usb"
    ):
        camera_settings("pikamera")


def test_a_model_in_the_same_folder_is_relative(tmp_path: Path) -> None:
    assert model_setting(DEMO_MODEL, tmp_path) == "demo"
    assert model_setting(tmp_path / "RUN" / "model.tflite", tmp_path) == "RUN/model.tflite"
    assert model_setting(Path("/models/m.tflite"), tmp_path) == "/models/m.tflite"
