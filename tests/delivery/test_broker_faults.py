"""Faults of a broker, seen by the real daemon.

`check` reports each in one line. `run` reports it in one line, goes on, and delivers everything once the fault is gone,
without a restart.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from brokers import Mosquitto, Subscriber, free_port, wait_until
from certificates import Authority
from daemons import Daemon

from edgepose.cli.main import main
from edgepose.mqtt.demo_broker import embedded

HOST = "127.0.0.1"
_CHANGE_OF_BROKERS = (
    "connection refused|the broker closed the connection instead"  # while one ends and the other starts
)
_NO_ANSWER = (
    r"accepts connections, but does not answer as MQTT; correct mqtt.port, or set mqtt.tls where the broker wants TLS, "
    r"or mqtt.protocol: '3.1.1' where it is old"
)


class Scene:
    """A device and a broker, to which a fault is added.

    Attributes:
        settings: the `mqtt` section.
        attempts: returns how often the device has tried to connect.
        open_port: where a subscriber can connect without TLS and password.
        heal: removes the fault.
    """

    def __init__(self, folder: Path, model: Path, broker: Mosquitto, exits: contextlib.ExitStack) -> None:
        self.broker, self.folder, self.exits = broker, folder, exits
        self.settings: dict[str, Any] = {"host": HOST, "port": broker.port}
        self.attempts: Callable[[], int] = broker.connections
        self.open_port = broker.port  # where a subscriber gets in without further ado
        self.heal: Callable[[], None] = lambda: None
        self._model = model

    def config(self) -> Path:
        path = self.folder / "edgepose.yaml"
        camera = {"source": "synthetic", "size_wh": [160, 120], "rate_hz": 10.0}
        whole = {"device": "cage-07", "model": str(self._model), "camera": camera, "inference": {"threads": 1}}
        path.write_text(yaml.safe_dump({**whole, "mqtt": self.settings}), encoding="utf-8")
        return path

    def speak_tls(self, authority: Authority, *lines: str) -> None:
        """Starts the broker with TLS, with the certificate in server.pem."""
        self.open_port = free_port()
        files = [f"{key} {self.folder / name}" for key, name in (("certfile", "server.pem"), ("keyfile", "server.key"))]
        tls = [f"cafile {authority.path}", *files, *lines]
        self.broker.start("allow_anonymous true", *tls, f"listener {self.open_port} {HOST}")

    def certify(self, authority: Authority, *names: str, **days: int) -> None:
        for source, name in zip(authority.issue(*names, **days), ("server.pem", "server.key"), strict=True):
            shutil.copy(source, self.folder / name)


def wrong_ca(scene: Scene, authority: Authority) -> str:
    ca = scene.folder / "ca.pem"
    shutil.copy(Authority(scene.folder, "stranger").path, ca)
    scene.settings["tls"] = {"ca": str(ca)}
    scene.certify(authority, HOST)
    scene.speak_tls(authority)
    scene.heal = lambda: shutil.copy(authority.path, ca)
    return r"its certificate is not accepted \(.*\); mqtt.tls.ca must name the authority that signed it"


def expired(scene: Scene, authority: Authority) -> str:
    scene.settings["tls"] = {"ca": str(authority.path)}
    scene.certify(authority, HOST, first_day=-2, last_day=-1)
    scene.speak_tls(authority)

    def renew() -> None:
        scene.certify(authority, HOST)
        scene.broker.reload()

    scene.heal = renew
    return r"its certificate is not accepted \(certificate has expired\); renew it, or set this device's clock"


def key_not_there_yet(scene: Scene, authority: Authority) -> str:
    both = scene.folder / "device.pem"
    scene.settings["tls"] = {"ca": str(authority.path), "cert": str(both)}
    scene.certify(authority, HOST)
    scene.speak_tls(authority, "require_certificate true")
    scene.attempts = lambda: 1_000_000  # it need not ask the broker

    def deliver() -> None:
        cert, key = authority.issue("cage-07")
        (scene.folder / "new.pem").write_bytes(cert.read_bytes() + key.read_bytes())
        (scene.folder / "new.pem").replace(both)

    scene.heal = deliver
    return r"mqtt.tls.cert: cannot use \S+/device.pem with key \S+/device.pem \(No such file or directory\)"


def wrong_password(scene: Scene, authority: Authority) -> str:
    word = scene.folder / "password"
    word.write_text("wrong\n", encoding="utf-8")
    scene.settings |= {"username": "cage-07", "password_file": str(word)}
    scene.open_port = free_port()
    users = scene.broker.add_users(**{"cage-07": "right"})
    mine, open_to_all = ("allow_anonymous false", users), (f"listener {scene.open_port} {HOST}", "allow_anonymous true")
    scene.broker.start("per_listener_settings true", *mine, *open_to_all)
    scene.heal = lambda: word.write_text("right\n", encoding="utf-8") and None
    return r"refused: Not authorized; correct mqtt.username and the password, or the broker's user list"


def without_mqtt_5(scene: Scene, authority: Authority) -> str:
    pytest.importorskip("amqtt", reason="needs amqtt (pip install 'edgepose[demo]')")
    old = scene.exits.enter_context(contextlib.ExitStack())
    old.enter_context(embedded(scene.broker.port))
    scene.attempts = lambda: 1_000_000  # amqtt does not count

    def replace() -> None:
        old.close()
        scene.broker.start()

    scene.heal = replace
    return _NO_ANSWER  # amqtt takes the properties of a CONNECT of MQTT 5 for a long text, and waits for its end


def silent(scene: Scene, authority: Authority) -> str:
    server = scene.exits.enter_context(socket.create_server((HOST, scene.broker.port)))
    callers: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                callers.append(server.accept()[0])

    thread = threading.Thread(target=accept)
    thread.start()

    def answer() -> None:
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in (server, *callers):
            one.close()
        scene.broker.start()

    scene.attempts, scene.heal = lambda: len(callers), answer
    return _NO_ANSWER


@pytest.fixture
def scene(tmp_path: Path, demo_model: Path, mosquitto: Mosquitto) -> Iterator[Scene]:
    with contextlib.ExitStack() as exits:
        yield Scene(tmp_path, demo_model, mosquitto, exits)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # amqtt leaves sockets open
@pytest.mark.parametrize("fault", [wrong_ca, expired, key_not_there_yet, wrong_password, without_mqtt_5, silent])
def test_a_fault_is_reported_in_one_line_and_heals_without_a_restart(
    fault: Callable[[Scene, Authority], str],
    scene: Scene,
    authority: Authority,
    run: Callable[[Path], Daemon],
    subscribe: Callable[[int], Subscriber],
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = fault(scene, authority)
    config = scene.config()
    status = main(["check", "-c", str(config)])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("broker"))
    assert re.fullmatch(rf"broker +FAIL  (broker {HOST}:\d+: )?{text}", line)
    assert status == (78 if fault is key_not_there_yet else 1)

    before = scene.attempts()
    daemon = run(config)
    daemon.wait_for("keeping poses and trying again")
    wait_until(lambda: scene.attempts() >= before + 3 or scene.attempts() == before, "more attempts", 40)
    scene.heal()
    subscriber = subscribe(scene.open_port)
    wait_until(lambda: all_since_the_start(subscriber), "what had to wait", 40)
    poses = int(re.search(r"(\d+) poses, all delivered", daemon.stop())[1])
    wait_until(lambda: len(all_since_the_start(subscriber)) == poses, "the last poses")

    warnings = [line for line in daemon.warnings() if not re.search(_CHANGE_OF_BROKERS, line)]
    assert [bool(re.search(rf"{text}; keeping poses and trying again$", line)) for line in warnings] == [True], warnings


def all_since_the_start(subscriber: Subscriber) -> list[int]:
    """Returns the seqs of all poses since the start; none when one is missing."""
    first = [event["seq"] for event in subscriber.of("event") if event["kind"] == "started"]
    seqs = sorted(set(subscriber.seqs()))
    return seqs if first and seqs == list(range(first[0], first[0] + len(seqs))) else []
