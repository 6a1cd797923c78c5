"""Ready configurations are found by name, and a copy of one works in any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepose.config.loading import config_at
from edgepose.config.ready import boards, companions, find_ready, purpose, ready_configs, with_settings
from edgepose.errors import UsageError

NAMES = sorted(ready_configs())


def test_names_are_those_of_the_files() -> None:
    files = {path.stem for path in (Path(__file__).parents[2] / "firmware_configs").rglob("*.yaml")}
    assert set(NAMES) == files - {"datasource"}
    assert {"pi-4", "pi-zero-2w"} <= set(boards()) < set(NAMES)


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"--from home-cag: .*did you mean 'home-cage'\?"):
        find_ready("home-cag", ready_configs(), "--from")


@pytest.mark.parametrize("name", NAMES)
def test_the_first_sentence_says_what_it_is_for(name: str) -> None:
    assert 8 < len(purpose(ready_configs()[name])) < 115
    assert "\n" not in purpose(ready_configs()[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_with_other_settings_differs_in_nothing_else(name: str, tmp_path: Path, demo_model: Path) -> None:
    text = ready_configs()[name].read_text(encoding="utf-8")
    broker = {"host": "broker.lab", "port": 1884, "username": "ann"}
    before = config_at(text, name, tmp_path)
    copy = with_settings(text, {"device": "cage-99", "model": "demo", "mqtt": broker})
    config = config_at(copy, name, tmp_path)
    assert config.device == "cage-99"
    assert config.model == str(demo_model)
    mqtt = config.mqtt
    assert (mqtt.host, mqtt.port, mqtt.username, mqtt.tls) == ("broker.lab", 1884, "ann", None)
    assert config.mqtt.frames_per_message == before.mqtt.frames_per_message
    for key in ("camera", "inference", "record", "rules", "tags", "commands", "spool"):
        assert getattr(config, key) == getattr(before, key)
    assert copy.count("#") > 0.5 * text.count("#")


def test_companion_files_are_shipped() -> None:
    for path in ready_configs().values():
        assert all(file.is_file() for file in companions(path.read_text(encoding="utf-8")))
    names = [path.name for path in companions(ready_configs()["home-cage"].read_text(encoding="utf-8"))]
    assert names == ["camera.txt", "home-cage.txt", "mosquitto-durable.conf"]
