"""TLS: a context that always verifies, made from the files on the disk; what can go wrong, and what to do about it."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
from typing import Any

from edgepose.config.schema import TlsConfig
from edgepose.errors import ConfigError

VERDICT_S = 1.0  # longest wait for the broker's verdict on our certificate
_NO_TLS = {  # how a handshake with a port without TLS ends
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_EOF_WHILE_READING",
}


def tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """Returns a context that verifies the broker's certificate and name. Raises ConfigError when a file cannot be
    used."""
    context = _Context(tls.server_name)
    try:
        if tls.ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(tls.ca)
    except (OSError, ValueError) as exc:  # also ssl.SSLError; ValueError: a path that cannot be one
        raise ConfigError(f"mqtt.tls.ca: cannot use {tls.ca} ({_file_trouble(exc)})") from None
    try:
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key, password=_no_password)
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"mqtt.tls.cert: cannot use {tls.cert} with key {tls.key or tls.cert} ({_file_trouble(exc)})"
        ) from None
    return context


class _Context(ssl.SSLContext):
    """Verifies `name`, where there is one, instead of the host's name.

    It does the handshake at once, because paho leaves the socket open when a handshake fails.
    """

    _name: str | None

    def __new__(cls, name: str | None) -> _Context:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context._name = name
        return context

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        if self._name:
            kwargs["server_hostname"] = self._name
        encrypted = super().wrap_socket(sock, *args, **kwargs)
        try:
            encrypted.do_handshake()
            if encrypted.version() == "TLSv1.3":
                _hear_verdict(encrypted)
        except BaseException:
            encrypted.close()
            raise
        return encrypted


def _hear_verdict(encrypted: ssl.SSLSocket) -> None:
    """Waits for the broker's verdict on our certificate. Raises ssl.SSLError.

    In TLS 1.3 the verdict comes after the handshake, as an alert or as a session ticket. An alert could be lost if we
    had sent something before.
    """
    if select.select([encrypted], [], [], VERDICT_S)[0]:
        seconds = encrypted.gettimeout()
        encrypted.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            encrypted.recv(1)
        encrypted.settimeout(seconds)


def _no_password() -> str:
    """Replaces OpenSSL's question for a passphrase on the terminal."""
    raise ValueError("the key is encrypted; give one without a passphrase")


def _file_trouble(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLError):
        return "no PEM certificates in it" if exc.reason is None or "PEM" in str(exc) else words(exc.reason)
    return str(getattr(exc, "strerror", None) or exc)


def words(reason: str) -> str:
    """Returns OpenSSL's name of an error in readable form. An alert is what the other side says."""
    return re.sub(r"^\w+ alert ", "the broker says: ", reason.lower().replace("_", " "))


def tls_trouble(exc: ssl.SSLError) -> str:
    """Returns why there is no connection."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({exc.verify_message.rstrip('.')})"
    return f"no TLS connection ({words(exc.reason or str(exc))})"


def tls_remedy(exc: ssl.SSLError) -> str:
    """Returns what to do about it."""
    if not isinstance(exc, ssl.SSLCertVerificationError):
        if exc.reason in _NO_TLS:
            return "the port does not speak TLS: correct mqtt.port, often 8883, or remove mqtt.tls"
        return "check mqtt.tls.cert and mqtt.tls.key"
    if "not yet valid" in exc.verify_message:
        return "set this device's clock, or wait until it is synchronised"
    if "expired" in exc.verify_message:
        return "renew it, or set this device's clock"
    if "mismatch" in exc.verify_message:
        return "set mqtt.host, or mqtt.tls.server_name, to the name in it"
    return "mqtt.tls.ca must name the authority that signed it"
