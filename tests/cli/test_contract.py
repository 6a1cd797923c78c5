"""The contract of the command line, for every command of both programs: help, mistakes, outputs, JSON, order.

To add a command, add a `Case` with a command line that is valid, and what the command promises.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from clips import write_clip

from edgepose.cli.main import COMMANDS as DEVICE_COMMANDS
from edgepose.cli.main import main as device_main
from edgepose.cli.main import make_parser as device_parser
from edgepose.system.arguments import INSTALLED_CONFIG, CommandParser
from edgepose_train import cli as desk
from edgepose_train.demo_model import write_project

VENDOR = re.compile(r"INFO:|WARNING:|TensorFlow|XNNPACK|I0000|oneDNN")


@dataclass(frozen=True)
class Case:
    """A command and what it promises.

    Attributes:
        words: the program and the command.
        arguments: valid arguments, without options. Names in braces are files of the fixture `files`.
        options: valid options.
        missing: arguments and options that name a file that does not exist, and the exit status then.
        writes: the command has `-o` and refuses to overwrite `{existing}`.
        json: the command has `--json`, and prints JSON alone for `-`. Empty where it has not; else its options for it.
        runs: options with which it ends by itself within seconds.
    """

    words: str
    arguments: str = ""
    options: str = ""
    missing: tuple[str, int] | None = None
    writes: bool = False
    json: bool = False
    runs: str | None = None


CASES = [
    Case("edgepose run", "", "-c {config}", ("-c none.yaml", 78)),
    Case("edgepose check", "", "-c {config}", ("-c none.yaml", 78), json=True, runs=""),
    Case("edgepose init", "", "--camera synthetic -o {new}", ("--camera none.mp4", 2), writes=True, runs=""),
    Case("edgepose demo", "", "--seconds 1", ("--video none.mp4", 1)),
    Case("edgepose watch", "", "--device cage-07", ("--password-file none", 78)),
    Case(
        "edgepose analyze", "{model} {video}", "-o {new}.csv", ("none.tflite {video} -o {new}.csv", 78), True, runs=""
    ),
    Case("edgepose bench", "{model}", "--seconds 0.1", ("none.tflite", 78), json=True, runs="--seconds 0.1"),
    Case("edgepose snapshot", "", "-c {config} -o {new}.png", ("-c none.yaml -o {new}.png", 78), True, runs=""),
    Case("edgepose calibrate", "{video}", "--board 9x6 --square-mm 20 -o {new}.yaml", None, True),
    Case("edgepose collect", "", "-o {new}", ("merge none", 2)),
    Case("edgepose model list", "", "-c {config}", ("-c none.yaml", 78), json=True, runs=""),
    Case("edgepose model install", "{model}", "-c {config}", ("none.tflite -c {config}", 78)),
    Case("edgepose model show", "{model}", "", ("none.tflite", 78), json=True, runs=""),
    Case("edgepose model pack", "{model}", "-o {new}.tflite", ("none.tflite -o {new}.tflite", 78), True, runs=""),
    Case("edgepose model unpack", "{model}", "-o {new}", ("none.tflite -o {new}", 78), True, runs=""),
    Case("edgepose model activate", "openfield@3fa2c1", "-c {config}", ("openfield -c none.yaml", 78)),
    Case("edgepose model rollback", "", "-c {config}", ("-c none.yaml", 78)),
    Case("edgepose config show", "", "-c {config}", ("-c none.yaml", 78), runs=""),
    Case("edgepose config migrate", "", "-c {config} --dry-run", ("-c none.yaml", 78), runs=""),
    Case("edgepose config schema", runs=""),
    Case("edgepose schema", "", "--asyncapi", runs=""),
    Case("edgepose purge", "cage-07", "--password-file {config}", ("cage-07 --password-file none", 78)),
    Case("edgepose install", "", "-c {config} --dry-run", ("-c none.yaml --dry-run", 78)),
    Case("edgepose upgrade", "{model}", ""),
    Case("edgepose uninstall", "", "--dry-run"),
    Case("edgepose-train extract", "{video}", "-o {new} -n 3", ("none.mp4 -o {new}", 1)),
    Case("edgepose-train inspect", "{dataset}", "", ("none", 1), json=True, runs=""),
    Case("edgepose-train fit", "{dataset}", "-o {new} --epochs 1", ("none -o {new}", 1), writes=True),
    Case(
        "edgepose-train evaluate", "{model} {dataset}", "--all", ("none.tflite {dataset}", 78), json=True, runs="--all"
    ),
    Case("edgepose-train audit", "{model}", "", ("none.tflite", 78), json=True, runs=""),
    Case("edgepose-train suggest", "{model} {video}", "-o {new} -n 3", ("none.tflite {video} -o {new}", 78)),
    Case("edgepose-train merge", "{dataset} {other}", "--force", ("none {other}", 1)),
    Case("edgepose-train convert", "{dataset} {new}.json", "", ("none {new}.json", 1)),
]
BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: case.words)


def promising(promise: Callable[[Case], object]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [case for case in CASES if promise(case)], ids=lambda case: case.words)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video and two labelled projects, which every test copies."""
    folder = tmp_path_factory.mktemp("originals")
    write_clip(folder / "mouse.avi")
    mouse_project(folder / "project", 900)
    mouse_project(folder / "other", 901)
    return folder


