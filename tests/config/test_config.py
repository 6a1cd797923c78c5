"""Reading the configuration: a mistake is reported with its place and with what was probably meant."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
import yaml

from edgepose.config.camera import (
    CameraConfig,
    ImageFolderConfig,
    RtspCameraConfig,
    SyntheticCameraConfig,
    UsbCameraConfig,
    VideoFileConfig,
)
from edgepose.config.loading import effective_yaml, parse_config, read_config
from edgepose.config.schema import BetweenConfig, RecordConfig, config_schema
from edgepose.errors import ConfigError

CAMERAS = {str(kind.__struct_config__.tag): kind for kind in get_args(CameraConfig)}
MINIMAL = "model: m.tflite\ncamera: {source: synthetic}\n"


def test_the_least_file_is_a_model_and_a_camera() -> None:
    config = parse_config(MINIMAL, "f.yaml")
    assert isinstance(config.camera, SyntheticCameraConfig)
    assert config.device_name() == socket.gethostname()
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.protocol) == ("localhost", 1883, "5")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "edgepose.yaml"
    path.write_text(
        "model: m.tflite\ncamera: {source: video, path: v.mp4}\nmqtt: {username: pi, password_file: /secret}\n"
        "geometry: {calibration: c.yaml, length: {between: [[0, 0], [9, 9]], mm: 5}}\n",
        encoding="utf-8",
    )
    config = read_config(path)
    assert isinstance(config.camera, VideoFileConfig)
    assert config.model == str(tmp_path / "m.tflite")
    assert config.camera.path == str(tmp_path / "v.mp4")
    assert config.mqtt.password_file == "/secret"
    assert config.geometry is not None
    assert config.geometry.calibration == str(tmp_path / "c.yaml")


def test_a_model_may_be_the_demo_or_the_folder_of_a_fit(tmp_path: Path, demo_model: Path) -> None:
    path = tmp_path / "edgepose.yaml"
    path.write_text("model: demo\ncamera: {source: synthetic}\n", encoding="utf-8")
    assert read_config(path).model == str(demo_model)
    (tmp_path / "RUN").mkdir()
    path.write_text("model: RUN\ncamera: {source: synthetic}\n", encoding="utf-8")
    assert read_config(path).model == str(tmp_path / "RUN" / "model.tflite")


def test_a_password_and_a_folder_of_the_camera_are_relative_too(tmp_path: Path) -> None:
    path = tmp_path / "edgepose.yaml"
    path.write_text("model: m\ncamera: {source: images, path: frames}\n", encoding="utf-8")
    images = read_config(path).camera
    assert isinstance(images, ImageFolderConfig)
    assert images.path == str(tmp_path / "frames")
    path.write_text(
        "model: m\ncamera: {source: rtsp, url: 'http://host:80/', username: pi, password_file: word}\n",
        encoding="utf-8",
    )
    stream = read_config(path).camera
    assert isinstance(stream, RtspCameraConfig)
    assert stream.password_file == str(tmp_path / "word")


@pytest.mark.parametrize("device", ["/dev/v4l/by-id/usb-046d_0825-video-index0", "2"])
def test_a_usb_camera_is_a_path_or_a_number(device: str) -> None:
    camera = parse_config(f"model: m\ncamera: {{source: usb, device: {device}}}", "f.yaml").camera
    assert isinstance(camera, UsbCameraConfig)
    assert str(camera.device) == device


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml: not a list of settings such as `model: demo`; `edgepose init` writes a configuration"),
        ("- 1", "f.yaml: not a list of settings such as `model: demo`; `edgepose init` writes a configuration"),
        ("model: [", "f.yaml, line 1: cannot read as YAML (expected the node content, but found '<stream end>')"),
        ("model: !!int x", "f.yaml: cannot read as YAML (invalid literal for int() with base 10: 'x')"),
        (MINIMAL + "model: n.tflite", "f.yaml, line 3: cannot read as YAML (the key 'model' occurs twice)"),
        (MINIMAL + "mqtt:\n  port: 1\n  port: 2", "f.yaml, line 5: cannot read as YAML (the key 'port' occurs twice)"),
        ("model: m\n\tcamera: x", "f.yaml, line 2: cannot read as YAML (there is a tab; indent with spaces)"),
        (
            "model: m: x",
            "f.yaml, line 1: cannot read as YAML (a colon stands where none may be; check the indentation, "
            "or quote the text)",
        ),
        (MINIMAL + "1: 2", "f.yaml: (a key): expected text"),
        ("camera: {source: synthetic}", "f.yaml: model: missing; add it"),
        (MINIMAL + "modle: x", "f.yaml: modle: unknown key; did you mean 'model'?"),
        (MINIMAL + "mqtt: {hots: x}", "f.yaml: mqtt.hots: unknown key; did you mean 'host'?"),
        (
            MINIMAL + "mqtt: {sourse: x}",
            "f.yaml: mqtt.sourse: unknown key; known: frames_per_message, home_assistant, host, keepalive_s, "
            "password_file, port, protocol, tls, username",
        ),
        (MINIMAL + "mqtt: {protocol: '3.1'}", "f.yaml: mqtt.protocol: '3.1' is not known; did you mean '3.1.1'?"),
        (MINIMAL + "mqtt: {protocol: '4'}", "f.yaml: mqtt.protocol: '4' is not known; known: 3.1.1, 5"),
        (
            MINIMAL + "mqtt: {port: x}",
            "f.yaml: mqtt.port: expected a whole number, got text; write it without quotes and zeros in front",
        ),
        (MINIMAL + "mqtt: {port: 0}", "f.yaml: mqtt.port: expected a whole number >= 1"),
        (
            MINIMAL + "mqtt: {protocol: 5}",
            "f.yaml: mqtt.protocol: expected text, got a whole number; write it in quotes",
        ),
        (MINIMAL + "device: a/b", "f.yaml: device: expected text that fits the pattern '^[A-Za-z0-9_.-]+$'"),
        (MINIMAL + "inference: {threads: -1}", "f.yaml: inference.threads: expected a whole number >= 0"),
        (
            "model: m\ncamera: {source: synthetik}",
            "f.yaml: camera.source: 'synthetik' is not known; did you mean 'synthetic'?",
        ),
        (
            "model: m\ncamera: {source: synthetic, loop: true}",
            "f.yaml: camera.loop: unknown key; known: rate_hz, seed, size_wh, source",
        ),
        ("model: m\ncamera: {source: synthetic, rate_hz: 0.001}", "f.yaml: camera.rate_hz: expected a number >= 0.01"),
        (
            "model: m\ncamera: {source: picamera2, size_wh: [641, 480]}",
            "f.yaml: camera.size_wh[0]: expected a whole number that's a multiple of 2",
        ),
        (
            "model: m\ncamera: {source: picamera2, exposure: 5}",
            "f.yaml: camera.exposure: unknown key; known: controls, hflip, rate_hz, sensor_bits, sensor_wh, size_wh, "
            "source, vflip, which",
        ),
        ("model: m\ncamera: {source: video}", "f.yaml: camera.path: missing; add it"),
        ("model: m\ncamera: {source: rtsp}", "f.yaml: camera.url: missing; add it"),
        (
            "model: m\ncamera: {source: rtsp, url: 192.168.1.20}",
            "f.yaml: camera: url must be like rtsp://192.168.1.20/stream; rtsps, http and https are known as well",
        ),
        (
            "model: m\ncamera: {source: rtsp, url: 'rtsp://pi:hunter2@host/'}",
            "f.yaml: camera: url must not hold user or password; use username and password_file",
        ),
        (
            "model: m\ncamera: {source: rtsp, url: 'rtsp://host:99999/'}",
            "f.yaml: camera: port out of range 0-65535",
        ),
        ("model: m\ncamera: {source: rtsp, url: 'rtsp://[::1/'}", "f.yaml: camera: invalid IPv6 URL"),
        ("model: m\ncamera: {source: usb, device: -1}", "f.yaml: camera.device: expected a whole number >= 0"),
        ("model: m\ncamera: {source: usb, rate_hz: 0.5}", "f.yaml: camera.rate_hz: expected a number >= 1.0"),
        (
            "model: m\ncamera: {source: usb, format: mjpeg}",
            "f.yaml: camera.format: 'mjpeg' is not known; did you mean 'mjpg'?",
        ),
        (MINIMAL + "record: {}", "f.yaml: record.folder: missing; add it"),
        (
            MINIMAL + "record: {folder: r, when: alwys}",
            "f.yaml: record.when: 'alwys' is not known; did you mean 'always'?",
        ),
        (
            MINIMAL + "record: {folder: r, when: marked}",
            "f.yaml: record.when: `marked` needs `mark` among the commands",
        ),
        (
            MINIMAL + "record: {folder: r, when: {betwen: [1, 2]}}",
            "f.yaml: record.when.betwen: unknown key; did you mean 'between'?",
        ),
        (
            MINIMAL + "record: {folder: r, when: {between: ['20:00', '24:00']}}",
            "f.yaml: record.when.between[1]: expected text that fits the pattern '^([01]?\\\\d|2[0-3]):[0-5]\\\\d$'",
        ),
        (MINIMAL + "hard_frames: {folder: r, below: 2}", "f.yaml: hard_frames.below: expected a number <= 1.0"),
        (MINIMAL + "view: {region: [0, 0, 10, 100]}", "f.yaml: view.region[2]: expected a whole number >= 16"),
        (MINIMAL + "view: {zoom: 1}", "f.yaml: view.zoom: expected a number > 1.0"),
        (
            MINIMAL + "geometry: {calibration: c.yaml}",
            "f.yaml: geometry: give either a length or points, of which the millimetres follow",
        ),
        (MINIMAL + "geometry: {points: [{px: [1, 2], mm: [3, 4]}]}", "f.yaml: geometry: 1 points; give four or more"),
        (
            MINIMAL + "geometry: {length: {betwen: [[1, 2], [3, 4]], mm: 5}}",
            "f.yaml: geometry.length.betwen: unknown key; did you mean 'between'?",
        ),
        (
            "model: m\ncamera: {source: synthetic, size_wh: [640]}",
            "f.yaml: camera.size_wh: expected a list of length 2, got 1",
        ),
    ],
)
def test_a_mistake_is_reported_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "f.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("masks: {a: [[0, 0], [.nan, 4], [5, 5]]}", "masks.a[1][0]"),
        ("record: {folder: r, segment_s: .inf}", "record.segment_s"),
        ("geometry: {length: {between: [[0, 0], [-.inf, 9]], mm: 5}}", "geometry.length.between[1][0]"),
    ],
)
def test_a_number_that_is_not_finite_is_no_setting(line: str, where: str) -> None:
    with pytest.raises(ConfigError, match=rf"^f.yaml: {re.escape(where)}: neither .nan nor .inf is a setting"):
        parse_config(MINIMAL + line, "f.yaml")


def test_deep_nesting_is_reported() -> None:
    with pytest.raises(ConfigError, match=r"^f.yaml: cannot read as YAML \(maximum recursion depth exceeded"):
        parse_config("[" * 5000, "f.yaml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tags: {cage: a, subject: 7}", "tags.subject: expected text, got a whole number; write it in quotes"),
        ("tags: {subject: on}", "tags.subject: expected text, got true or false; write it in quotes"),
        ("tags: {subject: 1.5}", "tags.subject: expected text, got a number; write it in quotes"),
        ("tags: {subject: }", "tags.subject: expected text, got nothing; give a value, or remove it"),
        ("tags: {on: x}", "tags.true (a key): expected text, got true or false; write it in quotes"),
        (
            "masks: {1: [[0, 0], [1, 4], [5, 5]]}",
            "masks.1 (a key): expected text, got a whole number; write it in quotes",
        ),
        ("device: 12", "device: expected text or nothing, got a whole number; write it in quotes"),
        ("device: on", "device: expected text or nothing, got true or false; write it in quotes"),
        ("mqtt: {protocol: 5}", "mqtt.protocol: expected text, got a whole number; write it in quotes"),
        ("mqtt:", "mqtt: expected settings of its own, got nothing; give a value, or remove it"),
        ("commands:", "commands: expected a list, got nothing; give a value, or remove it"),
        (
            "mqtt: {port: 01773}",
            "mqtt.port: expected a whole number, got text; write it without quotes and zeros in front",
        ),
        (
            "inference: {threads: 1:30}",
            "inference.threads: expected a whole number, got text; write it without quotes and zeros in front",
        ),
        ("view: {follow: 1}", "view.follow: expected true or false, got a whole number"),
        (
            "record: {folder: r, when: {between: [20, 8]}}",
            'record.when: 20 is no time of day; write hours and minutes, such as "20:00"',
        ),
        (
            "record: {folder: r, when: {between: [8:00, 08:00]}}",
            "record.when: both times are the same, so nothing would be recorded; `when: always` records all day",
        ),
    ],
)
def test_what_yaml_takes_for_another_value_is_named_with_a_remedy(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"{MINIMAL}{line}\n", "f.yaml")
    assert str(caught.value) == f"f.yaml: {message}"


@pytest.mark.parametrize("name", ["2020-13-45", "2020-12-24", "007", "0o17"])
def test_a_name_that_looks_like_a_date_is_a_name(name: str) -> None:
    assert parse_config(MINIMAL + f"device: {name}", "f.yaml").device_name() == name


def test_times_of_day_may_stand_without_quotes() -> None:
    """By YAML 1.1, 20:00 is a number of base 60, and 08:00 is text."""
    config = parse_config(MINIMAL + "record: {folder: r, when: {between: [20:00, 08:00]}}", "f.yaml")
    assert config.record == RecordConfig(folder="r", when=BetweenConfig(between=("20:00", "08:00")))
    assert config.wants_full()


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    path = tmp_path / "f.yaml"
    path.write_text("model: ~/m.tflite\ncamera: {source: video, path: ~/v.mp4}\n", encoding="utf-8")
    config = read_config(path)
    assert isinstance(config.camera, VideoFileConfig)
    assert (config.model, config.camera.path) == ("/home/ann/m.tflite", "/home/ann/v.mp4")
    path.write_text("model: ~no-such-user/m.tflite\ncamera: {source: synthetic}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="~ of an unknown user"):
        read_config(path)


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_config(tmp_path / "none.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"device: caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        read_config(latin)


def test_the_configuration_in_effect_holds_no_password(tmp_path: Path) -> None:
    word = tmp_path / "word"
    word.write_text("hunter2", encoding="utf-8")
    path = tmp_path / "f.yaml"
    path.write_text(MINIMAL + "mqtt: {username: pi, password_file: word}", encoding="utf-8")
    config = read_config(path)
    text = effective_yaml(config)
    assert "hunter2" not in text
    shown = parse_config(text, "shown")
    assert shown.mqtt == config.mqtt
    assert shown.device == config.device_name()


def test_the_schema_agrees_with_the_reader() -> None:
    validator = jsonschema.Draft202012Validator(config_schema())
    assert validator.is_valid(yaml.safe_load(MINIMAL))
    assert not validator.is_valid(yaml.safe_load(MINIMAL + "modle: x"))
    assert not validator.is_valid(yaml.safe_load(MINIMAL + "mqtt: {port: 0}"))


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ("", False),
        ("view: {follow: true}", True),
        ("view: {region: [0, 0, 16, 16]}", True),
        ("record: {folder: r}", True),
        ("hard_frames: {folder: r}", True),
        ("commands: [ping, snapshot]", True),
        ("commands: [set]", True),
    ],
)
def test_some_settings_need_the_whole_frame_of_the_camera(more: str, wanted: bool) -> None:
    assert parse_config(MINIMAL + more, "f.yaml").wants_full() is wanted


def test_the_schema_describes_every_section_and_field() -> None:
    definitions = config_schema()["$defs"]
    described = {name: definition.get("description", "") for name, definition in definitions.items()}
    for name, definition in definitions.items():
        for key, field in definition.get("properties", {}).items():
            described[f"{name}.{key}"] = field.get("description", "")
    assert len(described) > 140
    assert [name for name, text in described.items() if not re.fullmatch(r"\S.{8,}[.\]]", text)] == []
