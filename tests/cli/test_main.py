"""The entry point of `edgepose`: help, exit statuses, what it imports, and output that cannot be written."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgepose.cli.main import COMMANDS, main
from edgepose.errors import ConfigError, EdgeposeError
from edgepose.protocol.schemas import schemas
from edgepose.system.arguments import INSTALLED_CONFIG
from edgepose.system.exit_status import exit_status


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "example" in printed
    assert f"edgepose {command}" in printed.split("example")[1]


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(what in printed for what in COMMANDS.values())


@pytest.mark.parametrize("words", [["rum"], ["config"], ["config", "shew"], ["schema", "--nonsense"]])
def test_a_wrong_command_line_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bare_program_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


def test_an_error_is_one_line_and_its_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show", "-c", "no/such.yaml"]) == 78
    assert capsys.readouterr().err.startswith("edgepose: no/such.yaml: cannot read")
    if not INSTALLED_CONFIG.exists():
        monkeypatch.chdir(tmp_path)
        assert main(["config", "show"]) == 78
        assert "make one with `edgepose init`" in capsys.readouterr().err


def test_schema_prints_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(schemas()))


@pytest.mark.parametrize("what", ["schema"])
def test_config_prints(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", what]) == 0
    assert "camera" in capsys.readouterr().out


def test_the_module_runs_and_prints_its_version() -> None:
    done = python("-m", "edgepose", "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "edgepose")


def test_only_the_chosen_command_is_imported() -> None:
    done = python(
        "-c", "import sys, edgepose.cli.main; print(sorted({'numpy', 'cv2', 'paho', 'rich'} & set(sys.modules)))"
    )
    assert done.stdout == "[]\n"


def test_the_daemon_imports_nothing_from_the_desk() -> None:
    heavy = "{'tensorflow', 'keras', 'pandas', 'matplotlib', 'rich', 'amqtt'}"
    done = python("-c", f"import sys, edgepose.cli.run; print(sorted({heavy} & set(sys.modules)))")
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("words", ["config schema", "schema"])
def test_a_full_disk_is_one_line(words: str) -> None:
    """The interpreter would report it a second time when it ends."""
    command = f"{sys.executable} -m edgepose {words} > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "edgepose: output: No space left on device\n")


@pytest.mark.parametrize(
    ("error", "status", "printed"),
    [
        (EdgeposeError("one\ntwo"), 1, "edgepose: one two\n"),
        (ConfigError("f.yaml: wrong"), 78, "edgepose: f.yaml: wrong\n"),
        (KeyboardInterrupt(), 130, "edgepose: interrupted\n"),
        (BrokenPipeError(), 141, ""),
        (PermissionError(errno.EACCES, "Permission denied", "out.json"), 1, "edgepose: out.json: Permission denied\n"),
        (OSError("no number"), 1, "edgepose: output: no number\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_one_line_and_a_status(
    error: BaseException, status: int, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert exit_status("edgepose", fail) == status
    assert capsys.readouterr().err == printed


def test_a_reader_that_leaves_is_not_an_error() -> None:
    done = subprocess.run(
        [f"{sys.executable} -m edgepose config schema | true"], shell=True, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
