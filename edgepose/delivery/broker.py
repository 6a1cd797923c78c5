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
DENIED = ("Not authorized", "Bad user name or password", "Banned")  # trying again changes nothing
TOO_NEW = "Unsupported protocol version"
_PROTOCOL = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


def configured_client(mqtt: Mqtt, client_id: str) -> paho.Client:
    """Not yet connected. Raises ConfigError when the host cannot be one or the password cannot be read."""
    if not is_host(mqtt.host):
        raise ConfigError(f"mqtt.host: {mqtt.host!r} is not a host name; correct it")
    return new_client(mqtt, client_id, read_password(mqtt))


def new_client(mqtt: Mqtt, client_id: str, password: str | None) -> paho.Client:
    """Not yet connected; `mqtt.password_file` is not looked at."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=_PROTOCOL[mqtt.protocol])
    client.on_socket_open = _no_delay
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, password)
    return client


def is_host(name: str) -> bool:
    """Whether the resolver can be asked for it: at others it raises a UnicodeError."""
    try:
        return bool(name.encode("idna"))
    except UnicodeError:
        return False


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
    except (OSError, ValueError) as exc:  # ValueError: not text, or a path that cannot be one
        why = "not UTF-8 text" if isinstance(exc, UnicodeDecodeError) else getattr(exc, "strerror", exc)
        raise ConfigError(f"mqtt.password_file: cannot read {mqtt.password_file} ({why})") from None
    if not lines or not lines[0]:
        raise ConfigError(f"mqtt.password_file: {mqtt.password_file} is empty; its first line is the password")
    return lines[0]


def where(mqtt: Mqtt) -> str:
    return f"broker {mqtt.host}:{mqtt.port}"


def trouble(exc: BaseException | None) -> str:
    """Why no connection came about, in words."""
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused"
    if isinstance(exc, socket.gaierror):
        return f"host name not found ({exc.strerror})"
    if isinstance(exc, TimeoutError):
        return "no answer"
    return str(getattr(exc, "strerror", None) or exc)


def unreachable(exc: BaseException | None) -> str:
    """The same, and what to do about it in the config."""
    if isinstance(exc, ConnectionRefusedError):
        return f"{trouble(exc)}; start the broker, or correct mqtt.host and mqtt.port"
    if isinstance(exc, socket.gaierror):
        return f"{trouble(exc)}; correct mqtt.host"
    return f"{trouble(exc)}; check the network, mqtt.host and mqtt.port"


def refused(reason: ReasonCode) -> str:
    text = str(reason)
    if text in DENIED:
        return f"refused: {text}; correct mqtt.username and mqtt.password_file, or the broker's user list"
    if text == TOO_NEW:
        return f"refused: {text}; set mqtt.protocol: '3.1.1'"
    return f"refused: {text}"


def probe_broker(mqtt: Mqtt) -> None:
    """Connects once. Raises BrokerError with the reason when the broker is absent or refuses."""
    client = configured_client(mqtt, f"edgepose-check-{secrets.token_hex(4)}")
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
