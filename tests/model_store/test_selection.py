"""Which model is to run: the transitions, and the file that the daemon and the shell change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgepose.errors import EdgeposeError
from edgepose.model_store.selection import (
    ModelSelection,
    SelectionFile,
    Trial,
    accepted,
    activated,
    change_selection,
    failed,
    proved,
    read_selection,
    reconfigured,
    tried,
    untried,
)
from edgepose.system.reporter import Reporter


def test_a_selection_goes_through_its_states(tmp_path: Path) -> None:
    selection = proved(ModelSelection(), "a")
    selection = activated(selection, "b", "a")
    assert (selection.wanted, selection.trial) == ("b", Trial("b"))
    worse = failed(selection, "b", "hangs")
    assert (worse.wanted, worse.good, worse.bad, worse.trial) == ("a", ("a",), {"b": "hangs"}, None)
    better = proved(selection, "b")
    assert (better.wanted, better.good, better.trial) == ("b", ("b", "a"), None)
    assert activated(worse, "b", "a").bad == {}
    assert change_selection(tmp_path / "selection.json", lambda _: better) == better
    assert read_selection(tmp_path / "selection.json") == better


@pytest.mark.parametrize("content", [b"", b"{", b'{"wanted": 3}', b"\xff" * 100, b"[" * 70_000])
def test_a_damaged_file_is_set_aside(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "selection.json"
    path.write_bytes(content)
    assert read_selection(path) == ModelSelection()
    assert not path.exists()
    assert path.with_suffix(".damaged").read_bytes() == content


def test_a_try_counts_for_the_model_on_trial_alone() -> None:
    selection = tried(activated(ModelSelection(), "b", "a"), "b", "boot")
    assert selection.trial == Trial("b", 1, "boot")
    assert tried(selection, "c", "boot") == selection
    assert untried(selection).trial == Trial("b", 0, "boot")
    assert untried(untried(selection)) == untried(selection)
    assert accepted(selection, "c") == selection
    assert accepted(selection, "b").trial is None


def test_what_was_activated_during_a_trial_stays_whatever_becomes_of_the_trial() -> None:
    during = activated(tried(activated(proved(ModelSelection(), "a"), "b", "a"), "b", "boot"), "c", "a")
    for after in (proved(during, "b"), failed(during, "b", "hangs"), untried(during)):
        assert (after.wanted, after.trial) == ("c", Trial("c"))


def test_another_model_in_the_config_ends_an_activation() -> None:
    selection = activated(ModelSelection(), "b", "a")
    assert reconfigured(selection, "a") == reconfigured(selection, "") == selection
    assert (reconfigured(selection, "c").wanted, reconfigured(selection, "c").trial) == (None, None)
    assert reconfigured(ModelSelection(), "c") == ModelSelection()


CHANGES = """
import sys
from pathlib import Path
from edgepose.model_store.selection import change_selection, failed
for number in range(4):
    change_selection(Path(sys.argv[1]), lambda selection: failed(selection, f"{sys.argv[2]}{number}", "why"))
"""


def test_several_processes_change_the_file_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "selection.json"
    processes = [subprocess.Popen([sys.executable, "-c", CHANGES, str(path), name]) for name in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert set(read_selection(path).bad) == {f"{name}{number}" for name in "abc" for number in range(4)}


def test_the_daemon_sees_what_the_shell_has_changed_and_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "selection.json"
    ours = SelectionFile(path, Reporter())
    ours.change(lambda selection: activated(selection, "a", ""))
    change_selection(path, lambda selection: activated(selection, "b", ""))
    assert ours.read().wanted == "b"
    change_selection(path, lambda selection: activated(selection, "c", ""))
    assert ours.change(lambda selection: proved(selection, "a")).wanted == "c"
    assert read_selection(path) == ours.selection


def test_a_disk_that_cannot_be_written_is_an_alert_until_it_can(tmp_path: Path) -> None:
    folder, reporter = tmp_path / "models", Reporter()
    folder.write_text("a file where the folder should be")
    ours = SelectionFile(folder / "selection.json", reporter)
    assert ours.change(lambda selection: proved(selection, "a")).good == ("a",)
    assert ours.read().good == ("a",)
    assert "cannot keep which model is to run" in reporter.alerts["models"]
    with pytest.raises(EdgeposeError, match="cannot keep which model is to run"):
        change_selection(folder / "selection.json", lambda selection: proved(selection, "b"))
    folder.unlink()
    assert ours.change(lambda selection: failed(selection, "b", "why")).good == ("a",)
    assert read_selection(folder / "selection.json").good == ("a",)
    assert "models" not in reporter.alerts
