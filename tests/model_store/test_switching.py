"""Exchanging the model of a running daemon, which goes back by itself where the new one does not prove itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asker import Asker
from brokers import wait_until
from cages import Cage
from model_files import interpreter, variant
from sites import Site

from edgepose.inference.estimator import Estimator
from edgepose.inference.model_card import sha256_of
from edgepose.inference.model_file import read_model
from edgepose.model_store.selection import (
    ModelSelection,
    SelectionFile,
    Trial,
    activated,
    change_selection,
    proved,
    read_selection,
    tried,
)
from edgepose.model_store.startup import configured_key, selection_path
from edgepose.model_store.store import Store
from edgepose.model_store.switching import ModelSwitch, SwitchTiming
from edgepose.system.reporter import Reporter

QUICK = SwitchTiming(healthy_s=2.0, stuck_s=1.0, verify_again_s=0.3, poll_s=0.05)


# --- the switch alone ----------------------------------------------------------------------------------------


class ScriptedRuntime:
    """A daemon whose model makes as many poses as the test says, and has the trouble that it says."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.made, self.why, self.went_back = 0, "", 0

    def load(self, model: Path) -> Estimator:
        estimator = Estimator(model, 1)
        self.loaded.append(estimator.card.name)
        return estimator

    def swap(self, _estimator: Estimator) -> bool:
        self.made = 0
        return True

    def prove(self) -> None:
        pass

    def go_back(self, *, hung: bool) -> None:
        self.why, self.went_back = "", self.went_back + 1

    def poses(self) -> int:
        return self.made

    def trouble(self) -> str:
        return self.why

    def stuck_s(self) -> float:
        return 0.0

    def captured(self) -> int:
        return 0

    def restart(self) -> None:
        pass


class Switching:
    """A switch that runs, the selection as the shell sees it, and the models aaa and bbb in the store."""

    def __init__(self, store: Store, demo_model: Path, folder: Path) -> None:
        self.runtime, self.reporter = ScriptedRuntime(), Reporter()
        self.path = selection_path(store, "cage-07")
        self.keys = {name: store.install(variant(demo_model, folder, name)).key for name in ("aaa", "bbb")}
        first = Estimator(variant(demo_model, folder, "first"), 1)
        configured = folder / "first.tflite"
        change_selection(self.path, lambda selection: proved(selection, configured_key(configured)))
        selections = SelectionFile(self.path, self.reporter)
        self.switch = ModelSwitch(store, selections, configured, "boot", first, reporter=self.reporter, timing=QUICK)
        self.switch.start(self.runtime)

    def activate(self, name: str) -> None:
        """Activates a model as the shell does."""
        change_selection(self.path, lambda selection: activated(selection, self.keys[name], ""))

    def selection(self) -> ModelSelection:
        return read_selection(self.path)


@pytest.fixture
def switching(store: Store, demo_model: Path, tmp_path: Path) -> Iterator[Switching]:
    made = Switching(store, demo_model, tmp_path)
    yield made
    made.switch.close()


@pytest.mark.parametrize("healthy", [True, False])
def test_what_the_shell_activates_during_a_trial_is_not_undone(healthy: bool, switching: Switching) -> None:
    aaa, bbb = (switching.keys[name] for name in ("aaa", "bbb"))
    switching.activate("aaa")
    wait_until(lambda: switching.selection().trial == Trial(aaa, 1, "boot"), "the trial of aaa")
    wait_until(lambda: switching.runtime.loaded == ["aaa"], "aaa")
    switching.activate("bbb")
    if healthy:
        switching.runtime.made = 10
    else:
        switching.runtime.why = "makes no poses"
    wait_until(lambda: switching.runtime.loaded == ["aaa", "bbb"], "bbb")
    switching.runtime.made = 10
    wait_until(lambda: switching.selection().good[0] == bbb, "its proof")
    selection = switching.selection()
    assert (selection.wanted, selection.trial) == (bbb, None)
    assert (aaa in selection.good, aaa in selection.bad) == (healthy, not healthy)


