"""TLS with a real broker and real certificates: always verified, and the reason in words when it fails."""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from brokers import Mosquitto, wait_until
from certificates import Authority, openssl

from edgepose.cli.broker_arguments import broker_of
from edgepose.config.schema import MqttConfig, TlsConfig
from edgepose.errors import BrokerError, ConfigError
from edgepose.mqtt.connection import probe_broker
from edgepose.mqtt.subscriber import Subscriber

HOST = "127.0.0.1"


@dataclass
class Lab:
    """An authority that is trusted, and a broker with a certificate of it."""

    folder: Path
    authority: Authority
    broker: Mosquitto

    def start(self, *names: str, lines: tuple[str, ...] = (), **days: int) -> None:
        cert, key = self.authority.issue(*(names or (HOST,)), **days)
        tls = (f"cafile {self.authority.path}", f"certfile {cert}", f"keyfile {key}")
        self.broker.start("allow_anonymous true", *tls, *lines)

    def settings(self, **tls: str) -> MqttConfig:
        return MqttConfig(host=HOST, port=self.broker.port, tls=TlsConfig(**{"ca": str(self.authority.path), **tls}))

    def pair(self, authority: Authority, **days: int) -> dict[str, str]:
        cert, key = authority.issue("cage-07", **days)
        return {"cert": str(cert), "key": str(key)}


@pytest.fixture
def lab(tmp_path: Path, authority: Authority, mosquitto: Mosquitto) -> Lab:
    return Lab(tmp_path, authority, mosquitto)


def not_yet_valid(lab: Lab) -> MqttConfig:
    lab.start(first_day=1, last_day=2)
    return lab.settings()


def expired(lab: Lab) -> MqttConfig:
    lab.start(first_day=-2, last_day=-1)
    return lab.settings()


def another_name(lab: Lab) -> MqttConfig:
    lab.start("broker.lan")
    return lab.settings()


def not_the_name_asked_for(lab: Lab) -> MqttConfig:
    lab.start(HOST)
    return lab.settings(server_name="broker.lan")


def self_signed(lab: Lab) -> MqttConfig:
    lab.start()
    return lab.settings(ca=str(Authority(lab.folder, "stranger").path))


def system_authorities(lab: Lab) -> MqttConfig:
    lab.start()
    return MqttConfig(host=HOST, port=lab.broker.port, tls=TlsConfig())


def no_certificate_of_ours(lab: Lab) -> MqttConfig:
    lab.start(lines=("require_certificate true",))
    return lab.settings()


def a_strangers_certificate(lab: Lab) -> MqttConfig:
    lab.start(lines=("require_certificate true",))
    return lab.settings(**lab.pair(Authority(lab.folder, "stranger")))


def our_certificate_expired(lab: Lab) -> MqttConfig:
    lab.start(lines=("require_certificate true",))
    return lab.settings(**lab.pair(lab.authority, first_day=-2, last_day=-1))


def plain_to_tls(lab: Lab) -> MqttConfig:
    lab.start()
    return MqttConfig(host=HOST, port=lab.broker.port)


def tls_to_plain(lab: Lab) -> MqttConfig:
    lab.broker.start()
    return lab.settings()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (not_yet_valid, "(certificate is not yet valid); set this device's clock, or wait until it is synchronised"),
        (expired, "(certificate has expired); renew it, or set this device's clock"),
        (another_name, "set mqtt.host, or mqtt.tls.server_name, to the name in it"),
        (not_the_name_asked_for, "set mqtt.host, or mqtt.tls.server_name, to the name in it"),
        (self_signed, "mqtt.tls.ca must name the authority that signed it"),
        (system_authorities, "mqtt.tls.ca must name the authority that signed it"),
        (no_certificate_of_ours, "(the broker says: certificate required); check mqtt.tls.cert and mqtt.tls.key"),
        (a_strangers_certificate, "(the broker says: unknown ca); check mqtt.tls.cert and mqtt.tls.key"),
        (our_certificate_expired, "(the broker says: certificate expired); check mqtt.tls.cert and mqtt.tls.key"),
        (plain_to_tls, "or set mqtt.tls where the broker wants TLS"),
        (tls_to_plain, "check the network, mqtt.host and mqtt.port; does the port speak TLS?"),
    ],
)
def test_why_there_is_no_connection(fault: Callable[[Lab], MqttConfig], message: str, lab: Lab) -> None:
    with pytest.raises(BrokerError, match=re.escape(message)) as caught:
        probe_broker(fault(lab))
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_as_it_should_be_is_accepted(lab: Lab) -> None:
    lab.start("broker.lan", lines=("require_certificate true",))
    probe_broker(lab.settings(server_name="broker.lan", **lab.pair(lab.authority)))


