"""A paho client made from the config, and in words why a broker cannot be used and what to do about it."""

from __future__ import annotations

import hashlib
import secrets
import socket
import time
import uuid
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edgepose.core.config import Mqtt
from edgepose.core.errors import BrokerError, ConfigError

PROBE_S = 5.0
_PROTOCOL = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


def new_client(mqtt: Mqtt, client_id: str) -> paho.Client:
    """Not yet connected. Raises ConfigError when the host cannot be one or the password cannot be read."""
    _check_host(mqtt.host)
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=_PROTOCOL[mqtt.protocol])
    client.suppress_exceptions = True  # otherwise one exception in a callback ends the network thread, unnoticed
    client.on_socket_open = _no_delay
    password = read_password(mqtt)
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, password)
    return client


def _check_host(host: str) -> None:
    """The resolver would raise a UnicodeError, which ends paho's network thread."""
    try:
        valid = bool(host.encode("idna"))
    except UnicodeError:
        valid = False
    if not valid:
        raise ConfigError(f"mqtt.host: {host!r} is not a host name; correct it")


def client_id(device: str) -> str:
    """The same at every start, and different on a cloned SD card that has another machine id: two clients of one
    id throw each other out for ever."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        machine = f"{uuid.getnode():x}"
    return f"edgepose-{device}-{hashlib.sha256(machine.encode()).hexdigest()[:8]}"


def read_password(mqtt: Mqtt) -> str | None:
    if mqtt.password_file is None:
        return None
    if mqtt.username is None:
        raise ConfigError("mqtt.password_file: needs mqtt.username as well; add it")
    try:
        lines = Path(mqtt.password_file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "not UTF-8 text"
        raise ConfigError(f"mqtt.password_file: cannot read {mqtt.password_file} ({why})") from None
    if not lines or not lines[0]:
        raise ConfigError(f"mqtt.password_file: {mqtt.password_file} is empty; its first line is the password")
    return lines[0]


def where(mqtt: Mqtt) -> str:
    return f"broker {mqtt.host}:{mqtt.port}"


def unreachable(exc: BaseException | None) -> str:
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused; start the broker, or correct mqtt.host and mqtt.port"
    if isinstance(exc, socket.gaierror):
        return f"host name not found ({exc.strerror}); correct mqtt.host"
    if isinstance(exc, TimeoutError):
        return "no answer; check the network, mqtt.host and mqtt.port"
    return f"{getattr(exc, 'strerror', None) or exc}; check the network, mqtt.host and mqtt.port"


def refused(reason: ReasonCode) -> str:
    text = str(reason)
    if text in ("Not authorized", "Bad user name or password"):
        return f"refused: {text}; correct mqtt.username and mqtt.password_file, or the broker's user list"
    if text == "Unsupported protocol version":
        return f"refused: {text}; set mqtt.protocol: '3.1.1'"
    return f"refused: {text}"


def probe_broker(mqtt: Mqtt) -> None:
    """Connects once. Raises BrokerError with the reason when the broker is absent or refuses."""
    client = new_client(mqtt, f"edgepose-check-{secrets.token_hex(4)}")
    answers: list[ReasonCode] = []
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(reason)
    try:
        client.connect(mqtt.host, mqtt.port, mqtt.keepalive_s)
    except OSError as exc:
        raise BrokerError(f"{where(mqtt)}: {unreachable(exc)}") from None
    deadline = time.monotonic() + PROBE_S
    rc = MQTTErrorCode.MQTT_ERR_SUCCESS
    while not answers and rc == MQTTErrorCode.MQTT_ERR_SUCCESS and time.monotonic() < deadline:
        rc = client.loop(0.1)
    client.disconnect()
    client.loop(0.1)
    if not answers:
        raise BrokerError(f"{where(mqtt)}: does not speak MQTT; correct mqtt.port")
    if answers[0].is_failure:
        raise BrokerError(f"{where(mqtt)}: {refused(answers[0])}")


def _no_delay(_client: paho.Client, _data: object, sock: object) -> None:
    """Poses are small and go out one by one: waiting to fill a packet would delay each by up to 40 ms."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
