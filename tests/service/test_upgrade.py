"""`edgepose upgrade`, with an installed program and a systemd that are small scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from system_programs import SystemPrograms

from edgepose.errors import EdgeposeError, UsageError
from edgepose.service.upgrade import UpgradePaths, UpgradeTiming, exchange, settle, unit_trouble, upgrade, version

TIMING = UpgradeTiming(healthy_s=2.0, held_s=0.2, poll_s=0.01)
UP, STARTING = {"ActiveState": "active", "MainPID": "7"}, {"ActiveState": "activating", "MainPID": "7"}
FAILED = {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78"}


def test_two_folders_change_places_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()
    with pytest.raises(EdgeposeError, match="cannot change places"):
        exchange(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize(
    ("states", "why"),
    [
        ([STARTING, STARTING, UP], ""),
        ([STARTING, UP, {**UP, "MainPID": "8", "NRestarts": "1"}], ""),
        ([STARTING], "edgepose.service gave no pose within 2 s"),
        ([STARTING, FAILED], "edgepose.service has failed (exit-code, status 78)"),
        ([STARTING, *({**STARTING, "NRestarts": str(n)} for n in range(4))], "was restarted 3 times"),
    ],
)
def test_a_new_version_is_judged_by_its_poses(states: list[dict[str, str]], why: str, programs: SystemPrograms) -> None:
    programs.show(*states)
    trouble = unit_trouble("edgepose.service", TIMING)
    assert (why in trouble) if why else trouble == ""


# An installed Python as far as an upgrade uses it. `pip install` makes it version 2.0, in a new file, since the old one
# is shared with the version that runs; `config migrate` changes the config.
PYTHON = """#!/bin/sh
case "$*" in
    *--version) echo edgepose 1.0;;
    *"pip install"*) sed "s/edgepose 1.0/edgepose 2.0/" "$0" > "$0.new"; chmod 755 "$0.new"; mv "$0.new" "$0";;
    *"config migrate"*) for file; do :; done; echo new > "$file";;
esac
"""


@pytest.fixture
def paths(tmp_path: Path) -> UpgradePaths:
    """An installed edgepose with one config."""
    made = UpgradePaths(tmp_path / "opt" / "edgepose", tmp_path / "etc", tmp_path / "state" / "pending.json")
    (made.program / "bin").mkdir(parents=True)
    (made.program / "pyvenv.cfg").touch()
    (made.program / "bin" / "python").write_text(PYTHON, encoding="utf-8")
    (made.program / "bin" / "python").chmod(0o755)
    made.configs.mkdir()
    (made.configs / "edgepose.yaml").write_text("old\n", encoding="utf-8")
    return made


@pytest.mark.parametrize("healthy", [True, False])
def test_an_upgrade_stays_where_it_gives_poses_and_goes_back_where_not(
    healthy: bool, paths: UpgradePaths, programs: SystemPrograms, tmp_path: Path
) -> None:
    wheel, config = tmp_path / "edgepose-2.0-py3-none-any.whl", paths.configs / "edgepose.yaml"
    wheel.touch()
    programs.show(UP if healthy else FAILED)
    if healthy:
        upgrade(wheel, paths, TIMING)
    else:
        with pytest.raises(EdgeposeError, match=r"given up \(edgepose.service has .*\); edgepose 1.0 is running"):
            upgrade(wheel, paths, TIMING)
    now, kept = ("2.0", "1.0") if healthy else ("1.0", "2.0")
    assert (version(paths.program), version(paths.other)) == (now, kept)
    assert config.read_text(encoding="utf-8") == ("new\n" if healthy else "old\n")
    assert programs.calls().count("systemctl restart --no-block edgepose.service") == (1 if healthy else 2)
    assert not paths.pending.exists()


def test_an_upgrade_that_was_cut_off_before_the_exchange_is_forgotten(paths: UpgradePaths) -> None:
    config = paths.configs / "edgepose.yaml"
    config.write_text("migrated already\n", encoding="utf-8")
    paths.pending.parent.mkdir()
    pending = {"before": "1.0", "after": "2.0", "units": ["x"], "configs": [[str(config), "old\n"]]}
    paths.pending.write_text(json.dumps(pending), encoding="utf-8")
    settle(paths)
    assert not paths.pending.exists()
    assert config.read_text(encoding="utf-8") == "old\n"
    paths.pending.write_text("{", encoding="utf-8")
    with pytest.raises(EdgeposeError, match="the running version is kept"):
        settle(paths)


def test_what_is_no_package_or_no_installation_is_refused(paths: UpgradePaths, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give a wheel \(.whl\) or a Debian package"):
        upgrade(tmp_path / "edgepose.zip", paths)
    wheel = tmp_path / "edgepose-2.0-py3-none-any.whl"
    wheel.touch()
    with pytest.raises(UsageError, match="no edgepose is installed there"):
        upgrade(wheel, UpgradePaths(tmp_path / "nothing"))
