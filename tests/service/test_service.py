"""The service's files, and the commands that put them in place; on a system in a folder, without systemd.

With a real systemd, a camera and power cuts: `make rig-test`."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from model_files import variant

from edgepose.cli.main import main
from edgepose.config.loading import read_config
from edgepose.config.migrations import migrate
from edgepose.errors import ConfigError, EdgeposeError, UsageError
from edgepose.service import upgrade as upgrade_module
from edgepose.service.install import FILES, install, uninstall
from edgepose.service.steps import Steps
from edgepose.service.upgrade import exchange, trouble

ROOT = Path(__file__).parents[2]
UNITS = ("edgepose.service", "edgepose@.service")
ANALYZE = shutil.which("systemd-analyze")


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str
    parser.read(ROOT / "systemd" / name, encoding="utf-8")
    return parser


# --- units -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze (apt install systemd)")
def test_units_are_tight_and_understood(name: str, tmp_path: Path) -> None:
    """A program at the place that they name is all that `verify` misses here."""
    text = (ROOT / "systemd" / name).read_text(encoding="utf-8").replace("/opt/edgepose/bin/edgepose", "/bin/true")
    path = tmp_path / name.replace("@", "@x")
    path.write_text(text, encoding="utf-8")
    verified = subprocess.run([ANALYZE, "verify", str(path)], capture_output=True, text=True, check=False)
    assert str(path) not in verified.stderr
    assert path.name not in verified.stderr
    score = subprocess.run(
        [ANALYZE, "security", "--offline=true", str(path)], capture_output=True, text=True, check=False
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", score.stdout)
    assert found is not None, score.stderr
    assert float(found[1]) <= 1.5


def test_the_template_differs_in_names_alone() -> None:
    one, many = (unit(name) for name in UNITS)
    for section in one.sections():
        for key in one[section]:
            if "%i" not in many[section][key]:
                assert many[section][key] == one[section][key], key


def test_the_watchdog_kills_and_everything_but_a_wrong_config_is_tried_again() -> None:
    service = unit("edgepose.service")["Service"]
    assert (service["Type"], service["Restart"], service["WatchdogSignal"]) == ("notify", "on-failure", "SIGKILL")
    assert set(service["RestartPreventExitStatus"].split()) == {"2", "78"}


# --- install -----------------------------------------------------------------------------------------------


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
    """A card whose system is not running, as in a desk's reader."""
    folder = tmp_path / "card"
    (folder / "etc").mkdir(parents=True)
    return folder


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """systemd's programs, which here only note how they were called; and nobody is chowned."""
    log = tmp_path / "words"
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles", "udevadm", "userdel"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\n', encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(shutil, "chown", lambda *_args, **_more: None)
    monkeypatch.setattr(Steps, "_ids", lambda *_args: (os.getuid(), os.getgid()))
    return lambda: log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def test_a_card_is_made_ready_and_the_same_again_changes_nothing(
    config: Path, card: Path, words: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = Steps(card)
    install(steps, config, "")
    assert steps.changed
    for path in FILES.values():
        assert (card / path.lstrip("/")).is_file()
    there = card / "etc" / "edgepose" / "edgepose.yaml"
    assert "# cage 7\nmodel: mouse.tflite" in there.read_text(encoding="utf-8")
    assert read_config(there).model == str(card / "etc" / "edgepose" / "mouse.tflite")
    assert f"systemctl --root={card} enable edgepose.service edgepose-settle.service" in words()
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


def test_a_dry_run_touches_nothing(config: Path, card: Path, words: Callable[[], list[str]]) -> None:
    install(Steps(card, dry=True), config, "left")
    assert [path for path in card.rglob("*") if path.is_file()] == []
    assert words() == []


def test_several_cameras_have_units_of_their_own(config: Path, card: Path, words: Callable[[], list[str]]) -> None:
    install(Steps(card), config, "left")
    assert (card / "etc" / "edgepose" / "left.yaml").is_file()
    assert any("enable edgepose@left.service" in line for line in words())


def test_folders_elsewhere_are_opened_to_the_service(config: Path, card: Path, words: Callable[[], list[str]]) -> None:
    config.write_text(config.read_text("utf-8").replace("/var/lib/edgepose/recordings", "/mnt/usb"), encoding="utf-8")
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
    line: str, config: Path, card: Path, words: Callable[[], list[str]]
) -> None:
    config.write_text(f"model: mouse.tflite\ncamera: {{source: synthetic}}\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=WRONG[line]):
        install(Steps(card), config, "")
    assert not (card / "etc" / "edgepose" / "edgepose.yaml").exists()


def test_uninstalling_leaves_the_data_unless_told_otherwise(
    config: Path, card: Path, words: Callable[[], list[str]]
) -> None:
    install(Steps(card), config, "")
    uninstall(Steps(card), purge=False)
    left = {str(path.relative_to(card)) for path in card.rglob("*") if path.is_file()}
    assert left == {"etc/edgepose/edgepose.yaml", "etc/edgepose/mouse.tflite", "etc/edgepose/mouse.json"}
    uninstall(Steps(card), purge=True)
    assert not [path for path in card.rglob("*") if path.is_file()]


def test_the_commands_want_root_and_good_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["install", "--instance", "a/b", "--dry-run"]) == 2
    assert main(["install", "--root", "/nowhere"]) == 2
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda *_args: False)
    for words in (["install"], ["uninstall"], ["upgrade", "x.whl"]):
        assert main(words) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("edgepose: --instance a/b: letters, digits")
    assert told[2:] == [f"edgepose: needs root: sudo edgepose {name}" for name in ("install", "uninstall", "upgrade")]


