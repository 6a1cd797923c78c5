"""The model store and the switch, with real files, real processes that crash, and a real web server."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from asker import Asker, asking
from brokers import Mosquitto, Subscriber, wait_until
from daemons import Daemon
from model_files import misbehaving, variant

from edgepose.cli import model as model_command
from edgepose.cli.main import main
from edgepose.errors import EdgeposeError, ModelError
from edgepose.inference.model_card import read_card, sha256_of
from edgepose.model_store import download
from edgepose.model_store import store as store_module
from edgepose.model_store.download import check_url, download_model
from edgepose.model_store.selection import (
    ModelSelection,
    SelectionFile,
    Trial,
    activated,
    failed,
    proved,
    read_selection,
    write_selection,
)
from edgepose.model_store.startup import selection_path
from edgepose.model_store.store import Store, key_of
from edgepose.model_store.switching import ModelSwitch
from edgepose.model_store.verification import verify_model
from edgepose.system.state_dir import state_dir


def key(model: Path) -> str:
    return key_of(read_card(model))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(state_dir() / "models")


# --- verify ------------------------------------------------------------------------------------------------


def test_a_model_that_is_fit_tells_its_id(demo_model: Path) -> None:
    assert verify_model(demo_model) == read_card(demo_model).model_id()


def test_damaged_files_whose_card_calls_them_right_are_refused_or_harmless(demo_model: Path, tmp_path: Path) -> None:
    """Some crash the interpreter: that has to happen elsewhere. benchmarks/damaged_models.py does a thousand."""
    chance, whole, told = random.Random(3), demo_model.read_bytes(), []
    for number in range(12):
        data = bytearray(whole)
        if number % 2:
            del data[chance.randrange(len(data)) :]
        else:
            for _ in range(4):
                data[chance.randrange(4096)] ^= 1 << chance.randrange(8)
        model = variant(demo_model, tmp_path, f"damaged{number}", data=bytes(data))
        try:
            verify_model(model)
        except ModelError as exc:
            told.append(str(exc))
    assert len(told) >= 6
    assert all("\n" not in line and "Traceback" not in line for line in told)


def test_what_crashes_or_hangs_the_interpreter_is_told(
    demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = misbehaving(tmp_path / "site")
    text = (
        "import edgepose.inference.runtime as runtime, os, signal, time\n"
        "def open_runtime(model, *rest):\n"
        "    if b'crash' in model[-16:]: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    time.sleep(60)\n"
        "runtime.open_runtime = open_runtime\n"
    )
    (tmp_path / "site" / "sitecustomize.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", env["PYTHONPATH"])
    monkeypatch.setattr("edgepose.model_store.verification.VERIFY_S", 3.0)
    with pytest.raises(ModelError, match=r"crash.tflite: crashes the interpreter \(SIGSEGV\)"):
        verify_model(variant(demo_model, tmp_path, "crash"))
    with pytest.raises(ModelError, match=r"slow.tflite: hangs the interpreter"):
        verify_model(variant(demo_model, tmp_path, "slow"))


# --- store -------------------------------------------------------------------------------------------------


def test_versions_lie_side_by_side_and_are_found_by_name(store: Store, demo_model: Path, tmp_path: Path) -> None:
    first, second = (store.install(variant(demo_model, tmp_path, name)) for name in ("first", "second"))
    assert {one.id for one in store.versions()} == {first.id, second.id}
    assert store.find(first.id) == store.find(first.key[:8]) == first
    with pytest.raises(ModelError, match=r"third: no such model in the store; it has: (first|second)@"):
        store.find("third")
    assert store.install(second.path) == second


def test_a_damaged_copy_is_replaced_and_what_was_left_half_is_removed(
    store: Store, demo_model: Path, tmp_path: Path
) -> None:
    version = store.install(demo_model)
    version.path.write_bytes(b"damaged")
    (store.folder / ".new-left").mkdir()
    assert store.install(demo_model).path.read_bytes() == demo_model.read_bytes()
    assert [path.name for path in store.folder.iterdir()] == [version.key]


def test_old_versions_make_room_but_none_that_is_needed(
    store: Store, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MOST_VERSIONS", 2)
    kept = [store.keep(variant(demo_model, tmp_path, f"m{number}")) for number in range(4)]
    store.prune({kept[0].key})
    assert {one.key for one in store.versions()} == {kept[0].key, kept[2].key, kept[3].key}


def test_a_store_that_cannot_be_written_is_told(demo_model: Path, tiny_disk: Path) -> None:
    (tiny_disk / "filler").write_bytes(b"\0" * 450_000)
    with pytest.raises(EdgeposeError, match=r"models: cannot keep the model \(No space left on device\); make room"):
        Store(tiny_disk / "models").keep(demo_model)


# --- choice ------------------------------------------------------------------------------------------------


def test_a_choice_goes_through_its_states(tmp_path: Path) -> None:
    choice = proved(ModelSelection(), "a")
    choice = activated(choice, "b", "a")
    assert (choice.wanted, choice.trial) == ("b", Trial("b"))
    worse = failed(choice, "b", "hangs")
    assert (worse.wanted, worse.good, worse.bad, worse.trial) == ("a", ("a",), {"b": "hangs"}, None)
    better = proved(choice, "b")
    assert (better.wanted, better.good, better.trial) == ("b", ("b", "a"), None)
    assert activated(worse, "b", "a").bad == {}
    write_selection(tmp_path / "choice.json", better)
    assert read_selection(tmp_path / "choice.json") == better


@pytest.mark.parametrize("content", [b"", b"{", b'{"wanted": 3}', b"\xff" * 100, b"[" * 70_000])
def test_a_damaged_choice_is_set_aside(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "choice.json"
    path.write_bytes(content)
    assert read_selection(path) == ModelSelection()
    assert not path.exists()
    assert path.with_suffix(".damaged").read_bytes() == content


# --- the daemon --------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, demo_model: Path, mosquitto: Mosquitto) -> Path:
    variant(demo_model, tmp_path / "config", "first")
    path = tmp_path / "config" / "edgepose.yaml"
    path.write_text(
        "device: cage-07\nmodel: first.tflite\ninference: {threads: 1}\n"
        "camera: {source: synthetic, size_wh: [320, 240], rate_hz: 25}\n"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\ncommands: [ping, model]\n",
        encoding="utf-8",
    )
    mosquitto.start()
    return path


@pytest.fixture
def asker(config: Path, mosquitto: Mosquitto) -> Iterator[Asker]:
    with asking(mosquitto.port) as made:
        yield made


class Cage:
    """A running daemon with its subscriber."""

    def __init__(self, subscriber: Subscriber, daemon: Daemon) -> None:
        self.subscriber, self.daemon = subscriber, daemon

    def wait_model(self, name: str, poses: int = 10) -> None:
        """Until so many newest poses are of that model."""

        def come() -> bool:
            newest = self.subscriber.of("pose")[-poses:]
            return len(newest) == poses and all(pose["model"].startswith(f"{name}@") for pose in newest)

        wait_until(come, f"poses of {name}", 40)

    def events(self, kind: str) -> list[str]:
        return [event["text"] for event in self.subscriber.of("event") if event["kind"] == kind]

    def wait_event(self, kind: str, count: int = 1) -> str:
        wait_until(lambda: len(self.events(kind)) >= count, f"the event {kind}", 40)
        return self.events(kind)[count - 1]

    def gap_s(self) -> float:
        """The longest pause between two poses."""
        times = sorted(pose["t_us"] for pose in self.subscriber.poses())
        return max(after - before for before, after in itertools.pairwise(times)) / 1e6

    def choice(self) -> ModelSelection:
        return read_selection(selection_path(Store(state_dir() / "models"), "cage-07"))


@pytest.fixture
def start(
    config: Path, mosquitto: Mosquitto, subscribe: Callable[..., Subscriber], run: Callable[..., Daemon], tmp_path: Path
) -> Callable[[], Cage]:
    subscriber = subscribe(mosquitto.port)
    env = misbehaving(tmp_path / "site")
    return lambda: Cage(subscriber, run(config, env))


def test_a_model_is_exchanged_between_two_frames_and_back(
    start: Callable[[], Cage], asker: Asker, store: Store, demo_model: Path, tmp_path: Path
) -> None:
    cage = start()
    cage.wait_model("first")
    wait_until(lambda: len(store.versions()) == 1, "the config's model in the store")
    version = store.install(variant(demo_model, tmp_path, "second"))
    assert asker.ask("model", {"action": "activate", "model": version.id})["result"] == {"model": version.id}
    cage.wait_model("second")
    assert cage.wait_event("model_activated") == f"{version.id} is at work"
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


@pytest.mark.parametrize("name", ["raises", "hangs", "crashes"])
def test_a_model_that_does_not_work_is_gone_back_from(
    name: str, start: Callable[[], Cage], asker: Asker, store: Store, demo_model: Path, tmp_path: Path
) -> None:
    """One that hangs or crashes costs a start of the daemon, which systemd sees to, and is not taken again."""
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
    assert version.key in cage.choice().bad
    assert cage.gap_s() < 30
    cage.daemon.stop()
    assert start().wait_model("first") is None


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
    assert set(cage.subscriber.of("pose")[-1]["keypoints"]) == set(NAMES)
    assert cage.daemon.process.poll() is None
    seqs = [pose["seq"] for pose in cage.subscriber.of("pose")]
    assert sorted(set(seqs)) == seqs
    asker.ask("model", {"action": "rollback"})
    cage.wait_model("first")
    assert cage.gap_s() < 20
    cage.daemon.stop()


NAMES = ("nose", "left", "right", "tail")


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
    """Not status 78 with nobody there: a rule names a keypoint that the new model does not have."""
    rule = "rules: {away: {when: {score: {keypoint: snout, below: 0.3}}}}\n"
    config.write_text(config.read_text("utf-8") + rule, encoding="utf-8")
    version = store.install(variant(demo_model, tmp_path, "renamed", keypoints=NAMES))
    if running:
        cage = start()
        cage.wait_model("first")
        asker.ask("model", {"action": "activate", "model": version.id})
    else:
        wanted = activated(ModelSelection(), version.key, key(config.parent / "first.tflite"))
        write_selection(selection_path(store, "cage-07"), wanted)
        cage = start()
    wait_until(lambda: version.key in cage.choice().bad, "its end", 40)
    assert "the model has no keypoint 'snout'" in cage.choice().bad[version.key]
    cage.wait_model("first")
    assert cage.daemon.process.poll() is None
    cage.daemon.stop()


def test_a_killed_trial_is_not_taken_again_but_one_that_a_power_cut_ended_is(
    start: Callable[[], Cage], store: Store, demo_model: Path, tmp_path: Path
) -> None:
    version = store.install(variant(demo_model, tmp_path, "second"))
    path = selection_path(store, "cage-07")
    for boot, name in ((read_boot(), "first"), ("another", "second")):
        choice = activated(ModelSelection(), version.key, key(tmp_path / "config" / "first.tflite"))
        write_selection(path, msgspec.structs.replace(choice, trial=Trial(version.key, 1, boot)))
        cage = start()
        cage.wait_model(name)
        cage.daemon.stop()


def read_boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def test_a_damaged_config_model_gives_way_to_the_last_good_one(start: Callable[[], Cage], config: Path) -> None:
    cage = start()
    cage.wait_model("first")
    wait_until(lambda: cage.choice().good, "its proof")
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


def test_another_model_in_the_config_is_the_newer_choice(
    start: Callable[[], Cage], store: Store, config: Path, demo_model: Path, tmp_path: Path
) -> None:
    version = store.install(variant(demo_model, tmp_path, "second"))
    write_selection(
        selection_path(store, "cage-07"), activated(ModelSelection(), version.key, key(config.parent / "first.tflite"))
    )
    cage = start()
    cage.wait_model("second")
    cage.wait_event("model_activated")
    cage.daemon.stop()
    newer = variant(demo_model, tmp_path, "third")
    for suffix in (".tflite", ".json"):
        newer.with_suffix(suffix).replace(config.parent / f"first{suffix}")
    cage = start()
    cage.wait_model("third")
    assert cage.wait_event("model_configured").endswith("is another model than before, and taken")
    cage.daemon.stop()


def test_a_disk_that_takes_no_copy_is_an_alert_and_not_a_flood(
    store: Store, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config's model runs for the first time, and cannot be kept: poses go on, and nobody is told twice a
    second."""
    tries, told = [], []

    def keep(_self: Store, model: Path) -> None:
        tries.append(model)
        raise EdgeposeError(f"{model}: cannot keep the model (No space left on device); make room")

    monkeypatch.setattr(Store, "keep", keep)
    host = SimpleNamespace(poses=lambda: 100, prove=lambda: None)
    ledger = SelectionFile(selection_path(store, "cage-07"))
    switch = ModelSwitch(store, ledger, demo_model, "boot", SimpleNamespace(card=read_card(demo_model)))
    switch.tell = lambda kind, _text: told.append(kind)
    switch.start(host)
    wait_until(lambda: "No space left" in switch.alerts.get("model", ""), "the alert")
    time.sleep(1.5)
    switch.close()
    assert (len(tries), told) == (1, [])