@pytest.fixture
def files(tmp_path: Path, originals: Path, demo_model: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Path]:
    """Files for the braces of a case; the tests run in their folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "my.yaml"
    config.write_text(yaml.safe_dump({"model": str(demo_model), "camera": {"source": "synthetic", "rate_hz": 100}}))
    existing = tmp_path / "existing"
    existing.mkdir()
    (existing / "precious").write_text("mine")
    return {
        "config": config,
        "model": demo_model,
        "video": tmp_path / "mouse.avi",
        "dataset": tmp_path / "project",
        "other": tmp_path / "other",
        "new": tmp_path / "new",
    }


def mouse_project(folder: Path, seed: int) -> None:
    """Writes eight labelled frames that the demo's model was not trained on."""
    write_project(folder, [seed], 8, (160, 120))


def filled(text: str, files: Mapping[str, Path]) -> list[str]:
    return [word.format(**files) for word in text.split()]


def parser_of(words: str) -> argparse.ArgumentParser:
    """The parser that knows the arguments of a command, or of an action of a command."""
    program, *names = words.split()
    parser: argparse.ArgumentParser = (device_parser if program == "edgepose" else desk._parser)(names[0])
    for name in names:
        found = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
        parser = found.choices[name] if found else parser
    return parser


def run(words: list[str]) -> int:
    """The exit status, also where the parser ends the program."""
    main = device_main if words[0] == "edgepose" else desk.main
    try:
        return main(words[1:])
    except SystemExit as exc:
        return int(exc.code or 0)


def test_every_command_is_here() -> None:
    tested = {tuple(case.words.split()[:2]) for case in CASES}
    known = {("edgepose", name) for name in DEVICE_COMMANDS} | {("edgepose-train", name) for name in desk.COMMANDS}
    assert tested == known


@pytest.mark.parametrize("program", ["edgepose", "edgepose-train"])
def test_a_bare_program_explains_itself(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([program]) == 0
    printed = capsys.readouterr().out
    commands = DEVICE_COMMANDS if program == "edgepose" else desk.COMMANDS
    assert all(re.search(rf"^ +{name} +\S", printed, re.MULTILINE) for name in commands)


@BY_NAME
def test_help_explains_every_argument_and_fits(
    case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*case.words.split(), "--help"]) == 0
    printed, _, examples = capsys.readouterr().out.partition("\nexample")
    assert f"edgepose{'-train' * ('train' in case.words)} {case.words.split()[1]}" in printed + examples
    assert [line for line in printed.splitlines() if len(line) > 80] == []
    unexplained = [action.dest for action in parser_of(case.words)._actions if not action.help]
    assert unexplained == []