# --- migrate -----------------------------------------------------------------------------------------------


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


# --- upgrade -----------------------------------------------------------------------------------------------


def test_two_folders_change_places_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()
    with pytest.raises(EdgeposeError, match="cannot change places"):
        exchange(tmp_path / "a", tmp_path / "c")


class Systemd:
    """What `systemctl show` says, one line of states after the other; the last one stays."""

    def __init__(self, *states: dict[str, str]) -> None:
        self.states, self.now = list(states), 0.0

    def show(self, _unit: str) -> dict[str, str]:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def clock(self) -> float:
        self.now += 1.0
        return self.now


UP, STARTING = {"ActiveState": "active", "MainPID": "7"}, {"ActiveState": "activating", "MainPID": "7"}


@pytest.mark.parametrize(
    ("states", "why"),
    [
        ([STARTING, STARTING, UP], ""),
        ([STARTING, UP, {**UP, "MainPID": "8", "NRestarts": "1"}], ""),
        ([STARTING], "edgepose.service gave no pose within 200 s"),
        ([STARTING, {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78"}], "has failed (exit-code"),
        ([STARTING, *({**STARTING, "NRestarts": str(n)} for n in range(4))], "was restarted 3 times"),
    ],
)
def test_a_new_version_is_judged_by_its_poses(
    states: list[dict[str, str]], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd = Systemd(*states)
    monkeypatch.setattr(upgrade_module, "_show", systemd.show)
    monkeypatch.setattr(upgrade_module.time, "sleep", lambda _seconds: None)
    told = trouble("edgepose.service", systemd.clock)
    assert (why in told) if why else told == ""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """An installed edgepose, as far as an upgrade looks: it tells a version, and may be told to fail."""
    folder = tmp_path / "opt" / "edgepose"
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").touch()
    write_program(folder, "1.0")
    return folder


def write_program(folder: Path, version: str) -> None:
    text = f'#!/bin/sh\ncase "$*" in *--version) echo edgepose {version};; esac\n'
    (folder / "bin" / "python.new").write_text(text, encoding="utf-8")
    (folder / "bin" / "python.new").chmod(0o755)
    (folder / "bin" / "python.new").replace(folder / "bin" / "python")


@pytest.mark.parametrize("healthy", [True, False])
def test_an_upgrade_stays_where_it_gives_poses_and_goes_back_where_not(
    healthy: bool,
    program: Path,
    tmp_path: Path,
    words: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wheel = tmp_path / "edgepose-2.0-py3-none-any.whl"
    wheel.touch()
    monkeypatch.setattr(upgrade_module, "PENDING", tmp_path / "state" / "pending.json")
    config = tmp_path / "etc" / "edgepose.yaml"
    config.parent.mkdir()
    config.write_text("old\n", encoding="utf-8")
    monkeypatch.setattr(upgrade_module, "ETC", str(config.parent))
    monkeypatch.setattr(upgrade_module, "_migrate", lambda _other: config.write_text("new\n", encoding="utf-8"))
    monkeypatch.setattr(upgrade_module, "active_units", lambda: ["edgepose.service"])
    monkeypatch.setattr(upgrade_module, "_prepare", lambda _wheel, _program, other: write_program(other, "2.0"))
    monkeypatch.setattr(upgrade_module, "trouble", lambda unit: "" if healthy else f"{unit} gave no pose")
    other = upgrade_module.previous(program)
    if healthy:
        upgrade_module.upgrade(wheel, program)
    else:
        with pytest.raises(EdgeposeError, match=r"given up \(edgepose.service gave no pose\); edgepose 1.0 is at work"):
            upgrade_module.upgrade(wheel, program)
    now, kept = ("2.0", "1.0") if healthy else ("1.0", "2.0")
    assert (upgrade_module.version(program), upgrade_module.version(other)) == (now, kept)
    assert config.read_text(encoding="utf-8") == ("new\n" if healthy else "old\n")
    assert words().count("systemctl restart --no-block edgepose.service") == (1 if healthy else 2)
    assert not upgrade_module.PENDING.exists()


def test_an_upgrade_that_was_cut_off_before_the_exchange_is_forgotten(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = tmp_path / "pending.json"
    monkeypatch.setattr(upgrade_module, "PENDING", pending)
    config = tmp_path / "edgepose.yaml"
    config.write_text("migrated already\n", encoding="utf-8")
    told = {"before": "1.0", "after": "2.0", "units": ["x"], "configs": [[str(config), "old\n"]]}
    pending.write_text(json.dumps(told), encoding="utf-8")
    upgrade_module.settle(program)
    assert not pending.exists()
    assert config.read_text(encoding="utf-8") == "old\n"
    pending.write_text("{", encoding="utf-8")
    with pytest.raises(EdgeposeError, match="the version at work is kept"):
        upgrade_module.settle(program)


def test_what_is_no_package_or_no_installation_is_told(program: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give a wheel \(.whl\) or a Debian package"):
        upgrade_module.upgrade(tmp_path / "edgepose.zip", program)
    wheel = tmp_path / "edgepose-2.0-py3-none-any.whl"
    wheel.touch()
    with pytest.raises(UsageError, match="no edgepose is installed there"):
        upgrade_module.upgrade(wheel, tmp_path / "nothing")


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
