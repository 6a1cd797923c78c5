"""Configs of earlier versions: old keys get their new names or go, and everything else stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepose.cli.main import main
from edgepose.config.loading import parse_config, read_config
from edgepose.config.migrations import migrate

START = "model: m.tflite\ncamera: {source: synthetic}\n"
MJPEG = "record.codec is no longer a setting: H.264 is written instead of Motion JPEG"
H264 = "record.codec is no longer a setting: H.264 is written"


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("record: {folder: r, codec: mjpeg, max_gb: 2}", "record: {folder: r, max_gb: 2}", MJPEG),
        ("record: {codec: h264, folder: r}", "record: {folder: r}", H264),
        ("record: {folder: r, codec: 'mjpeg'} # mine", "record: {folder: r} # mine", MJPEG),
        ("record: {folder: r,\n  codec: mjpeg\n  }", "record: {folder: r\n  }", MJPEG),
        ("record:\n  codec: mjpeg  # small\n  folder: r  # mine\n", "record:\n  folder: r  # mine\n", MJPEG),
        ("record:\n  folder: r\n  codec: h264", "record:\n  folder: r\n", H264),
    ],
)
def test_the_codec_goes(old: str, new: str, note: str) -> None:
    assert migrate(START + old) == (START + new, [note])
    record = parse_config(START + new, "f.yaml").record
    assert record is not None
    assert record.folder == "r"


@pytest.mark.parametrize(
    "old", ["record: {codec: h264}", "record:\n  codec: h264\n", "record: {codec: [a], folder: r}"]
)
def test_a_codec_in_a_section_that_is_wrong_anyway_stays(old: str) -> None:
    assert migrate(START + old) == (START + old, [])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "mqtt:\n  host: a\n  # of all\n  format: msgpack  # shorter\n  # its port\n  port: 1\n",
            "mqtt:\n  host: a\n  # of all\n  # its port\n  port: 1\n",
        ),
        ("mqtt:\n  format: json\ndevice: d\n", "mqtt:\n  {}\ndevice: d\n"),
        ("mqtt:\n  host: a\n  format: json", "mqtt:\n  host: a\n"),
        ("mqtt: {format: json}", "mqtt: {}"),
        ("mqtt: {format: json, host: a}", "mqtt: {host: a}"),
        ("mqtt: {host: a, format: 'json', port: 1}", "mqtt: {host: a, port: 1}"),
        ("mqtt: {host: a, format: msgpack }", "mqtt: {host: a }"),
    ],
)
def test_the_format_of_messages_goes(old: str, new: str) -> None:
    assert migrate(START + old) == (START + new, ["mqtt.format is no longer a setting: messages are JSON"])
    parse_config(START + new, "f.yaml")


def test_several_changes_in_one_file() -> None:
    old = "uncertain: # mine\n  folder: u\nrecord: {codec: mjpeg, folder: r}\nmodel: m\ncamera:\n  type: synthetic\n"
    new, notes = migrate(old)
    assert new == ("hard_frames: # mine\n  folder: u\nrecord: {folder: r}\nmodel: m\ncamera:\n  source: synthetic\n")
    assert parse_config(new, "f.yaml").hard_frames is not None
    assert sorted(notes) == ["camera.type is called camera.source now", MJPEG, "uncertain is called hard_frames now"]


def test_an_older_config_is_read_and_rewritten_with_its_comments(
    demo_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = f"# mine\nmodel: {demo_model}  # good\ncamera: {{type: synthetic, seed: 3}} # the mouse\n"
    path = tmp_path / "edgepose.yaml"
    path.write_text(old, encoding="utf-8")
    assert read_config(path).camera.seed == 3
    assert main(["config", "migrate", "-c", str(path), "--dry-run"]) == 0
    assert path.read_text(encoding="utf-8") == old
    assert main(["config", "migrate", "-c", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == old.replace("type:", "source:")
    (backup,) = tmp_path.glob("edgepose.yaml.before-*")
    assert backup.read_text(encoding="utf-8") == old
    out = capsys.readouterr().out
    assert "+camera: {source: synthetic, seed: 3} # the mouse" in out
    assert main(["config", "migrate", "-c", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: is of this version already\n"


@pytest.mark.parametrize("text", ["", "[1]", "camera: 3", "camera: {source: usb, type: x}", "{", "a: &a [*a]", "\0"])
def test_what_is_not_older_stays(text: str) -> None:
    assert migrate(text) == (text, [])
