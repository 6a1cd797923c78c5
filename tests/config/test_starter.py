"""The configuration file that `edgepose init` writes is valid, explains every setting, and shows the defaults."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
import yaml

from edgepose.config.camera import CameraConfig
from edgepose.config.loading import parse_config
from edgepose.config.schema import Config, config_schema
from edgepose.config.starter import starter_file

LEAST_CAMERAS: dict[str, dict[str, Any]] = {
    "picamera2": {},
    "usb": {},
    "rtsp": {"url": "rtsp://192.168.1.20/stream1"},
    "video": {"path": "recording.mp4"},
    "images": {"path": "frames"},
    "synthetic": {},
}


def starter(camera: str = "synthetic") -> str:
    return starter_file({"model": "demo", "camera": {"source": camera, **LEAST_CAMERAS[camera]}})


def uncommented(text: str) -> str:
    """Every setting active. Comments between the settings have two # or none behind the first one."""
    lines = [
        line for line in text.splitlines() if not line.startswith(("# The conf", "#   edgepose", "# Settings", "# ---"))
    ]
    return "\n".join(line.replace("# ", "", 1) if line.startswith(("# ", "  # ")) else line for line in lines)


def as_read(value: Any) -> Any:
    """Lists and tuples are the same in YAML."""
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("camera", LEAST_CAMERAS)
def test_it_is_a_config_with_what_was_chosen_and_nothing_else(camera: str) -> None:
    config = parse_config(starter(camera), "starter")
    kind = {str(one.__struct_config__.tag): one for one in get_args(CameraConfig)}[camera]
    assert config == Config(model="demo", camera=kind(**LEAST_CAMERAS[camera]))


@pytest.mark.parametrize("camera", LEAST_CAMERAS)
def test_it_shows_every_setting_with_its_default(camera: str) -> None:
    shown = yaml.safe_load(uncommented(starter(camera)))
    parse_config(uncommented(starter(camera)), "starter")
    definitions = config_schema()["$defs"]
    assert set(shown) == set(definitions["Config"]["properties"])
    names = {key: _definition(field) for key, field in definitions["Config"]["properties"].items()}
    names["camera"] = next(name for name in definitions if _source(definitions[name]) == camera)
    for key, name in names.items():
        if name:
            fields = definitions[name]["properties"]
            assert set(shown[key]) == set(fields)
            for leaf, field in fields.items():
                if field.get("default") not in (None, {}) and "examples" not in field:
                    assert as_read(shown[key][leaf]) == as_read(field["default"]), f"{key}.{leaf}"


def _definition(field: dict[str, Any]) -> str:
    """The name of the struct that a section is, also where it may be null."""
    options = [field, *field.get("anyOf", ())]
    references = [option["$ref"] for option in options if "$ref" in option]
    return references[0].rpartition("/")[2] if len(references) == 1 else ""


def _source(definition: dict[str, Any]) -> str:
    return str(definition.get("properties", {}).get("source", {}).get("enum", [""])[0])


def test_it_explains_every_setting_and_is_not_too_wide() -> None:
    text = starter("usb")
    assert max(map(len, text.splitlines())) <= 120
    flat = " ".join(line.strip().lstrip("#").strip() for line in text.split("\n"))
    words = " ".join(flat.replace("#", " ").split())
    for name in ("Config", "UsbCameraConfig", "MqttConfig", "SpoolConfig", "RecordConfig"):
        for key, field in config_schema()["$defs"][name]["properties"].items():
            if key not in {"source", "camera"} and not _definition(field):
                first = " ".join(field["description"].split()[:5])
                assert first in words, f"{name}.{key}"


def test_what_was_chosen_is_active() -> None:
    chosen = {
        "device": "cage-07",
        "model": "RUN/model.tflite",
        "camera": {"source": "usb", "device": "/dev/video2", "size_wh": [320, 240]},
        "mqtt": {"host": "broker.lab", "port": 8883, "tls": {}},
        "inference": {"soft_limit_c": 58.0},
    }
    config = parse_config(starter_file(chosen), "starter")
    assert config == msgspec.convert(chosen, Config)
