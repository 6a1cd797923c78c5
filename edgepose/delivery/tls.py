"""TLS: a context that verifies, always, from files as they are on the disk now; its troubles, and what mends them."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from edgepose.core.config import Tls
from edgepose.core.errors import ConfigError

_NO_TLS = {  # how the other side of a plain port ends a handshake
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_EOF_WHILE_READING",
}


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Verifies the broker's certificate and name. Raises ConfigError when a file cannot be used."""
    context: ssl.SSLContext = _Named(tls.server_name) if tls.server_name else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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
    except (OSError, ValueError, _EncryptedKeyError) as exc:
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
        return "no PEM certificates in it" if exc.reason is None or "PEM" in str(exc) else words(exc.reason)
    return str(getattr(exc, "strerror", None) or exc)


def words(reason: str) -> str:
    """OpenSSL's name of what is wrong, for people."""
    return reason.lower().replace("_", " ")


def tls_trouble(exc: ssl.SSLError) -> str:
    """Why there is no connection."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({exc.verify_message.rstrip('.')})"
    return f"no TLS connection ({words(exc.reason or str(exc))})"


def tls_remedy(exc: ssl.SSLError) -> str:
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
