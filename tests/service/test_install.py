"""`edgepose install` and `uninstall`, on a system in a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from model_files import variant
from system_programs import SystemPrograms

from edgepose.cli.main import main
from edgepose.config.loading import read_config
from edgepose.errors import ConfigError
from edgepose.service.install import FILES, install, uninstall
from edgepose.service.steps import Steps

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path, demo_model: Path) -> Path:
    folder = tmp_path / "desk"
    variant(demo_model, folder, "mouse")
    path = folder / "cage.yaml"
    path.write_text(
        "# cage 7\nmodel: mouse.tflite   # of last week\ncamera: {source: synthetic}\n"
        "record: {folder: /var/lib/edgepose/recordings}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card with a system that is not running, as in a card reader."""
    folder = tmp_path / "card"
    (folder / "etc").mkdir(parents=True)
    return folder


def test_a_card_is_made_ready_and_the_same_again_changes_nothing(
    config: Path, card: Path, programs: SystemPrograms, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = Steps(card)
    install(steps, config, "")
    assert steps.changed
    for path in FILES.values():
        assert (card / path.lstrip("/")).is_file()
    there = card / "etc" / "edgepose" / "edgepose.yaml"
    assert "# cage 7\nmodel: mouse.tflite" in there.read_text(encoding="utf-8")
    assert read_config(there).model == str(card / "etc" / "edgepose" / "mouse.tflite")
    assert f"systemctl --root={card} enable edgepose.service edgepose-settle.service" in programs.calls()
    again = Steps(card)
    install(again, config, "")
    assert not again.changed
    assert "  write" not in capsys.readouterr().out.split("as it is", 1)[1]


@pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None or os.getuid() != 0, reason="needs systemd's tools, and root"
)
def test_a_card_by_systemds_own_tools(config: Path, card: Path) -> None:
    install(Steps(card), config, "left")
    assert "\nedgepose:" in "\n" + (card / "etc" / "passwd").read_text(encoding="ascii")
    assert "gpio:" in (card / "etc" / "group").read_text(encoding="ascii")
    wants = card / "etc" / "systemd" / "system" / "multi-user.target.wants"
    assert {path.name for path in wants.iterdir()} == {"edgepose@left.service", "edgepose-settle.service"}


def test_a_dry_run_touches_nothing(config: Path, card: Path, programs: SystemPrograms) -> None:
    install(Steps(card, dry=True), config, "left")
    assert [path for path in card.rglob("*") if path.is_file()] == []
    assert programs.calls() == []


def test_several_cameras_have_units_of_their_own(config: Path, card: Path, programs: SystemPrograms) -> None:
    install(Steps(card), config, "left")
    assert (card / "etc" / "edgepose" / "left.yaml").is_file()
    assert any("enable edgepose@left.service" in line for line in programs.calls())


def test_folders_elsewhere_are_opened_to_the_service(config: Path, card: Path, programs: SystemPrograms) -> None:
    config.write_text(config.read_text("utf-8").replace("/var/lib/edgepose/recordings", "/mnt/usb"), encoding="utf-8")
    user = f"edgepose:x:{os.getuid()}:{os.getgid()}::/nonexistent:/usr/sbin/nologin\n"
    (card / "etc" / "passwd").write_text(user, encoding="ascii")
    install(Steps(card), config, "")
    dropin = card / "etc/systemd/system/edgepose.service.d/folders.conf"
    assert dropin.read_text(encoding="utf-8") == "[Service]\nReadWritePaths=/mnt/usb\n"


WRONG = {
    "record: {folder: recordings}": r"record.folder: the service may not write to /etc/edgepose/recordings; choose",
    "record: {folder: /home/pi/video}": r"record.folder: the service may not write to /home/pi/video; choose",
    "geometry: {calibration: lens.yaml, length: {between: [[0, 0], [9, 9]], mm: 5}}": "cannot read .*lens.yaml",
    "mqtt: {hots: lab}": "did you mean 'host'",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_could_not_run_is_refused_before_anything_is_changed(
    line: str, config: Path, card: Path, programs: SystemPrograms
) -> None:
    config.write_text(f"model: mouse.tflite\ncamera: {{source: synthetic}}\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=WRONG[line]):
        install(Steps(card), config, "")
    assert not (card / "etc" / "edgepose" / "edgepose.yaml").exists()


def test_uninstalling_leaves_the_data_unless_purge_is_given(config: Path, card: Path, programs: SystemPrograms) -> None:
    install(Steps(card), config, "")
    uninstall(Steps(card), purge=False)
    left = {str(path.relative_to(card)) for path in card.rglob("*") if path.is_file()}
    assert left == {"etc/edgepose/edgepose.yaml", "etc/edgepose/mouse.tflite"}
    uninstall(Steps(card), purge=True)
    assert not [path for path in card.rglob("*") if path.is_file()]


def test_a_wrong_configuration_is_reported_instead_of_steps(
    tmp_path: Path, card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.yaml").write_text("model: 5", encoding="utf-8")
    assert main(["install", "--dry-run", "--root", str(card), "--config", str(tmp_path / "wrong.yaml")]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1


def test_the_commands_want_root_and_good_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["install", "--instance", "a/b", "--dry-run"]) == 2
    assert main(["install", "--root", "/nowhere"]) == 2
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda *_args: False)
    for words in (["install"], ["uninstall"], ["upgrade", "x.whl"]):
        assert main(words) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("edgepose: --instance a/b: give a name of letters, digits")
    assert said[2:] == [f"edgepose: needs root: sudo edgepose {name}" for name in ("install", "uninstall", "upgrade")]


def test_the_wheel_brings_the_units(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from edgepose.system.shipped_files import shipped; print(shipped('systemd/udev.rules'))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).read_bytes() == (ROOT / "systemd" / "udev.rules").read_bytes()
