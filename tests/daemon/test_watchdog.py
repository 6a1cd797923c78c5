"""Notifications to systemd, through a real socket: ready with the first pose, alive only while every part works."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import Mosquitto, wait_until
from daemons import Daemon

from edgepose.daemon.watchdog import SystemdNotifier

WATCHDOG_S = 2.0


class Manager:
    """The end of the socket that systemd would have."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.lines: list[str] = []
        self.environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}

    def hear(self) -> list[str]:
        """Returns all lines so far."""
        while True:
            try:
                self.lines += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.lines

    def pings(self) -> int:
        return self.hear().count("WATCHDOG=1")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.socket.close()


def test_the_daemon_is_ready_with_the_first_pose_and_a_ping_needs_every_sign(manager: Manager) -> None:
    notifier = SystemdNotifier({**manager.environ, "WATCHDOG_USEC": "4"})
    notifier.progress(0, (1, 1, 1))
    assert manager.hear() == []
    notifier.progress(1, (2, 2, 2))
    assert manager.hear() == ["READY=1", "STATUS=poses are flowing", "WATCHDOG=1"]
    for stuck in range(3):
        signs = [3, 3, 3]
        signs[stuck] = 2
        notifier.progress(9, signs)
        assert manager.pings() == 1
    notifier.progress(9, (3, 3, 3))
    assert manager.pings() == 2


def test_another_processs_watchdog_is_not_ours(manager: Manager) -> None:
    assert SystemdNotifier({**manager.environ, "WATCHDOG_PID": "1"}).watchdog_s == 0
    assert SystemdNotifier({**manager.environ, "WATCHDOG_PID": str(os.getpid())}).watchdog_s == WATCHDOG_S


def test_a_slow_camera_asks_for_patience(manager: Manager) -> None:
    notifier = SystemdNotifier(manager.environ)
    notifier.allow_slow_frames(0.3)
    assert manager.hear() == []
    notifier.allow_slow_frames(30)
    assert manager.hear() == ["WATCHDOG_USEC=120000000", "EXTEND_TIMEOUT_USEC=120000000"]


def test_a_manager_that_does_not_read_holds_nobody_up(manager: Manager) -> None:
    notifier = SystemdNotifier({**manager.environ, "WATCHDOG_USEC": "4"})
    begin = time.monotonic()
    for number in range(1, 2000):
        notifier.progress(number, (number,))
    assert time.monotonic() - begin < 20
    assert manager.pings() > 1


@pytest.fixture
def config(tmp_path: Path, demo_model: Path, mosquitto: Mosquitto) -> Path:
    path = tmp_path / "edgepose.yaml"
    path.write_text(
        f"device: cage-07\nmodel: {demo_model}\ninference: {{threads: 1}}\ncommands: [ping, set]\n"
        "camera: {source: synthetic, size_wh: [320, 240], rate_hz: 25}\n"
        f"mqtt: {{host: 127.0.0.1, port: {mosquitto.port}}}\n",
        encoding="utf-8",
    )
    return path


@pytest.mark.slow
def test_the_daemon_pings_with_and_without_a_broker_and_says_when_it_stops(
    config: Path, mosquitto: Mosquitto, run: Callable[..., Daemon], manager: Manager
) -> None:
    daemon = run(config, manager.environ)
    wait_until(lambda: "READY=1" in manager.hear(), "ready without a broker", 30)
    assert not daemon.warnings() or "READY=1" in manager.hear()
    count = manager.pings()
    wait_until(lambda: manager.pings() >= count + 5, "pings without a broker", 30)
    mosquitto.start()
    count = manager.pings()
    wait_until(lambda: manager.pings() >= count + 5, "pings with a broker", 30)
    wait_until(lambda: any(line.startswith("STATUS=2") for line in manager.hear()), "its rate in the status", 30)
    daemon.stop()
    assert manager.hear()[-1] == "STOPPING=1"


HANGS = {
    "the camera": "edgepose.camera.synthetic.camera.SyntheticSource.read",
    "the interpreter": "edgepose.inference.estimator.Estimator.invoke",
    "the hand-over": "edgepose.delivery.delivery.MqttDelivery.deliver",
    "the link": "edgepose.mqtt.connection.Connection.step",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", HANGS)
def test_no_ping_while_a_part_hangs(
    what: str, config: Path, mosquitto: Mosquitto, run: Callable[..., Daemon], manager: Manager, tmp_path: Path
) -> None:
    """The supervisor watches the camera: each of its steps counts as progress, and it takes only so many."""
    mosquitto.start()
    module, name, method = HANGS[what].rsplit(".", 2)
    hang = tmp_path / "hang"
    (tmp_path / "sitecustomize.py").write_text(
        f"import pathlib, time, importlib\nmodule = importlib.import_module({module!r})\n"
        f"real = module.{name}.{method}\n"
        "def hanging(self, *args, **kwargs):\n"
        f"    while pathlib.Path({str(hang)!r}).exists(): time.sleep(0.1)\n"
        "    return real(self, *args, **kwargs)\n"
        f"module.{name}.{method} = hanging\n",
        encoding="utf-8",
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    daemon = run(config, {**manager.environ, "PYTHONPATH": path})
    wait_until(lambda: manager.pings() > 2, "pings", 30)
    hang.touch()
    time.sleep(1)
    count = manager.pings()
    time.sleep(2.5)  # longer than the watchdog's time
    assert manager.pings() <= count + (what == "the camera")
    hang.unlink()
    wait_until(lambda: manager.pings() > count + 2, "pings again", 30)
    daemon.process.send_signal(signal.SIGKILL)
