"""The options that both programs share, and how the parser reports mistakes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from edgepose.errors import ConfigError, UsageError
from edgepose.system.arguments import (
    INSTALLED_CONFIG,
    STDOUT,
    CommandParser,
    add_config_argument,
    add_json_argument,
    add_output_argument,
    check_output,
    config_path,
    model_path,
    write_json,
)
from edgepose.system.wording import count, did_you_mean


@pytest.fixture
def parser() -> CommandParser:
    """`prog plot MODEL VIDEO... -o OUT [--json FILE] [--layout wide|tall] [--force]`"""
    program = CommandParser(prog="prog")
    command = program.add_subparsers(dest="command", metavar="COMMAND", required=True).add_parser("plot")
    command.add_argument("model", type=model_path)
    command.add_argument("videos", nargs="+", type=Path)
    command.add_argument("--layout", choices=("wide", "tall"), default="wide")
    add_output_argument(command, "OUT", "where the table goes")
    add_json_argument(command)
    return program


@pytest.mark.parametrize(
    "words",
    [
        "plot m.tflite a.mp4 b.mp4 -o out --force",
        "plot -o out m.tflite a.mp4 --force b.mp4",
        "plot --force m.tflite -o out a.mp4 b.mp4",
    ],
)
def test_options_come_in_any_order(words: str, parser: CommandParser) -> None:
    args = parser.parse_args(words.split())
    assert args.model == Path("m.tflite")
    assert args.videos == [Path("a.mp4"), Path("b.mp4")]
    assert args.output == Path("out")
    assert args.force


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("plto", "prog: there is no command 'plto'; did you mean 'plot'?"),
        ("zzz", "prog: there is no command 'zzz'; known: plot"),
        ("--versoin plot m.tflite v -o out", "prog: unknown option: --versoin"),
        ("plot m.tflite v -o out --jsn=x", "prog plot: unknown option: --jsn; did you mean --json?"),
        ("plot m.tflite v -o out --quite-else", "prog plot: unknown option: --quite-else"),
        (
            "plot m.tflite v -o out --layout wild",
            "prog plot: argument --layout: 'wild' is not known; did you mean 'wide'?",
        ),
        ("plot m.tflite v", "prog plot: the following arguments are required: -o/--output"),
        ("plot m.tflite -o out", "prog plot: the following arguments are required: videos"),
        ("plot m.tflite", "prog plot: the following arguments are required: videos, -o/--output"),
        ("plot --force", "prog plot: the following arguments are required: model, videos, -o/--output"),
        (
            "plot v.mp4 m.tflite -o out",
            "prog plot: argument model: v.mp4: this is not a model; give a .tflite file or the folder of a fit",
        ),
        ("", "prog: the following arguments are required: COMMAND"),
    ],
)
def test_a_mistake_is_one_line_with_a_suggestion(
    words: str, message: str, parser: CommandParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words.split())
    assert caught.value.code == 2
    line, end = capsys.readouterr().err.split("\n", 1)
    assert end == ""
    assert line.split("; see `")[0] == message


def test_the_folder_of_a_fit_is_a_model(tmp_path: Path) -> None:
    assert model_path("none.tflite") == Path("none.tflite")
    with pytest.raises(argparse.ArgumentTypeError, match=r"holds no model\.tflite"):
        model_path(str(tmp_path))
    (tmp_path / "model.tflite").write_bytes(b"")
    assert model_path(str(tmp_path)) == tmp_path / "model.tflite"
    assert model_path("demo").is_file()


def test_nothing_is_overwritten_unless_forced(tmp_path: Path) -> None:
    file, folder = tmp_path / "table.csv", tmp_path / "folder"
    folder.mkdir()
    for path in (file, folder, STDOUT, None, Path("/dev/null")):
        check_output(path, force=False)
    file.write_text("precious", encoding="utf-8")
    (folder / "something").touch()
    for path in (file, folder):
        with pytest.raises(UsageError, match=f"{path} exists already; give another --output, or --force"):
            check_output(path, force=False)
        check_output(path, force=True)
    with pytest.raises(UsageError, match=r"there is no folder .*typo; make it first"):
        check_output(tmp_path / "typo" / "x.json", force=True, option="--json")


def test_the_configuration_has_a_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if INSTALLED_CONFIG.exists():
        pytest.skip("a configuration is installed on this computer")
    monkeypatch.chdir(tmp_path)
    assert config_path(Path("given.yaml")) == Path("given.yaml")
    with pytest.raises(ConfigError, match="edgepose init"):
        config_path(None)
    Path("edgepose.yaml").touch()
    assert config_path(None) == Path("edgepose.yaml")
    parser = CommandParser()
    add_config_argument(parser)
    assert parser.parse_args([]).config is None


def test_json_goes_to_a_file_or_alone_to_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = {"name": "Mäuse", "px": 1.5, "none": None}
    write_json(None, report)
    write_json(tmp_path / "a.json", report)
    assert capsys.readouterr().out == ""
    write_json(STDOUT, report)
    assert json.loads(capsys.readouterr().out) == report
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == report


def test_wording() -> None:
    assert [count(number, "device") for number in (0, 1, 2)] == ["0 devices", "1 device", "2 devices"]
    assert count(2, "match", "matches") == "2 matches"
    assert did_you_mean("hots", ["host", "port"]) == "; did you mean 'host'?"
    assert did_you_mean("x", ["port", "host"]) == "; known: host, port"