@BY_NAME
def test_an_unknown_option_is_one_line_with_a_suggestion(
    case: Case, files: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    option = max(parser_of(case.words)._option_string_actions, key=len)
    misspelt = option[:3] + option[4:]
    arguments, options = filled(case.arguments, files), filled(case.options, files)
    assert run([*case.words.split(), *arguments, *options, misspelt]) == 2
    error = capsys.readouterr().err
    assert error == f"{case.words}: unknown option: {misspelt}; did you mean {option}?\n"


@pytest.mark.parametrize("program", ["edgepose", "edgepose-train"])
def test_an_unknown_command_is_one_line_with_a_suggestion(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in DEVICE_COMMANDS if program == "edgepose" else desk.COMMANDS:
        misspelt = name[:-1] + "x" + name[-1]
        assert run([program, misspelt]) == 2
        assert capsys.readouterr().err == f"{program}: there is no command {misspelt!r}; did you mean {name!r}?\n"


def test_a_command_of_the_other_program_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for program, other, commands in (
        ("edgepose", "edgepose-train", desk.COMMANDS),
        ("edgepose-train", "edgepose", set(DEVICE_COMMANDS) - {"model", "config", "schema"}),
    ):
        for name in commands:
            assert run([program, name]) == 2
            expected = f"{program}: there is no command {name!r}; did you mean `{other} {name}`?\n"
            assert capsys.readouterr().err == expected


@BY_NAME
def test_options_come_in_any_order(case: Case, files: Mapping[str, Path]) -> None:
    arguments, options = filled(case.arguments, files), filled(case.options, files)
    parser = parser_of(case.words)
    assert isinstance(parser, CommandParser)
    expected = vars(parser.parse_args([*arguments, *options]))
    assert vars(parser.parse_args([*options, *arguments])) == expected
    assert vars(parser.parse_args([*arguments[:1], *options, *arguments[1:]])) == expected


@promising(lambda case: case.missing)
def test_a_missing_file_is_one_line(case: Case, files: Mapping[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert case.missing is not None
    words, status = case.missing
    assert run([*case.words.split(), *filled(words, files)]) == status
    captured = capsys.readouterr()
    text = captured.err or captured.out
    assert "none" in text
    assert len(text.splitlines()) == 1
    assert "Traceback" not in text


@promising(lambda case: "-c {config}" in case.options)
def test_the_configuration_has_a_default(
    case: Case, files: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    if INSTALLED_CONFIG.exists():
        pytest.skip("a configuration is installed on this computer")
    words = case.words.split()
    if words[1] in {"install", "run"} or "{model}" in case.arguments:
        assert parser_of(case.words).parse_args(filled(case.arguments, files)).config is None
        return
    rest = filled(f"{case.arguments} {case.options.replace('-c {config}', '')}", files)
    assert run([*words, *rest]) == 78
    captured = capsys.readouterr()
    assert "edgepose init" in captured.err + captured.out
    files["config"].rename("edgepose.yaml")
    run([*words, *rest])
    assert "edgepose init" not in capsys.readouterr().err


@promising(lambda case: case.writes)
def test_an_output_is_not_overwritten_unless_forced(
    case: Case, files: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*case.words.split(), *filled(case.arguments, files), *filled(case.options, files)]
    output = Path(words[words.index("-o") + 1])
    if "fit" in case.words:
        output.mkdir()
        output = output / "model.tflite"
    output.write_text("precious")
    assert run(words) == 2
    assert re.search(r"exists already.*--force\n$", capsys.readouterr().err)
    assert output.read_text() == "precious"


@promising(lambda case: case.json)
def test_json_is_printed_alone(case: Case, files: Mapping[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    options = case.options if case.runs == "" else case.runs or ""
    words = [*case.words.split(), *filled(case.arguments, files), *filled(options, files)]
    run([*words, "--json", "-"])
    printed = capsys.readouterr().out
    assert json.loads(printed)
    run([*words, "--json", "result.json"])
    assert json.loads(Path("result.json").read_text()).keys() == json.loads(printed).keys()
    capsys.readouterr()
    assert run([*words, "--json", "result.json"]) == 2
    assert "result.json exists already; give another --json, or --force" in capsys.readouterr().err


@pytest.mark.slow
@promising(lambda case: case.runs is not None)
def test_no_vendor_lines(case: Case, files: Mapping[str, Path]) -> None:
    program, *words = case.words.split()
    module = {"edgepose": "edgepose", "edgepose-train": "edgepose_train.cli"}[program]
    options = case.options if case.runs == "" else case.runs or ""
    command = [sys.executable, "-m", module, *words, *filled(case.arguments, files), *filled(options, files)]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "PYTHON"))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=env)
    assert not VENDOR.search(done.stderr), done.stderr
    assert "Traceback" not in done.stderr
