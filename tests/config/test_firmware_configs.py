"""Every ready configuration loads and runs, on the synthetic camera; every line for config.txt has its reason."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from brokers import wait_until

from edgepose.config.camera import SyntheticCameraConfig
from edgepose.config.loading import effective_yaml, read_config
from edgepose.config.schema import Config
from edgepose.daemon.assembly import Daemon

FOLDER = Path(__file__).parents[2] / "firmware_configs"
CONFIGS = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.yaml") if "grafana" not in path.parts)


def on_synthetic(config: Config, demo_model: Path, tmp_path: Path) -> Config:
    """What it says, without the hardware that it names: camera, model, broker and disks."""
    size_wh = getattr(config.camera, "size_wh", (640, 480))
    changes: dict[str, Any] = {
        "model": str(demo_model),
        "camera": SyntheticCameraConfig(size_wh=size_wh, rate_hz=20.0, seed=1),
        "mqtt": msgspec.structs.replace(config.mqtt, host="127.0.0.1", port=9, tls=None, username=None),
        "spool": msgspec.structs.replace(config.spool, folder=str(tmp_path / "spool")),
        "inference": msgspec.structs.replace(config.inference, delegate="cpu"),
    }
    for key in ("record", "hard_frames"):
        if section := getattr(config, key):
            changes[key] = msgspec.structs.replace(section, folder=str(tmp_path / key))
    return msgspec.structs.replace(config, **changes)


@pytest.mark.parametrize("name", CONFIGS, ids=str)
def test_it_loads_and_runs(name: Path, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "closed-loop" in name.name:
        pytest.importorskip("gpiozero", reason="needs gpiozero")
        monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    config = read_config(FOLDER / name)
    assert f"device: {config.device_name()}" in effective_yaml(config)
    stop = threading.Event()
    daemon = Daemon(on_synthetic(config, demo_model, tmp_path), stop)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        wait_until(lambda: daemon._pipeline.handed_over >= 3, "poses", 60)
        alerts = daemon._health.message().alerts
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
    assert not alerts.keys() & {"processor", "model", "region"}, alerts
    assert not [about for about in alerts if about.startswith("observer")], alerts


def test_every_board_and_use_is_in_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    links = {Path(link) for link in re.findall(r"\]\(([^)]+)\)", readme)}
    assert all((FOLDER / link).exists() for link in links)
    boards = {path for path in CONFIGS if path.parts[0] == "boards"}
    assert set(CONFIGS) - boards <= links


@pytest.mark.parametrize("path", sorted((FOLDER / "boot").glob("*.txt")), ids=lambda path: path.name)
def test_each_line_for_the_firmware_has_its_reason(path: Path) -> None:
    """In the line above: config.txt has no comments behind a setting."""
    lines = path.read_text(encoding="utf-8").splitlines()
    settings = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    assert settings
    assert all(re.fullmatch(r"[a-z0-9_]+=[^\s#]+", lines[number]) for number in settings)
    assert all(re.fullmatch(r"# .{10,}", lines[number - 1]) for number in settings)


def test_both_cameras_of_one_board_have_names_of_their_own() -> None:
    left, right = (read_config(FOLDER / "uses" / f"camera-{side}.yaml") for side in ("left", "right"))
    assert left.device_name() != right.device_name()
    assert {left.camera.which, right.camera.which} == {0, 1}