def test_a_model_whose_verification_is_killed_is_tried_later(
    switching: Switching, store: Store, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switching.keys["ccc"] = store.keep(variant(demo_model, tmp_path, "ccc")).key
    short = tmp_path / "short-of-memory"
    short.touch()
    interpreter(
        monkeypatch,
        tmp_path,
        f"if os.path.exists({str(short)!r}): os.kill(os.getpid(), signal.SIGKILL)",
        "return real(model, *rest)",
    )
    switching.activate("ccc")
    wait_until(lambda: "SIGKILL" in switching.reporter.alerts.get("model", ""), "the alert")
    assert switching.selection().bad == {}
    short.unlink()
    wait_until(lambda: switching.runtime.loaded == ["ccc"], "ccc")
    switching.runtime.made = 10
    wait_until(lambda: switching.selection().trial is None, "its proof")
    assert switching.selection().wanted == switching.keys["ccc"]
    wait_until(lambda: "model" not in switching.reporter.alerts, "the end of the alert")


@pytest.mark.parametrize("failing", [True, False])
def test_a_daemon_that_stops_during_a_trial_does_not_blame_the_model(failing: bool, switching: Switching) -> None:
    """It blames the model where the model fails."""
    aaa = switching.keys["aaa"]
    switching.activate("aaa")
    wait_until(lambda: switching.runtime.loaded == ["aaa"], "aaa")
    if failing:
        switching.runtime.why = "fails at work"
    switching.switch.close()
    trial = switching.selection().trial
    assert (trial is None or trial.tries == 1) if failing else trial == Trial(aaa, 0, "boot")


def test_a_daemon_that_cannot_begin_does_not_blame_the_model(store: Store, demo_model: Path) -> None:
    """Where the camera is unplugged or the spool is locked, the switch is closed before it was started."""
    path, estimator = selection_path(store, "cage-07"), Estimator(demo_model, 1)
    key = configured_key(demo_model)
    change_selection(path, lambda selection: tried(activated(selection, key, key), key, "boot"))
    ModelSwitch(store, SelectionFile(path, Reporter()), demo_model, "boot", estimator, reporter=Reporter()).close()
    assert read_selection(path).trial == Trial(key, 0, "boot")


def test_a_disk_that_takes_no_copy_is_an_alert_and_not_a_flood(demo_model: Path, tiny_disk: Path) -> None:
    """The config's model runs for the first time, and cannot be kept: poses go on, and one alert says so."""
    (tiny_disk / "filler").write_bytes(b"\0" * 450_000)
    store, reporter, runtime = Store(tiny_disk / "models"), Reporter(), ScriptedRuntime()
    runtime.made = 100
    selections = SelectionFile(selection_path(store, "cage-07"), reporter)
    switch = ModelSwitch(
        store, selections, demo_model, "boot", Estimator(demo_model, 1), reporter=reporter, timing=QUICK
    )
    switch.start(runtime)
    wait_until(lambda: "No space left" in reporter.alerts.get("model", ""), "the alert")
    threading.Event().wait(0.5)
    switch.close()
    event = reporter.take(0)
    assert event is not None
    assert event.text.startswith("model: ")
    assert reporter.take(0) is None


# --- the daemon ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_is_exchanged_between_two_frames_and_back(
    start: Callable[[], Cage], asker: Asker, store: Store, demo_model: Path, tmp_path: Path
) -> None:
    cage = start()
    cage.wait_model("first")
    wait_until(lambda: len(store.versions()) == 1, "the config's model in the store")
    version = store.install(variant(demo_model, tmp_path, "second"))
    assert asker.ask("model", {"action": "activate", "model": version.id})["result"] == {"model": version.id}
    cage.wait_model("second")
    assert cage.wait_event("model_activated") == f"{version.id} is running"
    poses = cage.subscriber.poses()
    seqs = [pose["seq"] for pose in poses]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert cage.gap_s() < 1
    assert cage.subscriber.of("info")[-1]["model"] == version.id
    asker.ask("model", {"action": "rollback"})
    cage.wait_model("first")
    listed = asker.ask("model", {"action": "list"})["result"]["models"]
    assert {(one["model"].split("@")[0], one["running"], one["good"]) for one in listed} == {
        ("first", True, True),
        ("second", False, True),
    }
    cage.daemon.stop()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raises", "hangs", "crashes"])
def test_a_model_that_does_not_work_is_gone_back_from(
    name: str, start: Callable[[], Cage], asker: Asker, store: Store, demo_model: Path, tmp_path: Path
) -> None:
    """After a hang or a crash systemd starts the daemon again, and the model is not taken again."""
    cage = start()
    cage.wait_model("first")
    wait_until(store.versions, "the config's model in the store")
    version = store.install(variant(demo_model, tmp_path, name))
    asker.ask("model", {"action": "activate", "model": version.id})
    if name != "raises":
        wait_until(lambda: cage.daemon.process.poll() is not None, "the daemon's end", 60)
        assert cage.daemon.process.returncode == {"hangs": 1, "crashes": -signal.SIGSEGV}[name]
        cage = start()
    text = cage.wait_event("model_rolled_back")
    assert text.startswith(f"{version.id}: ")
    frame = cage.subscriber.of("pose")[-1]["seq"]
    wait_until(lambda: cage.subscriber.of("pose")[-1]["seq"] > frame + 10, "poses", 40)
    cage.wait_model("first")
    assert version.key in cage.selection().bad
    assert cage.gap_s() < 30
    cage.daemon.stop()
    assert start().wait_model("first") is None


