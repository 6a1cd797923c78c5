"""Turns the answers to `edgepose init` into settings of the configuration."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

import yaml

from edgepose.config.ready import boards, find_ready
from edgepose.errors import UsageError
from edgepose.system.shipped_files import DEMO_MODEL

OTHER_BOARD = "other"
_BOARD_NAMES = {
    "Raspberry Pi Zero 2": "pi-zero-2w",
    "Raspberry Pi 3 Model B Plus": "pi-3b-plus",
    "Raspberry Pi 4": "pi-4",
    "Raspberry Pi 5": "pi-5",
}


def board_from_model(text: str) -> str:
    """Returns the board that /proc/device-tree/model names, or `other`."""
    return next((name for start, name in _BOARD_NAMES.items() if text.startswith(start)), OTHER_BOARD)


def board_settings(name: str) -> dict[str, Any]:
    """Returns the settings that suit a board. Raises UsageError for a name that is not known."""
    if name == OTHER_BOARD:
        return {}
    path = find_ready(name, boards() | {OTHER_BOARD: Path()}, "--board")
    settings: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {key: value for key, value in settings.items() if key not in {"model", "mqtt"}}


def camera_settings(text: str) -> dict[str, Any]:
    """Returns the `camera` section for picamera2, usb, synthetic, a device file, a URL, a video or a folder of images.

    Raises:
        UsageError: the text is none of these.
    """
    usual = {"size_wh": [640, 480], "rate_hz": 30.0}
    path = Path(text).expanduser()
    if text in {"picamera2", "synthetic"}:
        return {"source": text, **usual}
    if text == "usb" or text.isdecimal() or text.startswith("/dev/"):
        device = "/dev/video0" if text == "usb" else int(text) if text.isdecimal() else text
        return {"source": "usb", "device": device, **usual}
    if "://" in text:
        return {"source": "rtsp", "url": text}
    if path.is_dir():
        return {"source": "images", "path": str(path.resolve())}
    if path.is_file():
        return {"source": "video", "path": str(path.resolve()), "realtime": True}
    raise UsageError(
        f"--camera {text}: not known, and there is no such file or folder; give picamera2, usb, synthetic, a device "
        "such as /dev/video0, the URL of a network camera, a video file or a folder of images"
    )


def device_settings(name: str) -> dict[str, Any]:
    """Returns the device's name; the host name is the default and is not written. Raises UsageError."""
    if name == socket.gethostname():
        return {}
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise UsageError(f"--device {name}: give a name of letters, digits, `_`, `.` and `-`, such as cage-07")
    return {"device": name}


def model_setting(model: Path, folder: Path) -> str:
    """Returns what the configuration says about a model: relative where the model lies in or below its folder."""
    if model == DEMO_MODEL:
        return "demo"
    model, folder = model.absolute(), folder.absolute()
    return os.path.relpath(model, folder) if model.is_relative_to(folder) else str(model)
