"""Connecting to a broker, and in words why it is not possible."""

from __future__ import annotations

import re
import socket
import threading

import pytest
from brokers import free_port

from edgepose.core.config import Mqtt
from edgepose.core.errors import BrokerError, ConfigError
from edgepose.delivery.broker import client_id
from edgepose.delivery.connection import probe_broker


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Mqtt(password_file="x"), "needs mqtt.username"),
        (Mqtt(username="pi", password_file="no/such/file"), "cannot read no/such/file"),
        (Mqtt(username="pi", password_file="a\0b"), r"mqtt.password_file: cannot read .*null byte"),
        (Mqtt(host="broker..lan"), "'broker..lan' is not a host name"),
        (Mqtt(host=""), "'' is not a host name"),
    ],
    ids=["no user", "no file", "odd file", "odd host", "no host"],
)
def test_settings_that_no_client_can_use_are_config_errors(settings: Mqtt, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        probe_broker(settings)


@pytest.mark.parametrize(
    ("host", "message"), [("127.0.0.1", "connection refused"), ("no-such-host.invalid", "host name not found")]
)
def test_probe_tells_why_a_broker_is_absent(host: str, message: str) -> None:
    with pytest.raises(BrokerError, match=message):
        probe_broker(Mqtt(host=host, port=free_port()))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"\x20\x02\x00\x01", "Unsupported protocol version; set mqtt.protocol: '3.1.1'"),
        (b"\x20\x03\x00\x88\x00", "refused: Server unavailable"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "correct mqtt.port"),
    ],
    ids=["MQTT 3 only", "unavailable", "a web server"],
)
def test_probe_tells_why_a_broker_refuses(answer: bytes, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(BrokerError, match=re.escape(message)):
            probe_broker(Mqtt(host="127.0.0.1", port=server.getsockname()[1]))
        thread.join(10)


def test_client_id_is_stable_and_names_the_device() -> None:
    assert client_id("cage-07") == client_id("cage-07")
    assert client_id("cage-07").startswith("edgepose-cage-07-")
    assert client_id("cage-07") != client_id("cage-08")
