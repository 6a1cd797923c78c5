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
from model_files import two_files, variant
from sites import Site

from edgepose.cli.main import main
from edgepose.cli.model import check_user
from edgepose.errors import EdgeposeError
from edgepose.inference.model_file import read_model


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


# --- a model as a file ---------------------------------------------------------------------------------------


def test_a_model_is_shown_unpacked_corrected_and_packed_again(
    demo_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, parts, again = variant(demo_model, tmp_path, "first"), tmp_path / "parts", tmp_path / "again.tflite"
    content = read_model(model)
    assert main(["model", "show", str(model)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[:4])
    assert (lines["model"], lines["sha256"]) == (content.id, content.sha256)
    assert lines["keypoints"] == "snout, leftear, rightear, tailbase"
    assert main(["model", "unpack", str(model), "-o", str(parts)]) == 0
    assert "parts: model.tflite, card.json; pack them with" in capsys.readouterr().out
    assert main(["model", "pack", str(parts), "-o", str(again)]) == 0
    assert again.read_bytes() == model.read_bytes()
    card = parts / "card.json"
    card.write_text(card.read_text().replace("snout", "nose"))
    assert main(["model", "pack", str(parts), "-o", str(again), "--force"]) == 0
    corrected = read_model(again)
    assert f"{corrected.id}, sha256 {corrected.sha256}, no other member" in capsys.readouterr().out
    assert corrected.id != content.id
    assert main(["model", "show", str(again), "--json", "-"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["model"], shown["sha256"]) == (corrected.id, corrected.sha256)
    assert shown["card"]["skeleton"]["keypoints"][0] == "nose"


def test_a_model_of_two_files_is_packed(demo_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder of a fit of edgepose 0.1 is a model, too."""
    old = two_files(demo_model, tmp_path / "run")
    for source in (old, old.parent):
        assert main(["model", "pack", str(source), "-o", str(tmp_path / "one.tflite"), "--force"]) == 0
        assert read_model(tmp_path / "one.tflite").id == read_model(old).id
    assert main(["model", "show", str(tmp_path / "one.tflite")]) == 0
    assert "(the id that it had in edgepose 0.1)" in capsys.readouterr().out


def status_of(words: list[str]) -> int:
    """The exit status, also where the parser ends the program."""
    try:
        return main(words)
    except SystemExit as exc:
        return int(exc.code or 0)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("pack", "{model}", "-o", "{folder}/m.zip"), 2, "m.zip: give a name that ends with .tflite"),
        (("pack", "{folder}", "-o", "{folder}/m.tflite"), 2, "this folder holds no model.tflite"),
        (("unpack", "{model}", "-o", "{folder}/none/parts"), 2, "there is no folder"),
        (("install", "http://lab/model.tflite"), 2, "give the file's --sha256 too"),
        (("install", "http://lab/model.tflite", "--sha256", "123"), 2, "give 64 hexadecimal digits"),
        (("install", "{model}", "--sha256", "0" * 64), 78, "has another sha256 than the one that was given"),
    ],
)
def test_mistakes_with_files_are_one_line(
    words: tuple[str, ...],
    status: int,
    text: str,
    demo_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status_of(["model", *(word.format(model=demo_model, folder=tmp_path) for word in words)]) == status
    said = capsys.readouterr().err
    assert text in said
    assert len(said.splitlines()) == 1


def test_the_shell_installs_from_an_address(
    site: str, demo_model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = read_model(variant(demo_model, Site.folder, "second"))
    assert main(["model", "install", f"{site}/second.tflite", "--sha256", model.sha256]) == 0
    assert capsys.readouterr().out.startswith(f"{model.id} is in ")
    assert Site.asked == ["/second.tflite"]
    two_files(demo_model, Site.folder / "old")
    digest = read_model(Site.folder / "old" / "model.tflite").sha256
    assert main(["model", "install", f"{site}/old/model.tflite", "--sha256", digest]) == 78
    assert "holds no card" in capsys.readouterr().err
