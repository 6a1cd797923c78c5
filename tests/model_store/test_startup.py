"""Which model the daemon begins with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from brokers import wait_until
from cages import Cage
from model_files import interpreter, variant

from edgepose.errors import ConfigError, EdgeposeError, ModelError
from edgepose.inference.estimator import Estimator
from edgepose.model_store.selection import (
    ModelSelection,
    SelectionFile,
    activated,
    change_selection,
    failed,
    proved,
    read_selection,
    tried,
)
from edgepose.model_store.startup import ModelStartup, configured_key, model_that_runs, selection_path
from edgepose.model_store.store import Store
from edgepose.system.clock import boot_id
from edgepose.system.reporter import Reporter


@pytest.fixture
def configured(demo_model: Path, tmp_path: Path) -> Path:
    return variant(demo_model, tmp_path, "first")


@pytest.fixture
def other(store: Store, demo_model: Path, tmp_path: Path) -> str:
    """Another model is in the store; this is its key."""
    return store.install(variant(demo_model, tmp_path, "second")).key


def startup(store: Store, configured: Path, reporter: Reporter | None = None) -> ModelStartup:
    reporter = reporter or Reporter()
    selections = SelectionFile(selection_path(store, "cage-07"), reporter)
    return ModelStartup(store, selections, configured, "boot", reporter=reporter)


def load(model: Path) -> Estimator:
    return Estimator(model, 1)


def change(store: Store, transition: Callable[[ModelSelection], ModelSelection]) -> ModelSelection:
    return change_selection(selection_path(store, "cage-07"), transition)


def test_the_model_that_runs_is_known_without_a_change(store: Store, configured: Path, other: str) -> None:
    path, key = selection_path(store, "cage-07"), configured_key(configured)
    assert model_that_runs(store, "cage-07", configured) == configured
    assert not path.exists()
    before = change(store, lambda selection: activated(selection, other, key))
    assert model_that_runs(store, "cage-07", configured) == store.path_of(other)
    assert read_selection(path) == before
    change(store, lambda selection: activated(selection, other, "another config"))
    assert model_that_runs(store, "cage-07", configured) == configured
    change(store, lambda selection: activated(selection, "lost", key))
    assert model_that_runs(store, "cage-07", configured) == configured
    change(store, lambda selection: failed(proved(selection, other), "lost", "why"))
    configured.write_bytes(configured.read_bytes()[:-1])
    assert model_that_runs(store, "cage-07", configured) == store.path_of(other)


def test_a_killed_verification_is_no_reason_to_refuse_a_model_for_ever(
    store: Store, configured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit status is 1, so that systemd starts the daemon again, and the selection does not blame the model."""
    interpreter(monkeypatch, tmp_path, "os.kill(os.getpid(), signal.SIGTERM)")
    version = store.keep(variant(configured, tmp_path, "second"))
    before = change(store, lambda selection: activated(selection, version.key, configured_key(configured)))
    with pytest.raises(EdgeposeError, match="could not be verified") as raised:
        startup(store, configured).open(load)
    assert raised.value.exit_code == 1
    assert read_selection(selection_path(store, "cage-07")) == before


