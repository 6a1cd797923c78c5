"""A paho client made from the config, and in words why a broker cannot be used and what to do about it."""

from __future__ import annotations

import hashlib
import socket
import ssl
import uuid
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edgepose.core.config import Mqtt, Tls
from edgepose.core.errors import ConfigError
from edgepose.passwords import find_password

DENIED = ("Not authorized", "Bad user name or password", "Banned")  # trying again changes nothing
TOO_NEW = "Unsupported protocol version"
_PROTOCOL = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


def new_client(mqtt: Mqtt, client_id: str, password: str | None, *, keep_session: bool = False) -> paho.Client:
    """Not yet connected. Raises ConfigError when a TLS file cannot be used. keep_session: for MQTT 3.1.1; of 5,
    `connect` is told."""
    clean = None if mqtt.protocol == "5" else not keep_session
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=clean, protocol=_PROTOCOL[mqtt.protocol])
    client.on_socket_open = _no_delay
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, password)
    if mqtt.tls is not None:
        client.tls_set_context(tls_context(mqtt.tls))
    return client


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Verifies the broker's certificate and name, always. Raises ConfigError when a file cannot be used."""
    context: ssl.SSLContext = _Named(tls.server_name) if tls.server_name else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if tls.ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(tls.ca)
    except OSError as exc:  # also ssl.SSLError
        raise ConfigError(f"mqtt.tls.ca: cannot use {tls.ca} ({_file_trouble(exc)})") from None
    if tls.key is not None and tls.cert is None:
        raise ConfigError("mqtt.tls.key: needs mqtt.tls.cert as well; add it")
    try:
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key, password=_no_password)
    except (OSError, _EncryptedKeyError) as exc:
        raise ConfigError(
            f"mqtt.tls.cert: cannot use {tls.cert} with key {tls.key or tls.cert} ({_file_trouble(exc)})"
        ) from None
    return context


class _Named(ssl.SSLContext):
    """Asks for, and insists on, another name than the host's."""

    _name: str

    def __new__(cls, name: str) -> _Named:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context._name = name
        return context

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return super().wrap_socket(sock, *args, **{**kwargs, "server_hostname": self._name})


class _EncryptedKeyError(Exception):
    pass


def _no_password() -> str:
    """Instead of OpenSSL's question on the terminal."""
    raise _EncryptedKeyError("the key is encrypted; give one without a passphrase")


def _file_trouble(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLError):
        return "no PEM certificates in it" if exc.reason is None or "PEM" in str(exc) else exc.reason.lower()
    return str(getattr(exc, "strerror", None) or exc)


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
    """Raises ConfigError."""
    return find_password("mqtt", mqtt.username, mqtt.password_file)


def check_settings(mqtt: Mqtt) -> None:
    """Raises ConfigError when the host cannot be one, or the password or a TLS file cannot be read."""
    if not is_host(mqtt.host):
        raise ConfigError(f"mqtt.host: {mqtt.host!r} is not a host name; correct it")
    new_client(mqtt, "", read_password(mqtt))


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
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({exc.verify_message.rstrip('.')})"
    if isinstance(exc, ssl.SSLError):
        return f"no TLS connection ({(exc.reason or str(exc)).lower().replace('_', ' ')})"
    return str(getattr(exc, "strerror", None) or exc)


def unreachable(exc: BaseException | None, mqtt: Mqtt) -> str:
    """The same, and what to do about it in the config."""
    return f"{trouble(exc)}; {_remedy(exc, mqtt)}"


def _remedy(exc: BaseException | None, mqtt: Mqtt) -> str:
    if isinstance(exc, ssl.SSLError):
        return _tls_remedy(exc)
    if isinstance(exc, ConnectionRefusedError):
        return "start the broker, or correct mqtt.host and mqtt.port"
    if isinstance(exc, socket.gaierror):
        return "correct mqtt.host"
    hint = "; does the port speak TLS?" if isinstance(exc, TimeoutError) and mqtt.tls else ""
    return f"check the network, mqtt.host and mqtt.port{hint}"


def _tls_remedy(exc: ssl.SSLError) -> str:
    if not isinstance(exc, ssl.SSLCertVerificationError):
        if exc.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
            return "the port does not speak TLS: correct mqtt.port, often 8883, or remove mqtt.tls"
        return "check mqtt.tls.cert and mqtt.tls.key"
    if "expired" in exc.verify_message or "not yet valid" in exc.verify_message:
        return "renew it, or set this device's clock"
    if "mismatch" in exc.verify_message:
        return "set mqtt.host, or mqtt.tls.server_name, to the name in it"
    return "mqtt.tls.ca must name the authority that signed it"


def refused(reason: ReasonCode) -> str:
    text = str(reason)
    if text in DENIED:
        return f"refused: {text}; correct mqtt.username and the password, or the broker's user list"
    if text == TOO_NEW:
        return f"refused: {text}; set mqtt.protocol: '3.1.1'"
    return f"refused: {text}"


def _no_delay(_client: paho.Client, _data: object, sock: object) -> None:
    """Poses are small and go out one by one: waiting to fill a packet would delay each by up to 40 ms."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