# --- from a shell ------------------------------------------------------------------------------------------


def edgepose(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgepose", "model", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)


def test_the_shell_installs_lists_activates_and_rolls_back(
    start: Callable[[], Cage], config: Path, demo_model: Path, tmp_path: Path
) -> None:
    cage = start()
    cage.wait_model("first")
    wait_until(lambda: cage.choice().good, "its proof")
    done = edgepose("install", variant(demo_model, tmp_path, "second"))
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[0]
    done = edgepose("activate", name, "-c", config)
    assert (done.returncode, done.stdout) == (0, f"{name} is at work\n"), done.stderr
    cage.wait_model("second")
    listed = edgepose("list", "-c", config).stdout.splitlines()
    assert [line.split()[0] for line in listed if "active, ran well" in line] == [name]
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
        (("install",), 2, "model install: which file? Give the .tflite"),
        (("activate",), 2, "model activate: which one? `edgepose model list` tells"),
        (("install", "nothing.tflite"), 78, "nothing.tflite: no such model file"),
        (("list", "-c", "nothing.yaml"), 78, "nothing.yaml: cannot read"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", *words]) == status
    told = capsys.readouterr().err
    assert told.startswith(f"edgepose: {text}")
    assert told.count("\n") == 1


def test_who_is_not_root_is_told_where_there_is_a_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_command, "_SERVICE_CONFIG", tmp_path / "edgepose.yaml")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    (tmp_path / "edgepose.yaml").touch()
    assert main(["model", "rollback"]) == 1
    assert capsys.readouterr().err == "edgepose: needs root: sudo edgepose model rollback\n"


# --- download ----------------------------------------------------------------------------------------------


class Site(http.server.SimpleHTTPRequestHandler):
    """A web server with ranges, which breaks off where `breaks` says so."""

    breaks: list[int] = []  # noqa: RUF012  bytes after which the line breaks, one request each
    asked: list[str] = []  # noqa: RUF012
    folder = Path()

    def do_GET(self) -> None:
        self.asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())
        path = self.folder / self.path.lstrip("/")
        if self.path.startswith("/elsewhere"):
            self.send_response(302)
            self.send_header("Location", f"file://{self.folder}/model.tflite")
            self.end_headers()
            return
        if not path.is_file():
            self.send_error(404)
            return
        data, begin = path.read_bytes(), 0
        if wanted := self.headers.get("Range"):
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
        if begin >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        end = begin + self.breaks.pop(0) if self.breaks else len(data)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data[begin:end])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tmp_path / "site-files"
    folder.mkdir()
    monkeypatch.setattr(Site, "folder", folder)
    monkeypatch.setattr(Site, "breaks", [])
    monkeypatch.setattr(Site, "asked", [])
    monkeypatch.setattr(download, "_PAUSE_S", 0.01)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_download_is_resumed_where_the_line_broke(site: str, demo_model: Path, tmp_path: Path) -> None:
    model = variant(demo_model, Site.folder, "second")
    Site.breaks[:] = [1000, 50_000]
    sha256 = read_card(model).files.cpu.sha256
    fetched = download_model(f"{site}/second.tflite", sha256, tmp_path / "got", lambda: False)
    assert fetched.read_bytes() == model.read_bytes()
    assert read_card(fetched) == read_card(model)
    assert Site.asked[1:3] == ["/second.tflite bytes=1000-", "/second.tflite bytes=51000-"]
    Site.asked.clear()
    download_model(f"{site}/second.tflite", sha256, tmp_path / "got", lambda: False)
    assert Site.asked[0].startswith("/second.tflite bytes=")  # nothing comes twice


