"""Fixtures that several tests share."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from brokers import MOSQUITTO, Mosquitto, Subscriber
from certificates import OPENSSL, Authority
from collecting import Collecting
from daemons import Daemon
from delivering import health, new_delivery
from hypothesis import settings

import edgepose
from edgepose.config.schema import MqttConfig
from edgepose.delivery.delivery import MqttDelivery

# How long a test may take is no property of the code: tests run in parallel, on machines that do other work too.
settings.register_profile("edgepose", deadline=None)
settings.load_profile("edgepose")


def pytest_configure() -> None:
    """A shell's background job, which a CI run may be, ignores Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def spool_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons keep their spools in the test's own folder."""
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """Not yet started, so that a test can choose its users, or its absence."""
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto (apt install mosquitto)")
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(folder)
    yield broker
    broker.kill()


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    """subscribe(port, user, password) makes a Subscriber; the test fails if any message it saw broke its schema."""
    made: list[Subscriber] = []

    def make(port: int, *user: str) -> Subscriber:
        made.append(Subscriber(port, *user))
        return made[-1]

    yield make
    for subscriber in made:
        subscriber.close()
    assert [problem for subscriber in made for problem in subscriber.problems] == []


@pytest.fixture
def run() -> Iterator[Callable[..., Daemon]]:
    """run(config) starts `edgepose run`; further arguments are those of `Daemon`."""
    made: list[Daemon] = []

    def start(config: Path, env: Mapping[str, str] | None = None, **more: Any) -> Daemon:
        made.append(Daemon(config, env, **more))
        return made[-1]

    yield start
    for daemon in made:
        daemon.kill()


@pytest.fixture
def deliver_to() -> Iterator[Callable[..., MqttDelivery]]:
    """deliver_to(settings) makes and starts a delivery, which is closed at the end."""
    made: list[MqttDelivery] = []

    def make(settings: MqttConfig, **more: Any) -> MqttDelivery:
        made.append(new_delivery(settings, **more))
        made[-1].start(health)
        return made[-1]

    yield make
    for delivery in made:
        delivery.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    if OPENSSL is None:
        pytest.skip("needs openssl (apt install openssl)")
    return Authority(tmp_path)


@pytest.fixture
def collect(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Callable[..., Collecting]]:
    """collect(*words, folder="out") starts `edgepose collect`, and returns when it listens. home: another edgepose."""
    made: list[Collecting] = []

    def make(*words: str, folder: str = "out", listens: bool = True, home: Path | None = None) -> Collecting:
        made.append(Collecting(mosquitto.port, tmp_path / folder, words, listens=listens, home=home))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def lock() -> Iterator[Callable[[Path], None]]:
    """lock(folder): from here on we may not look into it, as into a stranger's home. Root becomes nobody to feel it."""
    locked: list[Path] = []

    def make(folder: Path) -> None:
        folder.chmod(0)
        locked.append(folder)
        if os.getuid() == 0:
            os.seteuid(65534)

    yield make
    if os.getuid() == 0:
        os.seteuid(0)
    for folder in locked:
        folder.chmod(0o700)


_LIMITS = pytest.StashKey[tuple[int, int]]()


@pytest.fixture
def full_disk(request: pytest.FixtureRequest) -> None:
    """From here to the test's end no file can grow beyond 20 kB, and what tries gets an error, as on a full disk."""
    resource = pytest.importorskip("resource", reason="needs resource limits (not on Windows)")
    request.node.stash[_LIMITS] = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Ends the limit of `full_disk` before pytest writes its own log, which may be a longer file."""
    try:
        return (yield)
    finally:
        if before := item.stash.get(_LIMITS, None):
            resource = importlib.import_module("resource")
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 500 kB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small file system (root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The int8 model that ships with the package."""
    return Path(edgepose.__file__).parent / "demo" / "demo.tflite"


@pytest.fixture(scope="session")
def public_projects() -> Path:
    """The folder of DeepLabCut's public example projects, which are too large to ship."""
    folder = os.environ.get("EDGEPOSE_DATA")
    if not folder:
        pytest.skip("EDGEPOSE_DATA does not name the folder of the public example projects")
    return Path(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes the captured output of a test printable. Tests run in parallel send it to the main process as UTF-8, and
    hostile texts in it, such as a lone surrogate, would end the whole run."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    if isinstance(report.longrepr, str):
        report.longrepr = report.longrepr.encode("utf-8", "backslashreplace").decode()
    return report