def test_watch_trusts_the_authority_it_is_given(lab: Lab) -> None:
    lab.start()
    url = f"mqtts://{HOST}:{lab.broker.port}"
    subscriber = Subscriber(broker_of(argparse.Namespace(broker=url, ca=lab.authority.path, password_file=None)))
    wait_until(lambda: subscriber.connected or [*subscriber.receive(0.1)], "the connection")
    subscriber.close()


@contextlib.contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[int]:
    """Takes one connection, and sends nothing after the handshake."""
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            caller, _ = server.accept()
            with caller, contextlib.suppress(OSError), context.wrap_socket(caller, server_side=True) as encrypted:
                encrypted.recv(1000)
                encrypted.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def test_the_broker_is_asked_for_the_name_in_the_config(authority: Authority) -> None:
    asked: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("broker.lan"))
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    tls = TlsConfig(ca=str(authority.path), server_name="broker.lan")
    with tls_server(context) as port, pytest.raises(BrokerError, match="does not answer as MQTT"):
        probe_broker(MqttConfig(host=HOST, port=port, tls=tls), connect_s=0.5)
    assert asked == ["broker.lan"]


def test_a_port_that_never_begins_tls_is_reported(authority: Authority) -> None:
    with socket.create_server((HOST, 0)) as server:
        settings = MqttConfig(host=HOST, port=server.getsockname()[1], tls=TlsConfig(ca=str(authority.path)))
        with pytest.raises(BrokerError, match=r"no answer; .* does the port speak TLS\?"):
            probe_broker(settings, connect_s=0.3)


def no_pem(lab: Lab) -> TlsConfig:
    (lab.folder / "ca.pem").write_text("not a certificate\n", encoding="utf-8")
    return TlsConfig(ca=str(lab.folder / "ca.pem"))


def no_file(lab: Lab) -> TlsConfig:
    return TlsConfig(ca="no/such/ca.pem")


def no_path(lab: Lab) -> TlsConfig:
    return TlsConfig(ca="a\0b")


def another_key(lab: Lab) -> TlsConfig:
    return TlsConfig(cert=lab.pair(lab.authority)["cert"], key=lab.pair(lab.authority)["key"])


def locked_key(lab: Lab) -> TlsConfig:
    pair = lab.pair(lab.authority)
    openssl(lab.folder, "ec", "-in", pair["key"], "-aes256", "-passout", "pass:secret", "-out", "locked.key")
    return TlsConfig(cert=pair["cert"], key=str(lab.folder / "locked.key"))


def key_alone(lab: Lab) -> TlsConfig:
    return TlsConfig(key=lab.pair(lab.authority)["key"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (no_pem, "mqtt.tls.ca: cannot use .*ca.pem .no (certificate or crl found|PEM certificates in it)"),
        (no_file, "mqtt.tls.ca: cannot use no/such/ca.pem .No such file or directory"),
        (no_path, "mqtt.tls.ca: cannot use .*null"),
        (another_key, "mqtt.tls.cert: cannot use .*.key values mismatch"),
        (locked_key, "mqtt.tls.cert: cannot use .*the key is encrypted; give one without a passphrase"),
        (key_alone, "mqtt.tls.key: needs mqtt.tls.cert as well"),
    ],
)
def test_files_that_cannot_be_used_are_config_errors(files: Callable[[Lab], TlsConfig], message: str, lab: Lab) -> None:
    with pytest.raises(ConfigError, match=message):
        probe_broker(MqttConfig(host=HOST, tls=files(lab)))


def test_a_key_that_we_may_not_read_is_reported(lab: Lab, lock: Callable[[Path], None]) -> None:
    pair = lab.pair(lab.authority)
    vault = lab.folder / "vault"
    vault.mkdir()
    shutil.move(pair["key"], vault / "device.key")
    lock(vault)
    with pytest.raises(ConfigError, match=r"mqtt.tls.cert: cannot use .*Permission denied"):
        probe_broker(MqttConfig(host=HOST, tls=TlsConfig(cert=pair["cert"], key=str(vault / "device.key"))))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("fault", [self_signed, no_certificate_of_ours, plain_to_tls, tls_to_plain])
def test_failed_attempts_leave_nothing_open(fault: Callable[[Lab], MqttConfig], lab: Lab) -> None:
    settings = fault(lab)

    def attempt() -> None:
        with pytest.raises(BrokerError):
            probe_broker(settings)

    attempt()
    before = open_files()
    for _ in range(20):
        attempt()
    assert open_files() <= before
