"""`edgepose model`: the store from a shell, with and without a running daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from brokers import wait_until
from cages import Cage
from model_files import variant

from edgepose.cli.main import main
from edgepose.cli.model import check_user
from edgepose.errors import EdgeposeError


def edgepose(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgepose", "model", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)


@pytest.mark.slow
def test_the_shell_installs_lists_activates_and_rolls_back(
    start: Callable[[], Cage], config: Path, demo_model: Path, tmp_path: Path
) -> None:
    cage = start()
    cage.wait_model("first")
    wait_until(lambda: cage.selection().good, "its proof")
    done = edgepose("install", "-c", config, variant(demo_model, tmp_path, "second"))
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[0]
    done = edgepose("activate", name, "-c", config)
    assert (done.returncode, done.stdout) == (0, f"{name} is running\n"), done.stderr
    cage.wait_model("second")
    listed = edgepose("list", "-c", config).stdout.splitlines()
    assert [line.split()[0] for line in listed if "active, ran well" in line] == [name]
    rows = json.loads(edgepose("list", "--json", "-", "-c", config).stdout)["models"]
    assert [(row["running"], row["good"]) for row in rows if row["model"] == name] == [(True, True)]
    bad = store_bad(demo_model, tmp_path)
    done = edgepose("activate", bad, "-c", config)
    assert done.returncode == 1
    assert done.stderr.startswith(f"edgepose: {bad}: was tried and given up: ")
    done = edgepose("rollback", "-c", config)
    assert done.stdout.startswith("first@")
    cage.wait_model("first")
    cage.daemon.stop()


def store_bad(demo_model: Path, tmp_path: Path) -> str:
    return edgepose("install", variant(demo_model, tmp_path, "raises")).stdout.split()[0]


@pytest.mark.slow
def test_without_a_daemon_the_next_start_takes_it(
    start: Callable[[], Cage], config: Path, demo_model: Path, tmp_path: Path
) -> None:
    name = edgepose("install", variant(demo_model, tmp_path, "second")).stdout.split()[0]
    done = edgepose("activate", name, "-c", config)
    assert done.stdout == f"{name} is activated; no daemon has taken it yet, the next start will\n"
    cage = start()
    cage.wait_model("second")
    cage.daemon.stop()


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("install", "nothing.tflite"), 78, "nothing.tflite: no such model file"),
        (("list", "-c", "nothing.yaml"), 78, "nothing.yaml: cannot read"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", *words]) == status
    said = capsys.readouterr().err
    assert said.startswith(f"edgepose: {text}")
    assert said.count("\n") == 1


def test_who_is_not_root_learns_so_where_there_is_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sudo the command would make a store in the user's own folder."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    installed = tmp_path / "edgepose.yaml"
    check_user(None, "rollback", installed)
    installed.touch()
    check_user(tmp_path / "mine.yaml", "rollback", installed)
    with pytest.raises(EdgeposeError, match=r"^needs root: sudo edgepose model rollback$"):
        check_user(None, "rollback", installed)