def test_a_good_model_runs_although_it_cannot_be_verified_again(
    store: Store, configured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter(monkeypatch, tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    change(store, lambda selection: proved(selection, configured_key(configured)))
    assert startup(store, configured).open(load).card.name == "first"


def test_a_config_that_does_not_suit_is_blamed_on_the_model_only_during_its_trial(
    store: Store, configured: Path, other: str
) -> None:
    def refuse(model: Path) -> Estimator:
        raise ConfigError("rules.away: the model has no keypoint 'snout'")

    before = change(store, lambda selection: proved(activated(selection, other, configured_key(configured)), other))
    with pytest.raises(ConfigError, match="has no keypoint"):
        startup(store, configured).open(refuse)
    assert read_selection(selection_path(store, "cage-07")) == before
    change(store, lambda selection: activated(selection, other, configured_key(configured)))

    def refuse_the_new_one(model: Path) -> Estimator:
        return load(model) if model == configured else refuse(model)

    reporter = Reporter()
    assert startup(store, configured, reporter).open(refuse_the_new_one).card.name == "first"
    assert "has no keypoint" in read_selection(selection_path(store, "cage-07")).bad[other]
    assert reporter.alerts["model"].endswith("running " + load(configured).model.id + " instead")


def test_every_reason_is_given_where_no_model_loads(store: Store, configured: Path, other: str) -> None:
    change(store, lambda selection: activated(selection, other, configured_key(configured)))
    for path in (configured, store.path_of(other)):
        path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match=rf"{other}/model.tflite: damaged .*; \S+first.tflite: damaged"):
        startup(store, configured).open(load)


# --- the daemon ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_camera_that_is_not_there_is_not_blamed_on_the_model(
    start: Callable[[], Cage], store: Store, config: Path, demo_model: Path, tmp_path: Path
) -> None:
    version = store.install(variant(demo_model, tmp_path, "second"))
    configured = configured_key(config.parent / "first.tflite")
    change(store, lambda selection: activated(selection, version.key, configured))
    text = config.read_text(encoding="utf-8")
    config.write_text(
        text.replace("source: synthetic, size_wh: [320, 240], rate_hz: 25", "source: usb, device: /dev/video97"),
        encoding="utf-8",
    )
    for _ in range(2):
        assert start().daemon.process.wait(30) == 1
    config.write_text(text, encoding="utf-8")
    cage = start()
    cage.wait_model("second")
    wait_until(lambda: cage.selection().good[:1] == (version.key,), "its proof")
    assert cage.selection().bad == {}
    cage.daemon.stop()


@pytest.mark.slow
def test_a_killed_trial_is_not_taken_again_but_one_that_a_power_cut_ended_is(
    start: Callable[[], Cage], store: Store, demo_model: Path, tmp_path: Path
) -> None:
    version = store.install(variant(demo_model, tmp_path, "second"))
    path = selection_path(store, "cage-07")
    for boot, name in ((boot_id(), "first"), ("another", "second")):
        selection = activated(ModelSelection(), version.key, configured_key(tmp_path / "config" / "first.tflite"))
        selection = tried(selection, version.key, boot)
        change_selection(path, lambda _, selection=selection: selection)
        cage = start()
        cage.wait_model(name)
        cage.daemon.stop()


@pytest.mark.slow
def test_a_damaged_config_model_gives_way_to_the_last_good_one(start: Callable[[], Cage], config: Path) -> None:
    cage = start()
    cage.wait_model("first")
    wait_until(lambda: cage.selection().good, "its proof")
    cage.daemon.stop()
    model = config.parent / "first.tflite"
    data = bytearray(model.read_bytes())
    data[1000] ^= 1
    model.write_bytes(data)
    cage = start()
    seen = len(cage.subscriber.of("pose"))
    assert "damaged or not the file its card describes" in cage.wait_event("model_refused")
    wait_until(lambda: len(cage.subscriber.of("pose")) > seen + 5, "poses", 30)
    wait_until(lambda: "model" in cage.subscriber.of("health")[-1]["alerts"], "the alert", 40)
    cage.daemon.stop()


def test_no_model_that_loads_is_status_78(start: Callable[[], Cage], config: Path) -> None:
    (config.parent / "first.tflite").write_bytes(b"nothing")
    cage = start()
    assert cage.daemon.process.wait(30) == 78
    assert len(cage.daemon.lines) == 1


@pytest.mark.slow
def test_another_model_in_the_config_is_the_newer_choice(
    start: Callable[[], Cage], store: Store, config: Path, demo_model: Path, tmp_path: Path
) -> None:
    version = store.install(variant(demo_model, tmp_path, "second"))
    configured = configured_key(config.parent / "first.tflite")
    change_selection(selection_path(store, "cage-07"), lambda selection: activated(selection, version.key, configured))
    cage = start()
    cage.wait_model("second")
    cage.wait_event("model_activated")
    cage.daemon.stop()
    newer = variant(demo_model, tmp_path, "third")
    newer.replace(config.parent / "first.tflite")
    cage = start()
    cage.wait_model("third")
    assert cage.wait_event("model_configured").endswith("is another model than before, and taken")
    cage.daemon.stop()
