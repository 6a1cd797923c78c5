"""The project as a whole: import rules, the content of the wheel, the promises of the documents, and the service."""

from __future__ import annotations

import configparser
import email
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import pytest
import yaml

import edgepose
from edgepose.cli import main as device
from edgepose.errors import ConfigError, EdgeposeError, ModelError
from edgepose.protocol.schemas import schemas
from edgepose.protocol.topics import TOPICS
from edgepose_train import cli as desk

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path.relative_to(ROOT) for folder in ("edgepose", "train") for path in (ROOT / folder).rglob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "DECISIONS.md", *(f"docs/{name}" for name in PAGES)]
HEAVY = {"tensorflow", "keras", "pandas", "tables", "matplotlib", "h5py", "pyarrow"}


def commands_in(text: str) -> list[list[str]]:
    """The edgepose command lines of a document: indented blocks, without redirections and comments."""
    lines = re.findall(r"^ {4,}((?:edgepose|edgepose-train) .*)$", text, re.MULTILINE)
    return [shlex.split(line.split(" > ")[0], comments=True) for line in lines]


# --- import rules ------------------------------------------------------------------------------------------


def test_import_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("module", "path"), [("pickle", "train/edgepose_train"), ("ai_edge_litert", "edgepose/cli")])
def test_import_contracts_bite(module, path, tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("edgepose", "train"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (tmp_path / path / "new.py").write_text(f"import {module}\n", encoding="utf-8")
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(tmp_path / "train")])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"new -> {module}" in done.stdout


@pytest.mark.parametrize("module", ["tensorflow", "pandas", "matplotlib", "pickle", "tflite_runtime"])
def test_the_linter_keeps_modules_off_the_device(module):
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", "edgepose/pose/new.py", "-"]
    done = subprocess.run(command, input=f"import {module}\n", cwd=ROOT, capture_output=True, text=True, check=False)
    assert "TID251" in done.stdout


def test_no_module_of_the_device_side_loads_what_a_device_does_not_have():
    modules = [".".join(path.with_suffix("").parts) for path in SOURCES if path.parts[0] == "edgepose"]
    modules = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in done.stdout.split()} & (HEAVY | {"edgepose_train"}) == set()


# --- wheel -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that the checkout stays as it is."""
    copy = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("edgepose", "train", "systemd", "firmware_configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    code = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, check=True)
    with zipfile.ZipFile(next(copy.glob("*.whl"))) as opened:
        yield opened


def test_the_wheel_holds_both_packages_and_nothing_else(wheel):
    sources = {path.relative_to("train") if path.parts[0] == "train" else path for path in SOURCES}
    names = {Path(name) for name in wheel.namelist() if ".dist-info/" not in name and "/data/" not in name}
    assert {name for name in names if name.suffix == ".py"} == sources
    others = {str(name) for name in names if name.suffix != ".py"}
    shared = {name.partition("/data/share/edgepose/")[2] for name in names_of_data(wheel)}
    wanted = {path.relative_to(ROOT) for folder in ("systemd", "firmware_configs") for path in files_in(ROOT / folder)}
    assert shared == {str(path) for path in wanted if path.name != "build-deb"}
    assert others == {
        "edgepose/py.typed",
        "edgepose/demo/demo.tflite",
    }


def names_of_data(wheel):
    return {name for name in wheel.namelist() if "/data/share/edgepose/" in name}


def files_in(folder):
    return [path for path in folder.rglob("*.*") if path.is_file() and "__pycache__" not in path.parts]


def test_the_wheel_needs_only_what_a_device_has(wheel):
    name = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["License-Expression"] == "Apache-2.0"
    needs = metadata.get_all("Requires-Dist")
    base = {re.split(r"[^\w-]", need)[0] for need in needs if "extra ==" not in need}
    runtimes = {"ai-edge-litert", "tflite-runtime"}
    assert base == runtimes | {"numpy", "opencv-python-headless", "paho-mqtt", "msgspec", "pyyaml", "rich"}
    assert set(metadata.get_all("Provides-Extra")) >= {"train", "demo", "dev"}


# --- documents ---------------------------------------------------------------------------------------------


def test_one_version_everywhere():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^]]*)\]", changelog, re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert released[0] == citation["version"]
    # What is not released yet must not pass for the last release, whose formats are others.
    assert edgepose.__version__.endswith(".dev0") == ("## [Unreleased]" in changelog)
    assert (edgepose.__version__ == released[0]) != ("## [Unreleased]" in changelog)


@pytest.mark.parametrize("command", commands_in("\n".join([README, *PAGES.values()])), ids=" ".join)
def test_the_documents_commands_are_accepted(command, tmp_path, monkeypatch):
    """RUN stands for the folder of a training run, and parts for that of an unpacked model."""
    monkeypatch.chdir(tmp_path)
    for folder in ("RUN", "parts"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.tflite").touch()
    parser = (device.make_parser if command[0] == "edgepose" else desk._parser)(command[1])
    assert parser.parse_args(command[1:]).command == command[1]


def test_the_readme_names_every_make_target():
    named = set(re.findall(r"make ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test", "check"} <= named <= targets


def test_the_page_on_messages_shows_a_valid_one():
    message = json.loads(re.search(r"```json\n(.*?)```", PAGES["messages.md"], re.DOTALL)[1])
    jsonschema.Draft202012Validator(schemas()["pose"]).validate(message)
    assert all(f"`edgepose/<device>/{leaf}`" in PAGES["messages.md"] for leaf in TOPICS)


@pytest.mark.parametrize("name", [*DOCUMENTS, "benchmarks/README.md", "firmware_configs/README.md"])
def test_links_lead_somewhere(name):
    path = ROOT / name
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


# --- installing ----------------------------------------------------------------------------------------------


def test_packages_that_need_a_password_are_asked_for(tmp_path):
    """Nobody may be there to type it, so it prints what to install and does not wait."""
    programs = {"id": "echo 1000", "apt-get": "exit 0", "sudo": '[ "$1" = -n ] && exit 1; sleep 60'}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", ".ci/debian", "mosquitto"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("please install mosquitto and try again")


# --- files for the device ----------------------------------------------------------------------------------


def test_the_service_is_not_restarted_on_a_bad_configuration():
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(ROOT / "systemd" / "edgepose.service", encoding="utf-8")
    final = {int(status) for status in unit["Service"]["RestartPreventExitStatus"].split()}
    assert {ConfigError.exit_code, ModelError.exit_code} <= final
    assert EdgeposeError.exit_code not in final
    assert unit["Service"]["Restart"] == "on-failure"  # a finished video exits 0
    program, *command = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "edgepose"
    assert device.make_parser(command[0]).parse_args(command).command == "run"
