"""Connecting to a broker, and the reason in words when that is not possible."""

from __future__ import annotations

import re
import socket
import threading

import pytest
from brokers import free_port

from edgepose.config.schema import MqttConfig
from edgepose.errors import BrokerError, ConfigError
from edgepose.mqtt.broker import client_id
from edgepose.mqtt.connection import probe_broker


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (MqttConfig(password_file="x"), "needs mqtt.username"),
        (MqttConfig(username="pi", password_file="no/such/file"), "cannot read no/such/file"),
        (MqttConfig(username="pi", password_file="a\0b"), r"mqtt.password_file: cannot read .*null byte"),
        (MqttConfig(host="broker..lan"), "'broker..lan' is not a host name"),
        (MqttConfig(host=""), "'' is not a host name"),
    ],
    ids=["no user", "no file", "odd file", "odd host", "no host"],
)
def test_settings_that_no_client_can_use_are_config_errors(settings: MqttConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        probe_broker(settings)


@pytest.mark.parametrize(
    ("host", "message"), [("127.0.0.1", "connection refused"), ("no-such-host.invalid", "host name not found")]
)
def test_probe_says_why_a_broker_is_absent(host: str, message: str) -> None:
    with pytest.raises(BrokerError, match=message):
        probe_broker(MqttConfig(host=host, port=free_port()))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"\x20\x02\x00\x01", "Unsupported protocol version; set mqtt.protocol: '3.1.1'"),
        (b"\x20\x03\x00\x88\x00", "refused: Server unavailable"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "correct mqtt.port"),
    ],
    ids=["MQTT 3 only", "unavailable", "a web server"],
)
def test_probe_says_why_a_broker_refuses(answer: bytes, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(BrokerError, match=re.escape(message)):
            probe_broker(MqttConfig(host="127.0.0.1", port=server.getsockname()[1]))
        thread.join(10)


def test_client_id_is_stable_and_names_the_device() -> None:
    assert client_id("cage-07") == client_id("cage-07")
    assert client_id("cage-07").startswith("edgepose-cage-07-")
    assert client_id("cage-07") != client_id("cage-08")