@pytest.mark.slow
def test_other_keypoints_start_the_daemon_anew_in_the_same_process(
    start: Callable[[], Cage], asker: Asker, store: Store, demo_model: Path, tmp_path: Path
) -> None:
    cage = start()
    cage.wait_model("first")
    wait_until(store.versions, "the config's model in the store")
    version = store.install(variant(demo_model, tmp_path, "renamed", keypoints=NAMES))
    asker.ask("model", {"action": "activate", "model": version.id})
    cage.wait_model("renamed")
    cage.wait_event("model_activated")
    assert set(cage.subscriber.of("pose")[-1]["animals"][0]["keypoints"]) == set(NAMES)
    assert cage.daemon.process.poll() is None
    seqs = [pose["seq"] for pose in cage.subscriber.of("pose")]
    assert sorted(set(seqs)) == seqs
    asker.ask("model", {"action": "rollback"})
    cage.wait_model("first")
    assert cage.gap_s() < 20
    cage.daemon.stop()


@pytest.mark.slow
def test_a_corrected_card_reaches_info_and_poses(
    start: Callable[[], Cage], asker: Asker, site: str, demo_model: Path
) -> None:
    """The weights and the name of the model are the same; only its keypoints have other names."""
    model = variant(demo_model, Site.folder, "first", keypoints=NAMES)
    cage = start()
    cage.wait_model("first")
    url, sha256 = f"{site}/first.tflite", read_model(model).sha256
    assert asker.ask("model", {"action": "install", "url": url, "sha256": sha256, "activate": True})["ok"]
    cage.wait_event("model_activated")
    wait_until(lambda: cage.subscriber.of("pose")[-1]["model"] == read_model(model).id, "poses of the corrected model")
    assert set(cage.subscriber.of("pose")[-1]["animals"][0]["keypoints"]) == set(NAMES)
    assert cage.subscriber.of("info")[-1]["skeleton"]["keypoints"] == list(NAMES)
    assert cage.subscriber.of("info")[-1]["model"] == read_model(model).id
    cage.daemon.stop()


NAMES = ("nose", "left", "right", "tail")


@pytest.mark.slow
@pytest.mark.parametrize("running", [True, False])
def test_a_model_that_the_config_cannot_be_had_with_is_given_up(
    running: bool,
    start: Callable[[], Cage],
    asker: Asker,
    store: Store,
    config: Path,
    demo_model: Path,
    tmp_path: Path,
) -> None:
    """A rule names a keypoint that the new model does not have. The daemon must not end with status 78."""
    rule = "rules: {away: {when: {score: {keypoint: snout, below: 0.3}}}}\n"
    config.write_text(config.read_text("utf-8") + rule, encoding="utf-8")
    version = store.install(variant(demo_model, tmp_path, "renamed", keypoints=NAMES))
    if running:
        cage = start()
        cage.wait_model("first")
        asker.ask("model", {"action": "activate", "model": version.id})
    else:
        wanted = activated(ModelSelection(), version.key, configured_key(config.parent / "first.tflite"))
        change_selection(selection_path(store, "cage-07"), lambda _: wanted)
        cage = start()
    wait_until(lambda: version.key in cage.selection().bad, "its end", 40)
    assert "the model has no keypoint 'snout'" in cage.selection().bad[version.key]
    cage.wait_model("first")
    assert cage.daemon.process.poll() is None
    cage.daemon.stop()


@pytest.mark.slow
def test_a_command_fetches_checks_and_activates(
    start: Callable[[], Cage], asker: Asker, site: str, store: Store, demo_model: Path
) -> None:
    model = variant(demo_model, Site.folder, "fetched")
    cage = start()
    cage.wait_model("first")
    command = {"action": "install", "url": f"{site}/fetched.tflite", "activate": True}
    assert "sha256: missing" in asker.ask("model", command)["error"]
    assert "give an http" in asker.ask("model", {**command, "url": "file:///m.tflite", "sha256": "0" * 64})["error"]
    assert asker.ask("model", {**command, "sha256": "0" * 64})["ok"]
    assert "not the one that was given" in cage.wait_event("model_refused")
    assert asker.ask("model", {**command, "sha256": sha256_of(model.read_bytes())})["ok"]
    assert cage.wait_event("model_installed").endswith(f"from {site}/fetched.tflite")
    cage.wait_model("fetched")
    cage.wait_event("model_activated")
    cage.daemon.stop()
    assert not [path for path in store.folder.iterdir() if path.name.startswith(".") and path.suffix != ".lock"]
    assert cage.selection().trial is None
