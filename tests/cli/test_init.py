"""`edgepose init` in the shell: by options, by questions on a terminal, and from ready configurations."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from edgepose.cli.main import main
from edgepose.config.loading import read_config


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_options_make_a_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--board pi-3b-plus --camera /dev/video1 --broker mqtts://ann@broker.lab --device cage-07 --model m.tflite"
    assert main(["init", *words.split()]) == 0
    config = read_config(folder / "edgepose.yaml")
    assert config.camera.device == "/dev/video1"
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.username) == ("broker.lab", 8883, "ann")
    assert config.mqtt.tls is not None
    assert config.inference.soft_limit_c == 58.0
    assert (config.device, config.model) == ("cage-07", str(folder / "m.tflite"))
    told = capsys.readouterr().out
    assert "edgepose.yaml: device cage-07, camera usb, broker broker.lab:8883" in told
    assert f"copy it to {folder / 'm.tflite'}" in told
    assert "edgepose check\n" in told


def test_without_a_terminal_the_defaults_are_taken(folder: Path, demo_model: Path) -> None:
    assert main(["init", "--camera", "synthetic"]) == 0
    assert read_config(folder / "edgepose.yaml").model == str(demo_model)


def test_nothing_is_overwritten_unless_forced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "edgepose.yaml"
    path.write_text("mine", encoding="utf-8")
    assert main(["init"]) == 2
    assert capsys.readouterr().err == "edgepose: edgepose.yaml exists already; give another --output, or --force\n"
    assert path.read_text(encoding="utf-8") == "mine"
    assert main(["init", "--camera", "synthetic", "--force"]) == 0
    assert read_config(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--camera nonsense", "--camera nonsense: not known"),
        ("--board pi-44", "did you mean 'pi-4'?"),
        ("--broker mqtt://ann:word@host", "leave out the password"),
        ("--from home", "did you mean"),
        ("--from home-cage --camera usb", "brings its own camera; leave out --camera"),
        ("--device a/b", "give a name of letters, digits"),
    ],
)
def test_a_wrong_answer_is_one_line(words: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", *words.split()]) in {2, 78}
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert "word@" not in error
    assert not (folder / "edgepose.yaml").exists()
    (folder / "edgepose.yaml").write_text("mine", encoding="utf-8")
    assert main(["init", *words.split()]) in {2, 78}
    assert message in capsys.readouterr().err  # which a file that exists does not hide


def test_ready_configurations_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--list"]) == 0
    assert "home-cage      A home cage by night" in capsys.readouterr().out


def test_a_copy_brings_what_it_needs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--from", "closed-loop", "--device", "arena-2", "--model", "demo"]) == 0
    config = read_config(folder / "edgepose.yaml")
    assert config.device == "arena-2"
    assert config.processor is not None
    assert Path(config.processor.folder, "processor.py").is_file()
    assert config.processor.folder == str(folder)
    assert main(["init", "--from", "home-cage", "-o", "-"]) == 0
    assert "NoIR Camera Module" in capsys.readouterr().out
    assert main(["init", "--from", "home-cage", "-o", "cage.yaml"]) == 0
    told = capsys.readouterr().out
    assert "boot/home-cage.txt" in told
    assert "edgepose check -c cage.yaml" in told


def test_on_a_terminal_it_asks(folder: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edgepose", "init", "--board", "other"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, b"nonsense\nsynthetic\n192.168.1.10\ncage 7\ncage-07\n\n")
        seen = b""
        while b"edgepose run" not in seen:
            seen += os.read(ours, 4096)
    os.close(ours)
    text = seen.decode()
    assert process.returncode == 0
    assert text.count("Which camera?") == 2
    assert "not known, and there is no such file" in text
    assert "Which board?" not in text
    config = read_config(folder / "edgepose.yaml")
    assert (config.device, config.mqtt.host) == ("cage-07", "192.168.1.10")


def test_a_closed_input_writes_nothing(folder: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "edgepose", "init"], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        os.write(ours, b"\x04")
        seen = b""
        while b"nothing is written" not in seen:
            seen += os.read(ours, 4096)
    os.close(ours)
    assert process.returncode == 2
    assert not (folder / "edgepose.yaml").exists()