def test_a_download_that_is_not_what_was_told_or_too_large_is_refused(
    site: str, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = variant(demo_model, Site.folder, "second")
    url, sha256 = f"{site}/second.tflite", read_card(model).files.cpu.sha256
    for wrong, text in (
        (f"{site}/third.tflite", "404 Not Found"),
        (f"{site}/elsewhere.tflite", "is not allowed"),
    ):
        with pytest.raises(ModelError, match=text):
            download_model(wrong, sha256, tmp_path / "got", lambda: False)
    with pytest.raises(ModelError, match=f"has the sha256 {sha256}, not the one that was told"):
        download_model(url, "0" * 64, tmp_path / "got", lambda: False)
    assert not (tmp_path / "got" / "model.tflite").exists()
    monkeypatch.setattr(download, "MOST_BYTES", 100_000)
    with pytest.raises(ModelError, match=r"second.tflite: has \d+ MB, more than the 0 that are taken"):
        download_model(url, sha256, tmp_path / "got", lambda: False)


@pytest.mark.parametrize(
    "url", ["", "model.tflite", "file:///etc/passwd.tflite", "ftp://h/m.tflite", "http:///m.tflite", "http://h/m"]
)
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(ModelError, match="give an http:// or https:// address"):
        check_url(url)


def test_a_command_fetches_checks_and_activates(
    start: Callable[[], Cage], asker: Asker, site: str, demo_model: Path
) -> None:
    model = variant(demo_model, Site.folder, "fetched")
    cage = start()
    cage.wait_model("first")
    command = {"action": "install", "url": f"{site}/fetched.tflite", "activate": True}
    assert "sha256: missing" in asker.ask("model", command)["error"]
    assert "give an http" in asker.ask("model", {**command, "url": "file:///m.tflite", "sha256": "0" * 64})["error"]
    assert asker.ask("model", {**command, "sha256": "0" * 64})["ok"]
    assert "not the one that was told" in cage.wait_event("model_refused")
    assert asker.ask("model", {**command, "sha256": sha256_of(model.read_bytes())})["ok"]
    assert cage.wait_event("model_installed").endswith(f"from {site}/fetched.tflite")
    cage.wait_model("fetched")
    cage.wait_event("model_activated")
    cage.daemon.stop()
    assert not [path for path in (state_dir() / "models").iterdir() if path.name.startswith(".")]
    assert json.loads((state_dir() / "models" / "choice-cage-07.json").read_bytes())["trial"] is None
