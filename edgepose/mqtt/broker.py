"""Makes a paho client from the config, and says in words why a broker cannot be used and what to do about it."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import uuid
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edgepose.config.schema import MqttConfig
from edgepose.errors import ConfigError
from edgepose.mqtt.tls import tls_context, tls_remedy, tls_trouble
from edgepose.system.secrets import find_password

DENIED = ("Not authorized", "Bad user name or password", "Banned")  # a new attempt changes nothing
TOO_NEW = "Unsupported protocol version"
TAKEN_OVER = "Session taken over"  # by a client of the same id
CLOSED = "the broker closed the connection"  # without a reason
_PROTOCOL = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
_FAILURES = 0x80  # reason codes from here on

# Some brokers refuse with reasons that the standard has for other packets, as mosquitto does with "Packet too large" in
# a PUBACK. paho would take that for a broken connection, and the message would be sent again and break the next one.
ReasonCode.names = {
    code: {name: [*range(16)] for name in names} if code >= _FAILURES else names
    for code, names in ReasonCode.names.items()
}


def new_client(mqtt: MqttConfig, client_id: str, password: str | None, *, keep_session: bool = False) -> paho.Client:
    """Returns a client that is not connected. Raises ConfigError when a TLS file cannot be used.

    keep_session: True when the broker keeps the session, for MQTT 3.1.1; for MQTT 5 that is an argument of `connect`.
    """
    clean = None if mqtt.protocol == "5" else not keep_session
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        clean_session=clean,
        protocol=_PROTOCOL[mqtt.protocol],
        reconnect_on_failure=False,  # otherwise paho tries an older protocol by itself, from inside its own callbacks
    )
    client.on_socket_open = _no_delay
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, password)
    if mqtt.tls is not None:
        client.tls_set_context(tls_context(mqtt.tls))
    return client


def is_host(name: str) -> bool:
    """Returns True for a name that can be given to the resolver, which raises UnicodeError for others."""
    try:
        return bool(name.encode("idna")) and not re.search(r"\s", name)
    except UnicodeError:
        return False


def client_id(device: str) -> str:
    """Returns a client id that is the same at every start, and another one on a copied SD card with its own machine id.

    Two clients with one id would throw each other out for ever.
    """
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        machine = f"{uuid.getnode():x}"
    return f"edgepose-{device}-{hashlib.sha256(machine.encode()).hexdigest()[:8]}"


def read_password(mqtt: MqttConfig) -> str | None:
    """Returns the password of `mqtt.username`, if there is one. Raises ConfigError."""
    return find_password("mqtt", mqtt.username, mqtt.password_file)


def check_settings(mqtt: MqttConfig) -> None:
    """Raises ConfigError for what only another config can mend. Files are not checked: they may come later."""
    if not is_host(mqtt.host):
        raise ConfigError(f"mqtt.host: {mqtt.host!r} is not a host name; correct it")
    if mqtt.password_file is not None and mqtt.username is None:
        raise ConfigError("mqtt.password_file: needs mqtt.username as well; add it")
    if mqtt.tls is not None and mqtt.tls.key is not None and mqtt.tls.cert is None:
        raise ConfigError("mqtt.tls.key: needs mqtt.tls.cert as well; add it")


def where(mqtt: MqttConfig) -> str:
    """Returns how messages name the broker."""
    return f"broker {mqtt.host}:{mqtt.port}"


def unreachable(exc: BaseException | None, mqtt: MqttConfig) -> str:
    """Returns why no connection was possible, and what to do about it in the config."""
    if isinstance(exc, ssl.SSLError):
        return f"{tls_trouble(exc)}; {tls_remedy(exc)}"
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused; start the broker, or correct mqtt.host and mqtt.port"
    if isinstance(exc, socket.gaierror):
        return f"host name not found ({exc.strerror}); correct mqtt.host"
    why = "no answer" if isinstance(exc, TimeoutError) else getattr(exc, "strerror", None) or exc
    hint = "; does the port speak TLS?" if isinstance(exc, TimeoutError | ConnectionResetError) and mqtt.tls else ""
    return f"{why}; check the network, mqtt.host and mqtt.port{hint}"


def silent(mqtt: MqttConfig, instead: str = "") -> str:
    """Returns what may be wrong with a port that takes connections and does not answer. instead: what came."""
    what = f"{instead} instead of an answer" if instead else "accepts connections, but does not answer as MQTT"
    tls = "mqtt.tls.cert where the broker asks for one" if mqtt.tls else "mqtt.tls where the broker wants TLS"
    old = ", or mqtt.protocol: '3.1.1' where it is old" if mqtt.protocol == "5" else ""
    return f"{what}; correct mqtt.port, or set {tls}{old}"


def refused(reason: ReasonCode) -> str:
    """Returns why the broker has refused the connection, and what to do about it."""
    text = str(reason)
    if text in DENIED:
        return f"refused: {text}; correct mqtt.username and the password, or the broker's user list"
    if text == TOO_NEW:
        return f"refused: {text}; set mqtt.protocol: '3.1.1'"
    return f"refused: {text}"


def _no_delay(_client: paho.Client, _data: object, sock: object) -> None:
    """Sends each packet at once. Poses are small: if TCP waited to fill a packet, each would be up to 40 ms late."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
